"""Fills a weightless ONNX file with the values of its initializers, without the onnx package and without a copy.

A weightless file is an ONNX file whose initializers have a name, a type and a shape, but no values, except for a few
small ones. Filling inserts the values of each after its shape, as protobuf's own writers do, and corrects the lengths
of the enclosing messages. The result is, byte for byte, the file from which the values were removed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..errors import ArtifactError
from .onnx_wire import field_head, fields, integers, signed, text

# Field numbers of onnx.proto.
PRODUCER_VERSION, GRAPH, METADATA = 3, 7, 14
INITIALIZER = 5
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
DTYPES: Mapping[int, np.dtype[Any]] = {1: np.dtype("<f4"), 6: np.dtype("<i4"), 7: np.dtype("<i8")}
"""Permitted element types of TensorProto: float32, int32, int64, little-endian as in raw_data."""


@dataclass(frozen=True, slots=True)
class Hole:
    """An initializer without values: its name, shape and type, and the bytes before the values."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    head: bytes

    @property
    def bytes(self) -> int:
        """Size of the whole field, including the values."""
        return len(self.head) + math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Weightless:
    """A parsed weightless file: the fields of the model before and after the graph, and the graph's fields."""

    before: tuple[tuple[int, bytes], ...]
    graph: tuple[bytes | Hole, ...]
    after: tuple[tuple[int, bytes], ...]

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The initializers to fill, in the file's order."""
        return tuple(part for part in self.graph if isinstance(part, Hole))


def parse_weightless(content: bytes) -> Weightless:
    """Parse a weightless file; raises ValueError or IndexError for other content."""
    outer = list(_whole_fields(content, 0, len(content)))
    place = [number for number, *_ in outer].index(GRAPH)
    _, first, last, _ = outer[place]
    inner = tuple(
        _hole(content, begin, end) or content[start:end] if number == INITIALIZER else content[start:end]
        for number, begin, end, start in _whole_fields(content, first, last)
    )
    before, after = (
        tuple((number, content[start:end]) for number, _, end, start in part)
        for part in (outer[:place], outer[place + 1 :])
    )
    return Weightless(before, inner, after)


def fill(
    weightless: Weightless,
    numbers: Callable[[Hole], npt.NDArray[Any]],
    out: IO[bytes],
    *,
    producer_version: str,
    metadata: Mapping[str, str],
) -> str:
    """Write the filled file to `out`; returns its SHA-256, computed on the way.

    `numbers`: returns the values of an initializer, in any shape with the same number of elements. It is called for one
    after the other, so that only one has to be in memory. `producer_version`, `metadata`: for the file's metadata.

    Raises ArtifactError if the values for an initializer have another type or number of elements.
    """
    digest = hashlib.sha256()

    def write(data: bytes | memoryview) -> None:
        digest.update(data)
        out.write(data)

    version = _field(PRODUCER_VERSION, producer_version.encode())
    notes = [(METADATA, _field(METADATA, _entry(key, value))) for key, value in metadata.items()]
    size = sum(part.bytes if isinstance(part, Hole) else len(part) for part in weightless.graph)
    _write_all(write, _in_order([*weightless.before, (PRODUCER_VERSION, version)]))
    write(field_head(GRAPH, size))
    for part in weightless.graph:
        if isinstance(part, Hole):
            write(part.head)
            write(_raw(part, numbers(part)))
        else:
            write(part)
    _write_all(write, _in_order([*weightless.after, *notes]))
    return digest.hexdigest()


def _whole_fields(content: bytes, position: int, end: int) -> Iterable[tuple[int, int, int, int]]:
    """Number of each field, begin and end of its value, and begin of the field itself."""
    for number, first, last in fields(content, position, end):
        yield number, first, last, position
        position = last


def _hole(content: bytes, first: int, last: int) -> Hole | None:
    """The initializer in content[first:last]; None for one that has values."""
    shape: list[int] = []
    kind, name = 0, ""
    for number, begin, end in fields(content, first, last):
        if number == DIMS:
            shape += integers(content, begin, end)
        elif number == DATA_TYPE:
            kind = signed(content, begin)
        elif number == NAME:
            name = text(content, begin, end)
        else:
            return None
    if kind not in DTYPES or not name or min(shape, default=1) < 1:
        raise ValueError(f"the initializer {name!r} has the element type {kind} and the shape {shape}")
    length = math.prod(shape) * DTYPES[kind].itemsize
    own = content[first:last] + field_head(RAW_DATA, length)
    return Hole(name, tuple(shape), DTYPES[kind], field_head(INITIALIZER, len(own) + length) + own)


def _raw(hole: Hole, values: npt.NDArray[Any]) -> memoryview:
    if values.dtype.newbyteorder("<") != hole.dtype or values.size != math.prod(hole.shape):
        raise ArtifactError(
            f"the graph's {hole.name!r} takes {hole.dtype} of shape {hole.shape}, got {values.dtype} of shape "
            f"{values.shape}; this is a fault of the package: make the graphs anew, or report it"
        )
    flat = np.ascontiguousarray(values, hole.dtype).reshape(-1)
    return flat.view(np.uint8).data


def _field(number: int, value: bytes) -> bytes:
    return field_head(number, len(value)) + value


def _entry(key: str, value: str) -> bytes:
    return _field(1, key.encode()) + _field(2, value.encode())


def _in_order(parts: list[tuple[int, bytes]]) -> Iterable[bytes]:
    """The parts sorted by field number, as protobuf's writers do; parts with the same number keep their order."""
    return (content for _, content in sorted(parts, key=lambda part: part[0]))


def _write_all(write: Callable[[bytes], None], parts: Iterable[bytes]) -> None:
    for part in parts:
        write(part)
