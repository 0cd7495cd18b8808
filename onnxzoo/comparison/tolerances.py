"""What may differ: the tolerance of every precision, as data. Costs no import, so that the command line can show it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError
from ..precisions import FP32, PRECISIONS


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

TOLERANCES: Mapping[str, Tolerance] = {
    name: Tolerance(precision.tolerance, precision.snr_db) for name, precision in PRECISIONS.items()
}
"""By precision, finest first. The figures, and the reasons for them, stand in `onnxzoo.precisions`."""

DEFAULT_TOLERANCE = TOLERANCES[FP32].value


def tolerance_of(precision: str, value: float | None = None) -> Tolerance:
    """The tolerance of a precision, with another `value` where one is asked for (the noise limit stays).

    Raises InputError for an unknown precision or a value that is not positive and finite.
    """
    if precision not in TOLERANCES:
        raise InputError(f"there is no tolerance for the precision {precision!r} (available: {', '.join(TOLERANCES)})")
    tolerance = TOLERANCES[precision]
    return tolerance if value is None else dataclasses.replace(tolerance, value=value)


def coarser(first: str, second: str) -> str:
    """Of two precisions the one that may differ more."""
    order = list(TOLERANCES)
    return max(first, second, key=order.index)
