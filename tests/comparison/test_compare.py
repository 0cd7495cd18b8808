"""The comparison of outputs: what passes, what fails, and what it says."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzoo.comparison.compare import compare
from onnxzoo.comparison.figures import HISTOGRAM_EDGES
from onnxzoo.comparison.tolerances import TOLERANCES, Tolerance, coarser, tolerance_of
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


def test_the_figures_are_those_of_the_definitions() -> None:
    expected = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)
    actual = np.array([[1.5, 2.0], [3.0, -5.0]], np.float32)
    result = compare({"logits": expected}, {"logits": actual}, 1.0)
    found = result.outputs["logits"]
    assert (found.absolute.max, found.absolute.mean) == (1.0, 0.375)
    assert (found.relative.max, found.relative.mean) == (0.5, pytest.approx((0.5 + 0.25) / 4))
    assert found.worst_ratio == pytest.approx(0.25)
    assert found.cosine == pytest.approx(5.5 / np.sqrt(5 * 6.25))
    # The signal is what differs between the rows: (1, 2) and (3, -4) lie 1 and 3 from their mean (2, -1).
    assert found.snr_db == pytest.approx(10 * np.log10(((1 + 1 + 9 + 9) / 4) / ((0.25 + 1) / 4)))
    assert found.worst_row_snr_db == pytest.approx(10 * np.log10(5.0 / 0.5))
    assert result.row_ratios == (pytest.approx(0.25), pytest.approx(0.2))
    assert sum(found.histogram) == 4
    assert found.histogram[0] == 2, "two values without any error"
    assert len(found.histogram) == len(HISTOGRAM_EDGES) + 1


def test_mean_median_and_percentile_of_many_values() -> None:
    expected = np.zeros((10, 1000), np.float32)
    actual = np.arange(10_000, dtype=np.float32).reshape(10, 1000)
    spread = compare({"logits": expected}, {"logits": actual}, 1e6).outputs["logits"].absolute
    assert (spread.max, spread.mean) == (9999, 4999.5)
    assert spread.median == pytest.approx(5000, abs=1)
    assert spread.p999 == pytest.approx(9990, abs=1)


def test_outputs_of_zeros_have_figures_too() -> None:
    zeros = {"logits": np.zeros((2, 3), np.float32)}
    found = compare(zeros, zeros).outputs["logits"]
    assert (found.cosine, found.snr_db, found.relative.max) == (1.0, float("inf"), 0.0)
    off = compare(zeros, {"logits": np.full((2, 3), 1e-5, np.float32)}).outputs["logits"]
    assert (off.cosine, off.snr_db, off.relative.max) == (0.0, float("-inf"), float("inf"))


def test_problems_name_the_inputs() -> None:
    actual = outputs()
    actual["embedding"][1, 0] += 0.5
    assert "worst in row 1 of 2 (cat.jpg)" in compare(outputs(), actual, names=("noise", "cat.jpg")).problems[0]
    actual["logits"][0] = np.nan
    result = compare(outputs(), actual, names=("noise", "cat.jpg"))
    assert "in rows [0] (noise)" in result.problems[0]
    assert result.failed_rows == (0,)


def test_the_rows_at_fault_come_worst_first() -> None:
    expected = np.zeros((4, 2), np.float32)
    actual = expected.copy()
    actual[1, 0], actual[3, 1] = 0.5, 0.9
    assert compare({"logits": expected}, {"logits": actual}).failed_rows == (3, 1)


def test_the_five_best_classes_may_differ_only_within_the_margin() -> None:
    expected = np.array([[9, 8, 7, 6, 5, 4, 0]], np.float32)
    near = np.array([[9, 8, 7, 6, 5, 4.99995, 0]], np.float32)
    swapped = np.array([[9, 8, 7, 6, 4, 5, 0]], np.float32)
    # The margin of 1 is less than 0.3 + 0.3 * 5.
    assert compare({"logits": expected}, {"logits": swapped}, 0.3).top5_agreement == 0
    assert compare({"logits": expected}, {"logits": swapped}, 0.3)
    clear = compare({"logits": 10 * expected}, {"logits": 10 * swapped}, 0.19)
    assert not clear
    assert "the five best classes differ in rows [0]" in " ".join(clear.problems)
    found = compare({"logits": near}, {"logits": near[:, [0, 1, 2, 3, 5, 4, 6]]})
    assert found
    assert (found.top1_agreement, found.top5_agreement) == (1, 0)
    assert compare({"logits": expected}, {"logits": expected[:, [1, 0, 2, 3, 4, 5, 6]]}, 2.0).top5_agreement == 1


def test_a_model_whose_best_class_agrees_but_whose_logits_do_not_fails() -> None:
    expected = np.array([[4.0, 1.0, -2.0], [0.0, 3.0, 1.0]], np.float32)
    result = compare({"logits": expected}, {"logits": expected * 1.01})
    assert result.top1_agreement == 1
    assert not result


# Low precision


def noisy(snr_db: float, *, rows: int = 20, classes: int = 100) -> tuple[Outputs, Outputs]:
    """Outputs that spread by 2 around their mean, and the same with noise of this power."""
    stream = np.random.RandomState(4)
    signal = 2 * stream.standard_normal((rows, classes)) + 5 * stream.standard_normal(classes)
    noise = 2 * 10 ** (-snr_db / 20) * stream.standard_normal((rows, classes))
    return {"logits": signal.astype(np.float32)}, {"logits": (signal + noise).astype(np.float32)}


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_noise_passes_below_the_limit_of_its_precision_and_fails_above(precision: str) -> None:
    tolerance = TOLERANCES[precision]
    assert tolerance.snr_db is not None
    assert compare(*noisy(tolerance.snr_db + 4), tolerance)
    loud = compare(*noisy(tolerance.snr_db - 2), Tolerance(1e9, tolerance.snr_db))
    assert not loud
    assert "signal-to-noise ratio of" in loud.problems[0]


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_broken_model_fails_in_every_precision(precision: str) -> None:
    expected, actual = noisy(60)
    answers_the_same = {"logits": np.repeat(expected["logits"].mean(axis=0, keepdims=True), 20, axis=0)}
    assert not compare(expected, answers_the_same, TOLERANCES[precision])
    one_image_wrong = {"logits": actual["logits"].copy()}
    one_image_wrong["logits"][7] = expected["logits"][8]
    result = compare(expected, one_image_wrong, TOLERANCES[precision])
    assert "in row 7" in " ".join(result.problems)
    assert 7 in result.failed_rows
    swapped = {"logits": expected["logits"][:, ::-1].copy()}
    assert not compare(expected, swapped, TOLERANCES[precision])


def test_low_precision_may_change_the_best_class_only_where_it_is_in_doubt() -> None:
    expected, actual = noisy(60, classes=4)
    expected["logits"][:, 0] = expected["logits"].max(axis=1) + 4  # clear in every row
    actual = {"logits": expected["logits"].copy()}
    actual["logits"][5, [0, 1]] = actual["logits"][5, [1, 0]]
    assert "best class differs in rows [5]" in " ".join(compare(expected, actual, Tolerance(1e9, 15)).problems)


def test_every_precision_has_a_tolerance_and_they_grow_coarser() -> None:
    from onnxzoo.artifact.folder import MODEL_FILES

    assert MODEL_FILES.keys() <= TOLERANCES.keys()
    values = [tolerance.value for tolerance in TOLERANCES.values()]
    assert values == sorted(values)
    assert TOLERANCES["fp32"] == Tolerance(1e-4)
    assert coarser("fp32", "int8") == coarser("int8", "fp16") == "int8"
    assert tolerance_of("int8", 0.5) == Tolerance(0.5, TOLERANCES["int8"].snr_db)
    with pytest.raises(InputError, match="no tolerance for the precision 'fp4'"):
        tolerance_of("fp4")
