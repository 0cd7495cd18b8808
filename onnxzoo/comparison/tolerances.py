"""The tolerance of each precision, as data. Imports nothing heavy, so that the command line can show it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError
from ..precisions import FP32, PRECISIONS


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The requirements of a comparison.

    `value`: every value must be within `value + value * |reference|`. `snr_db`: for low precisions, the minimum
    signal-to-noise ratio in dB of every output over all inputs (see `figures.snr_db`), and ROW_SLACK_DB less for a
    single input; None if only the values are checked.

    Raises InputError for a value that is not positive and finite, with which nothing or everything would pass.
    """

    value: float
    snr_db: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.value < math.inf:
            raise InputError(f"the tolerance must be a positive number, got {self.value}")


ROW_SLACK_DB = 10.0
"""The noise of one image varies: up to 6 to 8 dB above the mean was measured. Wrong outputs are at 3 dB or below."""

TOLERANCES: Mapping[str, Tolerance] = {
    name: Tolerance(precision.tolerance, precision.snr_db) for name, precision in PRECISIONS.items()
}
"""By precision, finest first. The figures and their reasons are in `onnxzoo.precisions`."""

DEFAULT_TOLERANCE = TOLERANCES[FP32].value


def tolerance_of(precision: str, value: float | None = None) -> Tolerance:
    """The tolerance of a precision, with another `value` if it is given (the noise limit is kept).

    Raises InputError for an unknown precision or a value that is not positive and finite.
    """
    if precision not in TOLERANCES:
        raise InputError(f"there is no tolerance for the precision {precision!r} (available: {', '.join(TOLERANCES)})")
    tolerance = TOLERANCES[precision]
    return tolerance if value is None else dataclasses.replace(tolerance, value=value)


def coarser(first: str, second: str) -> str:
    """The one of two precisions with the larger tolerance."""
    order = list(TOLERANCES)
    return max(first, second, key=order.index)
