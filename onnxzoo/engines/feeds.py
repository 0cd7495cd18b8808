"""Checks the inputs of a run before they are passed to the library."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import InputError
from .protocol import Array, TensorSpec


def checked_feeds(
    feeds: Mapping[str, Array], inputs: Mapping[str, TensorSpec], max_batch: int | None = None
) -> dict[str, Array]:
    """The feeds as C-contiguous arrays, after checking their names, dtypes and shapes against `inputs`.

    `max_batch`: the maximum size of the first axis, or None.

    Raises InputError with the expected inputs. Libraries would report this late, or convert silently.
    """
    if feeds.keys() != inputs.keys():
        raise InputError(f"the inputs must be named {sorted(inputs)}, got {sorted(feeds)}")
    for name, spec in inputs.items():
        array = feeds[name]
        if array.dtype != spec.dtype:
            raise InputError(f"input {name!r} must be {spec.dtype}, got {array.dtype}")
        fits = len(array.shape) == len(spec.shape) and all(
            expected is None or expected == got for expected, got in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            shape = ", ".join("any" if size is None else str(size) for size in spec.shape)
            raise InputError(f"input {name!r} must have shape ({shape}), got {array.shape}")
        if max_batch is not None and len(array) > max_batch:
            raise InputError(f"the engine was opened for batches of 1 to {max_batch}, got {len(array)}; split them")
    return {name: np.ascontiguousarray(array) for name, array in feeds.items()}
