"""Comparing an engine's outputs with the reference's, in plain numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError, ValidationError
from . import DEFAULT_TOLERANCE


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of one comparison; true when it passed.

    `problems`: what failed, a line each. `max_abs` and `mean_abs`: of |actual - expected| over all
    outputs. `worst_ratio`: the largest |actual - expected| / (tolerance + tolerance * |expected|), at most 1
    when the tolerance holds. `top1_agreement`: fraction of the rows with the reference's best class.
    The figures are NaN when the outputs cannot be compared at all.
    """

    problems: tuple[str, ...]
    max_abs: float
    mean_abs: float
    worst_ratio: float
    top1_agreement: float

    def __bool__(self) -> bool:
        return not self.problems


def failed(*problems: str) -> Comparison:
    """A comparison that failed before there were figures to give."""
    nan = float("nan")
    return Comparison(problems, max_abs=nan, mean_abs=nan, worst_ratio=nan, top1_agreement=nan)


def compare(
    expected: Mapping[str, npt.NDArray[np.float32]],
    actual: Mapping[str, npt.NDArray[np.float32]],
    tolerance: float = DEFAULT_TOLERANCE,
) -> Comparison:
    """Compare outputs by name; `logits`, float32 [N, classes], must be among the expected.

    Passes when names, shapes and dtypes match, nothing is NaN or infinite, every value is within
    `tolerance + tolerance * |expected|`, and the best class agrees in every row whose margin in the
    reference (best minus second logit) exceeds that tolerance.

    Raises InputError for a tolerance that is not positive and finite, ValidationError when there is nothing to compare
    or the reference itself is not finite: a comparison that cannot fail proves nothing.
    """
    if not 0 < tolerance < float("inf"):
        raise InputError(f"the tolerance must be a positive number, got {tolerance}")
    if "logits" not in expected or not all(array.size for array in expected.values()):
        raise ValidationError(f"the reference has no values to compare: { {k: v.shape for k, v in expected.items()} }")
    for name, array in expected.items():
        if not np.isfinite(array).all():
            raise ValidationError(f"the reference's {name!r} holds NaN or infinity; check the checkpoint")
    problems = _form_problems(expected, actual)
    if problems:
        return failed(*problems)
    errors, ratios = [], []
    for name, reference in expected.items():
        wanted = reference.astype(np.float64)
        error = np.abs(actual[name].astype(np.float64) - wanted)
        ratio = error / (tolerance + tolerance * np.abs(wanted))
        errors.append(error.ravel())
        ratios.append(ratio.max())
        if ratio.max() > 1:
            row = np.unravel_index(int(ratio.argmax()), ratio.shape)[0]
            problems.append(
                f"{name!r} differs by up to {error.max():.3g} ({ratio.max():.3g} times the tolerance {tolerance:g}),"
                f" worst in row {row} of {len(error)}"
            )
    agreement, disagreeing = _top1(expected["logits"], actual["logits"], tolerance)
    if disagreeing:
        problems.append(f"the best class differs in rows {disagreeing[:5]} beyond the reference's margin")
    joined = np.concatenate(errors)
    return Comparison(tuple(problems), float(joined.max()), float(joined.mean()), float(max(ratios)), agreement)


def _form_problems(
    expected: Mapping[str, npt.NDArray[np.float32]], actual: Mapping[str, npt.NDArray[np.float32]]
) -> list[str]:
    problems = [f"output {name!r} is missing" for name in expected if name not in actual]
    problems += [f"output {name!r} is not in the reference" for name in actual if name not in expected]
    for name in expected.keys() & actual.keys():
        wanted, got = expected[name], actual[name]
        if got.shape != wanted.shape:
            problems.append(f"{name!r} has the shape {got.shape}, expected {wanted.shape}")
        elif got.dtype != wanted.dtype:
            problems.append(f"{name!r} has the dtype {got.dtype}, expected {wanted.dtype}")
        elif not np.isfinite(got).all():
            bad = np.flatnonzero(~np.isfinite(got).reshape(len(got), -1).all(axis=1))
            problems.append(f"{name!r} holds NaN or infinity in rows {bad[:5].tolist()}")
    return problems


def _top1(
    expected: npt.NDArray[np.float32], actual: npt.NDArray[np.float32], tolerance: float
) -> tuple[float, list[int]]:
    """The fraction of agreeing rows, and the rows that disagree although the reference is clear there."""
    best = expected.argmax(axis=1)
    agree = actual.argmax(axis=1) == best
    if expected.shape[1] == 1:
        return float(agree.mean()), []
    ordered = np.sort(expected.astype(np.float64), axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    clear = margin > tolerance + tolerance * np.abs(ordered[:, -1])
    return float(agree.mean()), np.flatnonzero(~agree & clear).tolist()
