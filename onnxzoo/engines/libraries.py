"""What every engine says in the same words: a missing library, a failure inside one, wrong inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import EngineError, EngineUnavailableError, InputError, one_line, raise_if_interrupted
from .protocol import Array, TensorSpec


def unavailable(package: str, error: Exception, install: str) -> EngineUnavailableError:
    """The error for a library that cannot be imported: absent, or installed but broken.

    Raises KeyboardInterrupt where that is what ended the import.
    """
    raise_if_interrupted(error)
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return EngineUnavailableError(f"{package} is not installed: {install}")
    return EngineUnavailableError(
        f"{package} is installed but cannot be imported ({one_line(error)}); reinstall it: {install}"
    )


def failure(doing: str, error: object) -> EngineError:
    """The error for a library that failed while `doing` something, with its message on one line."""
    return EngineError(f"{doing}: {one_line(error)}")


def closed(name: str) -> EngineError:
    """The error for a run after `close()`."""
    return EngineError(f"the {name} engine is closed; load the model again")


def checked_feeds(
    feeds: Mapping[str, Array], inputs: Mapping[str, TensorSpec], max_batch: int | None = None
) -> dict[str, Array]:
    """The feeds as C-contiguous arrays, once their names, dtypes and shapes are found to fit `inputs`.

    `max_batch`: the largest size of the first axis where there is a limit.

    Raises InputError saying what was expected. Libraries would say it late, or convert silently.
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
            raise InputError(f"the engine was opened for batches of 1 to {max_batch}, got {len(array)}: split them")
    return {name: np.ascontiguousarray(array) for name, array in feeds.items()}
