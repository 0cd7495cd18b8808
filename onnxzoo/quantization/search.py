"""Selects the layers to return to fp32 so that the noise of the quantised layers stays within its limits.

The noise powers of independent roundings add up. So the noise of each layer alone, measured once, predicts that of any
set of layers: for the shipped models 34.2 and 36.7 dB were predicted, and 34.0 and 36.7 measured. The layers are
selected by prediction, and only the result is measured, in most cases once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ..errors import QuantizationError
from .noise import Noise, decibels

SETS = (
    ("for the logits on held-out images", ""),
    ("for the noisiest output on the recorded inputs", ", which its validation needs"),
)
"""What the noise of each set is measured on, and why its limit is not the user's choice."""
BETTER_IMAGES = "calibrate on more images (--samples), or on more typical ones (--images)"

STRICTER = 0.5
"""If the noise is within its limit but too many predictions change, the limit is multiplied by this: 3 dB less."""
MAX_FP32_SHARE = 0.5
"""Maximum fraction of the weights in fp32; a file with more of them is neither small nor fast."""


@dataclass(frozen=True, slots=True)
class Found:
    """The layers in fp32, the noise measured with them, and the number of measured candidates."""

    fp32_layers: tuple[str, ...]
    noise: Noise
    candidates: int


def search(
    weights: Mapping[str, int],
    alone: Mapping[str, Noise],
    limits: Sequence[float],
    measure: Callable[[Collection[str]], Noise],
    first: Noise,
    start: Collection[str] = (),
    accepted: Callable[[], bool] = lambda: True,
) -> Found:
    """Return the noisiest layers to fp32 until every set's noise is within its limit, and `accepted` returns True.

    `weights`: number of weights per layer. `alone`: noise of each layer quantised alone. `measure`: makes the model
    with these layers in fp32 and returns its noise. `start`: layers that are in fp32 in any case, and `first` the noise
    with only them, which was measured last. `accepted`: whether the last measured model is acceptable; while it returns
    False, the limit for the first set is lowered.

    Raises QuantizationError if more than MAX_FP32_SHARE of the weights would have to be in fp32.
    """
    out: list[str] = list(start)
    measured = first
    candidates = 1
    while True:
        aims = list(limits)
        if all(value <= limit for value, limit in zip(measured, limits, strict=True)):
            if accepted():
                return Found(tuple(out), measured, candidates)
            # The noise is within its limit but the accuracy is not: lower the limit for images like the labelled ones.
            aims[0] = STRICTER * min(limits[0], measured[0])
        more = noisiest({name: alone[name] for name in alone if name not in out}, measured, aims)
        share = sum(weights[name] for name in (*out, *more)) / sum(weights.values())
        if share > MAX_FP32_SHARE or not more:
            raise QuantizationError(
                f"the limits cannot be kept: with {len(out)} of {len(alone)} layers in fp32 the signal-to-noise "
                f"ratio is {_ratios(measured, limits)}, and more would put {share:.0%} of the weights back into fp32; "
                f"{_advice(measured, limits)}"
            )
        out += more
        measured = measure(tuple(out))
        candidates += 1


def noisiest(alone: Mapping[str, Noise], measured: Noise, aims: Sequence[float]) -> list[str]:
    """The layers to return to fp32 so that the predicted noise is within `aims`, noisiest first.

    `alone`: noise of each layer that is quantised now; `measured`: their noise together.
    """
    left = dict(alone)
    totals = [sum(values) for values in zip(*alone.values(), strict=True)]
    out: list[str] = []
    while left:
        sums = [sum(values) for values in zip(*left.values(), strict=True)]
        excess = [
            (now * rest / total if total else 0.0) / aim
            for now, rest, total, aim in zip(measured, sums, totals, aims, strict=True)
        ]
        worst = max(range(len(excess)), key=excess.__getitem__)
        if excess[worst] <= 1:
            break
        name = max(left, key=lambda each: left[each][worst])
        out.append(name)
        del left[name]
    return out


def _ratios(measured: Noise, limits: Sequence[float]) -> str:
    return " and ".join(
        f"{decibels(value):.1f} dB {what} (expected {decibels(limit):.1f}{why})"
        for value, limit, (what, why) in zip(measured, limits, SETS, strict=True)
    )


def _advice(measured: Noise, limits: Sequence[float]) -> str:
    """What to do about it: a lower limit helps only where that limit is the one that is not kept."""
    held_out, recorded = (value > limit for value, limit in zip(measured, limits, strict=True))
    if recorded:
        return BETTER_IMAGES
    return f"ask for less ({'--min-snr' if held_out else '--max-drop'}), or {BETTER_IMAGES}"
