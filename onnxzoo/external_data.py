"""Finding references from an ONNX file to other files, without the onnx package.

An ONNX file may keep tensors in files beside it. Engines follow such references wherever they lead, unchecked, so
artifacts may not have any. ONNX is a Protocol Buffers message (onnx/onnx.proto); this walks its wire format
(protobuf.dev/programming-guides/encoding) down to the tensors and looks at two fields of each.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from .errors import ArtifactError

# Field numbers of onnx.proto that lead to tensors: message -> {field: message}.
CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 64


def refuse_external_data(file: Path) -> None:
    """Raise ArtifactError when the ONNX file refers to data outside itself, or is no well-formed message."""
    if file.stat().st_size == 0:
        raise ArtifactError(f"{file} is empty, expected an ONNX model")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            found = _has_external_data(data, 0, len(data), "Model", 0)
        except (IndexError, ValueError, KeyError):
            raise ArtifactError(f"{file} is not an ONNX model: its structure is damaged") from None
    if found:
        raise ArtifactError(f"{file} keeps data in other files; an artifact's model must be one whole file")


def _has_external_data(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    children = CHILDREN[message]
    for field, first, last in _fields(data, start, end):
        if message == "Tensor" and (
            field == EXTERNAL_DATA or (field == DATA_LOCATION and _varint(data, first)[0] != 0)
        ):
            return True
        if field in children and _has_external_data(data, first, last, children[field], depth + 1):
            return True
    return False


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the value of every field of the message in data[start:end]."""
    position = start
    while position < end:
        key, position = _varint(data, position)
        if key >= 1 << 32 or not key >> 3:
            # Engines' readers drop the bits beyond: what looks like another field here is one of theirs.
            raise ValueError("a field number that cannot be")
        kind = key & 7
        if kind == VARINT:
            last = _varint(data, position)[1]
        elif kind == LENGTH:
            length, position = _varint(data, position)
            last = position + length
        else:
            last = position + {FIXED64: 8, FIXED32: 4}[kind]
        if last > end:
            raise ValueError("a field goes beyond its message")
        yield key >> 3, position, last
        position = last


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    """The number at `position`, seven bits a byte, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value < 1 << 64:
            return value, position
        if byte < 0x80:
            break
    raise ValueError("a number of more than 64 bits")
