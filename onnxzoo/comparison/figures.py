"""The figures of one output: errors, their distribution, and noise, in plain numpy and float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

HISTOGRAM_EDGES = tuple(10.0 ** (power / 2) for power in range(-18, 3))
"""Edges of the histogram of absolute errors: two bins per decade from 1e-9 to 10, and one below and one above."""

RELATIVE_FLOOR = 1e-3
"""Relative errors are divided by |reference|, but at least by this fraction of the rms: values may be near 0."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The largest, mean, median and 99.9th percentile of errors."""

    max: float
    mean: float
    median: float
    p999: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One output of the engine compared with the reference's.

    `absolute`: of |actual - expected|. `relative`: the same divided by |expected| (see RELATIVE_FLOOR).
    `worst_ratio`: the largest ratio of an error to its tolerance. `cosine`: the lowest cosine similarity of a row.
    `snr_db`: over all rows (see the function), `worst_row_snr_db`: of the noisiest row; infinite without any error.
    `histogram`: numbers of absolute errors by HISTOGRAM_EDGES.
    """

    absolute: Spread
    relative: Spread
    worst_ratio: float
    cosine: float
    snr_db: float
    worst_row_snr_db: float
    histogram: tuple[int, ...]


def figures(expected: Doubles, actual: Doubles, ratio: Doubles) -> Figures:
    """The figures of an output [N, ...]; `ratio`, of the same shape, is error over tolerance."""
    error = np.abs(actual - expected)
    magnitude = np.maximum(np.abs(expected), RELATIVE_FLOOR * _rms(expected))
    # An output of zeros only has relative errors of 0 or infinity.
    relative = np.where(
        error == 0, 0.0, np.divide(error, magnitude, out=np.full_like(error, np.inf), where=magnitude > 0)
    )
    counts = np.bincount(
        np.searchsorted(HISTOGRAM_EDGES, error.ravel(), side="right"), minlength=len(HISTOGRAM_EDGES) + 1
    )
    return Figures(
        absolute=_spread(error),
        relative=_spread(relative),
        worst_ratio=float(ratio.max()),
        cosine=float(_cosines(expected, actual).min()),
        snr_db=snr_db(expected, error),
        worst_row_snr_db=float(row_snr_db(expected, error).min()),
        histogram=tuple(counts.tolist()),
    )


def snr_db(expected: Doubles, error: Doubles) -> float:
    """The ratio of the signal's power to the error's, in dB.

    The signal is the variation between rows (with one row, the row itself). The part of an output that is common to
    all images is not a signal, so a model with constant outputs has none of it.
    """
    return float(_decibels(_signal_power(expected), np.mean(error**2)))


def row_snr_db(expected: Doubles, error: Doubles) -> Doubles:
    """The same for the error of each row; the signal is that of all rows, as the signal of one may be zero."""
    return _decibels(_signal_power(expected), np.mean(error.reshape(len(error), -1) ** 2, axis=1))


def signal_rms(expected: Doubles) -> float:
    """The square root of the signal's power (see `snr_db`)."""
    return float(np.sqrt(_signal_power(expected)))


def _signal_power(expected: Doubles) -> float:
    centred = expected - expected.mean(axis=0) if len(expected) > 1 else expected
    return float(np.mean(centred**2))


def _decibels(signal: float, noise: npt.ArrayLike) -> Doubles:
    power = np.asarray(noise, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(power == 0, np.inf, 10 * np.log10(signal / power)))


def _spread(values: Doubles) -> Spread:
    median, p999 = np.percentile(values, (50, 99.9), method="higher")
    return Spread(float(values.max()), float(values.mean()), float(median), float(p999))


def _cosines(expected: Doubles, actual: Doubles) -> Doubles:
    first, second = expected.reshape(len(expected), -1), actual.reshape(len(actual), -1)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.sum(first * second, axis=1)
    # A row of zeros has no direction; it is similar only to another row of zeros.
    same = (np.abs(first - second).max(axis=1) == 0).astype(np.float64)
    return np.asarray(np.where(norms > 0, np.clip(products / np.where(norms > 0, norms, 1), -1, 1), same))


def _rms(values: Doubles) -> float:
    return float(np.sqrt(np.mean(values**2)))
