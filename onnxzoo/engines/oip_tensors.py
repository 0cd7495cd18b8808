"""Tensors of the Open Inference Protocol: what a server says of its model, and its answers, which are not trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..inference_protocol import FP32, FP64
from ..results import Array, TensorSpec
from ..text import beginning

DTYPES: Mapping[str, str] = {"FP16": "float16", FP32: "float32", FP64: "float64"}
"""The protocol's types of numbers that a model's outputs can have."""
MAX_TENSORS = 64
MAX_RANK = 8
MAX_SIDE = 2**31 - 1


class ProtocolError(ValueError):
    """The server's answer does not follow the protocol, or contradicts what it says of its model."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a server says of a model: its own name and version, and the model's tensors."""

    server: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class Transport(Protocol):
    """A way to a served model. Every call ends within a time limit, and reads an answer of limited size."""

    def describe(self) -> Described:
        """Ask for the model's metadata. Raises EngineUnavailableError if there is no such server or model."""
        ...

    def infer(self, name: str, images: Array, outputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
        """The outputs for a batch of images under the input `name`.

        Raises EngineError if the server refuses or its answer is not valid.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def spec_of(name: object, datatype: object, shape: object) -> tuple[str, TensorSpec]:
    """Name and specification of a tensor in a model's metadata; -1 is a dynamic size, an empty shape unknown.

    The dtype is numpy's, or the protocol's name for others, such as BYTES. Raises ProtocolError for invalid values.
    """
    if not isinstance(name, str) or not name or not isinstance(datatype, str):
        raise ProtocolError("a tensor has no name or no datatype")
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) > MAX_RANK:
        raise ProtocolError(f"the shape of {beginning(name)!r} is not a short list of sizes")
    if not all(type(side) is int and -1 <= side <= MAX_SIDE for side in shape):
        raise ProtocolError(f"the shape of {beginning(name)!r} has sizes that are not whole numbers from -1")
    return name, TensorSpec(tuple(None if side == -1 else side for side in shape), DTYPES.get(datatype, datatype))


def largest_answer(count: int, outputs: Mapping[str, TensorSpec], bytes_per_value: int) -> int | None:
    """The number of bytes of the outputs' values for `count` images; None if the shapes are not known."""
    total = 0
    for spec in outputs.values():
        sides = spec.shape[1:]
        if not spec.shape or None in sides:
            return None
        total += count * math.prod(side or 0 for side in sides) * bytes_per_value
    return total


def decoded(name: str, datatype: object, shape: object, data: bytes | Sequence[Any], spec: TensorSpec) -> Array:
    """The array of an output from its bytes, little-endian, or its numbers in any nesting.

    `spec`: what the metadata says of it. Raises ProtocolError if datatype, shape or size contradict that or each other.
    """
    _, found = spec_of(name, datatype, shape)
    if found.dtype != spec.dtype or found.dtype not in DTYPES.values():
        raise ProtocolError(f"the output {name!r} is {found.dtype}, expected {spec.dtype}")
    sides = tuple(-1 if side is None else side for side in found.shape)
    if -1 in sides or (spec.shape and not _fits(sides, spec.shape)):
        raise ProtocolError(f"the output {name!r} has shape {sides}, its metadata says {spec.shape}")
    dtype = np.dtype(found.dtype).newbyteorder("<")
    count = math.prod(sides)
    if isinstance(data, bytes):
        if len(data) != count * dtype.itemsize:
            raise ProtocolError(
                f"the output {name!r} has {len(data)} bytes, expected {count * dtype.itemsize} for shape {sides}"
            )
        values = np.frombuffer(data, dtype)
    else:
        try:
            values = np.asarray(data, dtype=dtype).ravel()
        except (TypeError, ValueError, OverflowError):
            raise ProtocolError(f"the data of the output {name!r} are not numbers of one shape") from None
        if len(values) != count:
            raise ProtocolError(f"the output {name!r} has {len(values)} numbers, expected {count} for shape {sides}")
    native: Array = values.reshape(sides).astype(found.dtype)
    return native


def _fits(sides: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(sides) == len(expected) and all(want in (None, side) for side, want in zip(sides, expected, strict=True))
