"""The comparison of outputs: what passes, what fails, and what it says."""

from __future__ import annotations

import numpy as np
import pytest
from onnxzoo.validators.compare import compare

from onnxzoo.errors import InputError, ValidationError

Outputs = dict[str, np.ndarray]


def outputs() -> Outputs:
    logits = np.array([[4.0, 1.0, -2.0], [0.0, 3.0, 2.9999]], np.float32)
    return {"logits": logits, "embedding": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}


def test_equal_outputs_pass_with_zero_error() -> None:
    result = compare(outputs(), outputs())
    assert result
    assert (result.max_abs, result.mean_abs, result.worst_ratio, result.top1_agreement) == (0, 0, 0, 1)


def test_tolerance_is_absolute_plus_relative() -> None:
    reference, actual = {"logits": np.array([[0.0, 100.0]], np.float32)}, np.array([[0.9e-4, 100.009]], np.float32)
    assert compare(reference, {"logits": actual}, 1e-4)
    assert not compare(reference, {"logits": actual}, 0.8e-4)


def test_a_difference_names_output_size_and_row() -> None:
    actual = outputs()
    actual["embedding"][1, 0] += 0.5
    result = compare(outputs(), actual)
    assert not result
    assert len(result.problems) == 1
    assert "'embedding' differs by up to 0.5" in result.problems[0]
    assert "row 1 of 2" in result.problems[0]
    assert result.max_abs == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda o: o.pop("embedding"), "output 'embedding' is missing"),
        (lambda o: o.update(extra=np.zeros(1, np.float32)), "output 'extra' is not in the reference"),
        (lambda o: o.update(logits=o["logits"][:1]), "has the shape (1, 3), expected (2, 3)"),
        (lambda o: o.update(logits=o["logits"].astype(np.float64)), "has the dtype float64, expected float32"),
        (lambda o: o["logits"].__setitem__((1, 2), np.nan), "'logits' holds NaN or infinity in rows [1]"),
        (lambda o: o["embedding"].__setitem__((0, 0), np.inf), "'embedding' holds NaN or infinity in rows [0]"),
    ],
)
def test_every_defect_fails_by_name(change, problem: str) -> None:
    actual = outputs()
    change(actual)
    result = compare(outputs(), actual)
    assert not result
    assert problem in " ".join(result.problems)


def test_top1_may_differ_only_within_the_margin() -> None:
    actual = outputs()
    actual["logits"][1] = [0.0, 2.9999, 3.0]  # the reference's margin is 1e-4, below 1e-4 + 1e-4 * 3
    result = compare(outputs(), actual)
    assert result
    assert result.top1_agreement == 0.5
    actual["logits"][0] = [1.9, 1.95, -2.0]  # each within 0.5 + 0.5 * |reference|, and yet another class
    result = compare(outputs(), actual, tolerance=0.5)
    assert not result
    assert "best class differs in rows [0]" in result.problems[0]


@pytest.mark.parametrize("tolerance", [float("nan"), float("inf"), 0.0, -1e-4])
def test_a_tolerance_that_nothing_or_everything_fails_is_refused(tolerance: float) -> None:
    with pytest.raises(InputError, match="must be a positive number"):
        compare(outputs(), outputs(), tolerance)


def test_a_comparison_that_cannot_fail_is_refused() -> None:
    with pytest.raises(ValidationError, match="no values to compare"):
        compare({}, {})
    with pytest.raises(ValidationError, match="no values to compare"):
        compare({"logits": np.zeros((0, 3), np.float32)}, {"logits": np.zeros((0, 3), np.float32)})
    broken = outputs()
    broken["logits"][0, 0] = np.nan
    with pytest.raises(ValidationError, match="the reference's 'logits' holds NaN"):
        compare(broken, broken)
