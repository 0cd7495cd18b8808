"""What may differ: the tolerance of every precision, as data. Costs no import, so that the command line can show it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a comparison has to meet.

    `value`: every value within `value + value * |reference|`. `snr_db`: for low precisions, the least signal-to-noise
    ratio in dB of every output over all inputs (see `figures.snr_db`); of a single input ROW_SLACK_DB less. None: the
    values say it all.

    Raises InputError for a value that is not positive and finite: nothing, or everything, would pass.
    """

    value: float
    snr_db: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.value < math.inf:
            raise InputError(f"the tolerance must be a positive number, got {self.value}")


ROW_SLACK_DB = 10.0
"""The noise of one image is a sample: measured 6 to 8 dB above the mean of all. A wrong answer is at 3 dB or below."""

# fp32: 24 significant bits round with u = 2^-24 = 6e-8. Some hundred roundings in a row and sums over thousands of
# products give 2e-6 to 6e-6 on logits of a few units (measured, all sixteen models); 1e-4 leaves other orders of
# summation a factor of 16, and is still 1/40 of what one bf16 rounding does.
#
# Below, single values say little: their errors are noise whose size follows the depth and the spread of the outputs.
# What can be said from arithmetic is its power. Rounding to p bits errs by up to u = 2^-p, u / sqrt(3) rms: 71 dB below
# the signal for fp16 (p = 11), 53 for bf16 (p = 8). int8 has 255 even steps over a range of about 8 deviations:
# step / sqrt(12), 41 dB below. The noise of L independent roundings adds up in power, 10 log10(L) dB: 15 dB for the
# 30 that matter in a small model (56, 38, 26; measured on the shipped models: bf16 39, int8 24.8 to 28.1), 26 dB for
# 400, more than the deepest model here has. That is the limit for fp16 and bf16: 45 and 27 dB.
#
# For int8 that would be 15 dB, and a wrong file would pass. Without VNNI, products of uint8 activations and weights
# that use all 8 bits saturate in 16 bits: the shipped models' outputs are then at 12.6 to 18.7 dB. Weights of 7 bits
# cannot saturate: 25.8 dB and more on every CPU. (Recorded inputs; OpenVINO with and without
# ONEDNN_MAX_CPU_ISA=AVX2, ONNX Runtime with VNNI.) The limit is in the middle, 22 dB. Larger models that were measured
# are above it: 28 dB for swinv2_tiny_w8, 30 for pvt_v2_b0.
#
# A model that answers the same to every image has 0 dB. But many single faults (a shift mask of zeros, a bias missing)
# stay within the noise that is int8's own: such are found in the file, whose constants are compared with the fp32
# file's (`low_precision`). `value` bounds any single value: 7.5 times the noise at the limit, which is 5 deviations
# (one value in a million) where outputs spread by 1.5.
TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(1e-4),
    "fp16": Tolerance(0.04, snr_db=45.0),
    "bf16": Tolerance(0.33, snr_db=27.0),
    "int8": Tolerance(0.6, snr_db=22.0),
}
"""By precision, finest first. What passes and why: the comment above."""

DEFAULT_TOLERANCE = TOLERANCES["fp32"].value


def tolerance_of(precision: str, value: float | None = None) -> Tolerance:
    """The tolerance of a precision, with another `value` where one is asked for (the noise limit stays).

    Raises InputError for an unknown precision or a value that is not positive and finite.
    """
    if precision not in TOLERANCES:
        raise InputError(f"there is no tolerance for the precision {precision!r} (there are {', '.join(TOLERANCES)})")
    tolerance = TOLERANCES[precision]
    return tolerance if value is None else dataclasses.replace(tolerance, value=value)


def coarser(first: str, second: str) -> str:
    """Of two precisions the one that may differ more."""
    order = list(TOLERANCES)
    return max(first, second, key=order.index)
