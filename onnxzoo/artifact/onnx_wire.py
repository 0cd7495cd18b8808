"""Parsing and writing the wire format of ONNX files without the onnx package and without reading the weights.

An ONNX file is one Protocol Buffers message (onnx/onnx.proto); the encoding is described at
protobuf.dev/programming-guides/encoding. Fields are returned as positions in the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TypeAlias

Data: TypeAlias = mmap.mmap | bytes
Field: TypeAlias = tuple[int, int, int]
"""Number of a field, and begin and end of its value."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def fields(data: Data, position: int, end: int) -> Iterator[Field]:
    """The fields of the message in data[position:end], in the file's order.

    Raises ValueError or IndexError if the bytes are not such a message.
    """
    while position < end:
        key = data[position]
        if key < 0x80:
            position += 1
        else:
            key, position = varint(data, position)
        kind, number = key & 7, key >> 3
        if key >= 1 << 32 or not number:
            # Engines' parsers drop the upper bits, so they would read this as one of the valid fields.
            raise ValueError("a field number that cannot be")
        if kind == LENGTH:
            length = data[position]
            if length < 0x80:
                first = position + 1
            else:
                length, first = varint(data, position)
            position = first + length
        elif kind == VARINT:
            first = position
            position = position + 1 if data[position] < 0x80 else varint(data, position)[1]
        elif kind in (FIXED64, FIXED32):
            first = position
            position += 8 if kind == FIXED64 else 4
        else:
            raise ValueError("a kind of field that ONNX does not have")
        if position > end:
            raise ValueError("a field goes beyond its message")
        yield number, first, position


def varint(data: Data, position: int) -> tuple[int, int]:
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


def signed(data: Data, first: int) -> int:
    """The int64 at `first`, which the format encodes as the uint64 of the same bits."""
    value = varint(data, first)[0]
    return value - (1 << 64) if value >> 63 else value


def integers(data: Data, first: int, last: int) -> list[int]:
    """One int64, or several packed into one field."""
    found = []
    while first < last:
        value, first = varint(data, first)
        found.append(value - (1 << 64) if value >> 63 else value)
    return found


def text(data: Data, first: int, last: int) -> str:
    """A name; raises UnicodeDecodeError (a ValueError) if it is not UTF-8."""
    return data[first:last].decode("utf-8")


def encoded_varint(value: int) -> bytes:
    """A non-negative number in the format's encoding, seven bits per byte, the lowest first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field_head(number: int, length: int) -> bytes:
    """The bytes before the `length` bytes of a text, a message or an array in field `number`."""
    return encoded_varint(number << 3 | LENGTH) + encoded_varint(length)
