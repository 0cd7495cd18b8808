"""Check a state dict against a model's parameters, for any framework; numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..results import Array
from ..text import MAX_SHOWN

SHOWN_NAMES = 5


def checked_state(shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Array]:
    """The parameters of these names and shapes from `state`, float32; arrays that are float32 are not copied.

    Names and layouts are PaddleClas's (linear weights [in, out]); floats of other precisions are converted.
    Raises CheckpointError naming what is missing, unexpected, wrongly shaped, not float or not finite.
    """
    problems = [
        _listing("missing", (name for name in shapes if name not in state)),
        _listing("unexpected", (name for name in state if name not in shapes)),
        _listing(
            "wrongly shaped",
            (
                f"{name} (expected {list(shape)}, got {list(state[name].shape)})"
                for name, shape in shapes.items()
                if name in state and tuple(state[name].shape) != shape
            ),
        ),
    ]
    if any(problems):
        problems += [_hint(shapes, state)]
        raise CheckpointError("the weights do not fit the model: " + "; ".join(filter(None, problems)))
    return {name: finite_float32(name, state[name]) for name in shapes}


def _hint(shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, object]) -> str:
    """How to get missing parameters that are present under prefixed names."""
    longer = (name for name in state if name not in shapes)
    ends = [(name[: -len(end)], end) for name in longer for end in _ends(name) if end in shapes and end not in state]
    if not ends:
        return ""
    parts = " or ".join(ascii(part[:MAX_SHOWN]) for part in sorted({part for part, _ in ends})[:3])
    return f"{len(ends)} of the missing ones are present with the prefix {parts}; remove it from their names"


def _ends(name: str) -> Iterator[str]:
    """The suffixes of a name, without one or more of its first parts."""
    while "." in name:
        name = name.partition(".")[2]
        yield name


def _listing(what: str, names: Iterable[str]) -> str:
    found = list(names)
    if not found:
        return ""
    more = f" and {len(found) - SHOWN_NAMES} more" if len(found) > SHOWN_NAMES else ""
    return f"{what}: {', '.join(found[:SHOWN_NAMES])}{', ...' if more else ''}{more}"


def finite_float32(name: str, value: np.ndarray[Any, Any]) -> Array:
    """One array of weights as C-contiguous float32, without a copy if possible; `name`: of the weights, in messages.

    Raises CheckpointError for anything but floating-point numbers, and for NaN and infinity, also from an overflow.
    """
    # ml_dtypes' bfloat16 is of kind 'V' (opaque) to numpy.
    if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
        raise CheckpointError(f"{name[:MAX_SHOWN]!a} is of type {value.dtype}, expected floating-point numbers")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(value, dtype=np.float32).reshape(value.shape)
    if not np.isfinite(converted).all():
        raise CheckpointError(
            f"{name[:MAX_SHOWN]!a} holds NaN or infinite numbers; the training that wrote it has diverged"
        )
    return converted
