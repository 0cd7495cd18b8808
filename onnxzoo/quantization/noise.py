"""The noise of a candidate, as a fraction of the signal's power and in dB."""

from __future__ import annotations

from math import log10

Noise = tuple[float, ...]
"""Ratio of the noise's power to the signal's, for each set of images (`search.SETS`)."""


def power(decibels: float) -> float:
    """The noise as a fraction of the signal's power."""
    return float(10 ** (-decibels / 10))


def decibels(share: float) -> float:
    """The signal-to-noise ratio in dB for noise with this fraction of the signal's power."""
    return -10 * log10(share) if share > 0 else float("inf")
