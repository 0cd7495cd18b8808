"""Compares an engine's outputs with the reference's, in plain numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import ValidationError
from ..results import Array
from .figures import Doubles, Figures, figures, row_snr_db, signal_rms, snr_db
from .tolerances import DEFAULT_TOLERANCE, ROW_SLACK_DB, Tolerance

SHOWN_ROWS = 5
NOISY_MARGIN = 3 * 2**0.5
"""In low precision, best classes may be swapped if their logits differ by less than this multiple of the permitted
noise's rms, which is three standard deviations of the difference of two noisy logits."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of one comparison; true if it passed.

    `problems`: the failures, one line each. `max_abs` and `mean_abs`: of |actual - expected| over all
    outputs. `worst_ratio`: the largest |actual - expected| / (tolerance + tolerance * |expected|), at most 1
    if the tolerance holds. `top1_agreement`: fraction of the rows with the reference's best class,
    `top5_agreement`: with its five best, in any order. `outputs`: all figures of each output. `row_ratios`:
    the worst ratio of every row; `failed_rows`: the failed rows, worst first, if known.
    If the outputs cannot be compared at all, the figures are NaN and `outputs` is empty.
    """

    problems: tuple[str, ...]
    max_abs: float
    mean_abs: float
    worst_ratio: float
    top1_agreement: float
    top5_agreement: float = float("nan")
    outputs: Mapping[str, Figures] = field(default_factory=dict, hash=False)
    row_ratios: tuple[float, ...] = ()
    failed_rows: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return not self.problems


def failed(*problems: str, failed_rows: Sequence[int] = ()) -> Comparison:
    """A comparison that failed before any figures were computed."""
    nan = float("nan")
    return Comparison(
        problems, max_abs=nan, mean_abs=nan, worst_ratio=nan, top1_agreement=nan, failed_rows=tuple(failed_rows)
    )


def compare(
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    tolerance: Tolerance | float = DEFAULT_TOLERANCE,
    *,
    names: Sequence[str] | None = None,
) -> Comparison:
    """Compare outputs by name; `logits`, float32 [N, classes], must be among the expected. `names`: of the N inputs.

    Passes if names, shapes and dtypes match, nothing is NaN or infinite, every value is within
    `tolerance + tolerance * |expected|`, the noise is within the tolerance's limit if it has one, and the best class,
    and the set of the five best, agree in every row whose margin in the reference (first minus second logit, fifth
    minus sixth) exceeds that tolerance.

    Raises InputError for a tolerance that is not positive and finite, ValidationError if there is nothing to compare
    or the reference is not finite, as a comparison that cannot fail proves nothing.
    """
    allowed = tolerance if isinstance(tolerance, Tolerance) else Tolerance(tolerance)
    if "logits" not in expected or not all(array.size for array in expected.values()):
        raise ValidationError(f"the reference has no values to compare: { {k: v.shape for k, v in expected.items()} }")
    for name, array in expected.items():
        if not np.isfinite(array).all():
            raise ValidationError(f"the reference's {name!r} holds NaN or infinity; check the checkpoint")
    problems, bad_rows = _form_problems(expected, actual, names)
    if problems:
        return failed(*problems, failed_rows=bad_rows)
    by_output: dict[str, Figures] = {}
    row_ratios = np.zeros(len(expected["logits"]))
    at_fault: set[int] = set()
    for name, reference in expected.items():
        wanted, got = reference.astype(np.float64), actual[name].astype(np.float64)
        error = np.abs(got - wanted)
        ratio = error / (allowed.value + allowed.value * np.abs(wanted))
        by_output[name] = figures(wanted, got, ratio)
        row_ratios = np.maximum(row_ratios, ratio.reshape(len(ratio), -1).max(axis=1))
        if ratio.max() > 1:
            row = int(np.unravel_index(int(ratio.argmax()), ratio.shape)[0])
            problems.append(
                f"{name!r} differs by up to {error.max():.3g} ({ratio.max():.3g} times the tolerance "
                f"{allowed.value:g}), worst in row {row} of {len(error)}{_named([row], names)}"
            )
        if allowed.snr_db is not None:
            noise_problems, noisy = _noise_problems(name, wanted, error, allowed.snr_db, names)
            problems += noise_problems
            at_fault.update(noisy)
    rankings, disagreeing = _ranking_problems(expected["logits"], actual["logits"], allowed, names)
    at_fault.update(disagreeing, np.flatnonzero(row_ratios > 1).tolist())
    shares = [f.absolute.mean * expected[name].size for name, f in by_output.items()]
    return Comparison(
        problems=(*problems, *rankings),
        max_abs=max(f.absolute.max for f in by_output.values()),
        mean_abs=sum(shares) / sum(array.size for array in expected.values()),
        worst_ratio=float(row_ratios.max()),
        top1_agreement=float(_same_best(expected["logits"], actual["logits"], 1).mean()),
        top5_agreement=float(_same_best(expected["logits"], actual["logits"], 5).mean()),
        outputs=by_output,
        row_ratios=tuple(row_ratios.tolist()),
        failed_rows=tuple(sorted(at_fault, key=lambda row: -row_ratios[row])),
    )


def _form_problems(
    expected: Mapping[str, Array], actual: Mapping[str, Array], names: Sequence[str] | None
) -> tuple[list[str], list[int]]:
    """The reasons why the outputs cannot be compared, and the rows that are not finite."""
    problems = [f"output {name!r} is missing" for name in expected if name not in actual]
    problems += [f"output {name!r} is not in the reference" for name in actual if name not in expected]
    bad_rows: set[int] = set()
    for name in (name for name in expected if name in actual):
        wanted, got = expected[name], actual[name]
        if got.shape != wanted.shape:
            problems.append(f"{name!r} has the shape {got.shape}, expected {wanted.shape}")
        elif got.dtype != wanted.dtype:
            problems.append(f"{name!r} has the dtype {got.dtype}, expected {wanted.dtype}")
        elif not np.isfinite(got).all():
            bad = np.flatnonzero(~np.isfinite(got).reshape(len(got), -1).all(axis=1)).tolist()
            problems.append(f"{name!r} holds NaN or infinity in rows {_listing(bad)}{_named(bad, names)}")
            bad_rows.update(bad)
    return problems, sorted(bad_rows)


def _noise_problems(
    name: str, wanted: Doubles, error: Doubles, limit: float, names: Sequence[str] | None
) -> tuple[list[str], list[int]]:
    problems = []
    overall, rows = snr_db(wanted, error), row_snr_db(wanted, error)
    if not overall >= limit:
        problems.append(f"{name!r} has a signal-to-noise ratio of {overall:.1f} dB, expected at least {limit:g}")
    noisy = np.flatnonzero(~(rows >= limit - ROW_SLACK_DB)).tolist()
    if noisy:
        worst = int(rows.argmin())
        problems.append(
            f"{name!r} has a signal-to-noise ratio of {rows[worst]:.1f} dB in row {worst}{_named([worst], names)}, "
            f"expected at least {limit - ROW_SLACK_DB:g} in every row"
        )
    return problems, noisy


def _ranking_problems(
    expected: Array, actual: Array, allowed: Tolerance, names: Sequence[str] | None
) -> tuple[list[str], list[int]]:
    """The rows whose best or five best classes differ although the reference's margin is large enough."""
    problems, found = [], []
    ordered = -np.sort(-expected.astype(np.float64), axis=1)
    for count, what in ((1, "the best class differs"), (5, "the five best classes differ")):
        if expected.shape[1] <= count:
            continue
        margin = ordered[:, count - 1] - ordered[:, count]
        if allowed.snr_db is None:
            needed = allowed.value + allowed.value * np.abs(ordered[:, count - 1])
        else:
            needed = np.full_like(
                margin, NOISY_MARGIN * signal_rms(expected.astype(np.float64)) * 10 ** (-allowed.snr_db / 20)
            )
        rows = np.flatnonzero(~_same_best(expected, actual, count) & (margin > needed)).tolist()
        if rows:
            problems.append(f"{what} in rows {_listing(rows)}{_named(rows, names)} beyond the reference's margin")
            found += rows
    return problems, found


def _same_best(expected: Array, actual: Array, count: int) -> npt.NDArray[np.bool_]:
    """Per row, whether the `count` best classes are the same; ties are resolved to the lower class."""
    first, second = (np.sort(np.argsort(-a, axis=1, kind="stable")[:, :count], axis=1) for a in (expected, actual))
    return np.asarray((first == second).all(axis=1))


def _listing(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:SHOWN_ROWS]))
    return f"[{shown}, ...]" if len(rows) > SHOWN_ROWS else f"[{shown}]"


def _named(rows: Sequence[int], names: Sequence[str] | None) -> str:
    return "" if names is None else f" ({', '.join(names[row] for row in rows[:SHOWN_ROWS])})"
