"""Which layers go back to fp32 so that the noise of what stays quantised keeps within its limits.

The noise of independent roundings adds up in power. So the noise that each layer makes alone, measured once, predicts
that of any choice of layers: on the shipped models 34.2 dB predicted, 34.0 measured, and 36.7, 36.7. The layers are
taken out by prediction, and only the outcome is measured, most often once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log10

from ..errors import QuantizationError

Noise = tuple[float, ...]
"""Power of the noise over that of the signal, for each set of images."""

STRICTER = 0.5
"""Where answers are wrong although the noise is within its limit, 3 dB less of it is asked for."""
MAX_FP32_SHARE = 0.5
"""Of the weights: a file with more of them in fp32 is neither small nor fast."""


@dataclass(frozen=True, slots=True)
class Found:
    """The layers in fp32, the noise that was measured with them, and how many candidates that took."""

    fp32_layers: tuple[str, ...]
    noise: Noise
    candidates: int


def search(
    weights: Mapping[str, int],
    alone: Mapping[str, Noise],
    limits: Sequence[float],
    measure: Callable[[Collection[str]], Noise],
    whole: Noise,
    accepted: Callable[[], bool] = lambda: True,
) -> Found:
    """Take the noisiest layers out until every set's noise is within its limit, and `accepted` agrees.

    `weights`: how many each layer has. `alone`: the noise of each layer quantised alone. `measure`: makes the model
    with these layers in fp32 and gives its noise; `whole`: what it gave with none, just before. `accepted`: of the
    model that was measured last; while it is false less noise is asked for on the first set.

    Raises QuantizationError when more than MAX_FP32_SHARE of the weights would have to be in fp32.
    """
    out: list[str] = []
    measured = whole
    candidates = 1
    while True:
        aims = list(limits)
        if all(value <= limit for value, limit in zip(measured, limits, strict=True)):
            if accepted():
                return Found(tuple(out), measured, candidates)
            # The noise is as wanted and the answers are not: less of it on images like those that were answered.
            aims[0] = STRICTER * min(limits[0], measured[0])
        more = noisiest({name: alone[name] for name in alone if name not in out}, measured, aims)
        share = sum(weights[name] for name in (*out, *more)) / sum(weights.values())
        if share > MAX_FP32_SHARE or not more:
            raise QuantizationError(
                f"the limits cannot be kept: with {len(out)} of {len(alone)} layers in fp32 the signal-to-noise "
                f"ratio is {_decibels(measured)}, expected {_decibels(limits)}, and more would put {share:.0%} of the "
                "weights back into fp32; ask for less (--min-snr, --max-drop), or calibrate on better images (--images)"
            )
        out += more
        measured = measure(tuple(out))
        candidates += 1


def noisiest(alone: Mapping[str, Noise], measured: Noise, aims: Sequence[float]) -> list[str]:
    """The layers without which the noise is predicted to keep to its aims, noisiest first.

    `alone`: of the layers that are quantised now; `measured`: their noise together.
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


def _decibels(noise: Sequence[float]) -> str:
    return " and ".join(f"{-10 * log10(value):.1f}" if value > 0 else "inf" for value in noise) + " dB"
