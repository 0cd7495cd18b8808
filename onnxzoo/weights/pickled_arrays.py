"""Emulation of the objects in the pickle of an array: its element type, its shape, and its bytes in the file."""

from __future__ import annotations

import enum
import io
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_RANK = 8
SLACK_BYTES = 65_536
"""One-byte arrays may share their data within a pickle, so slightly more bytes than the file has are harmless."""

DTYPES = frozenset({"b1", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})


class RefusedError(Exception):
    """Internal: why a pickle is refused. One line, without the file's name."""


class Name(enum.Enum):
    """The names that a pickled array may refer to. None of them is ever called; the machine emulates them."""

    RECONSTRUCT = "an empty array, filled by BUILD"
    FROMBUFFER = "an array from bytes (protocol 5)"
    NDARRAY = "the class of arrays"
    DTYPE = "an element type"
    ENCODE = "bytes from latin-1 text (protocol 2)"
    SCALAR = "a number of numpy's"
    BYTES = "empty bytes (protocol 2)"
    ORDERED_DICT = "a dict"
    TUPLE = "a tuple, Paddle's (name, array)"


NAMES = {
    ("collections", "OrderedDict"): Name.ORDERED_DICT,
    ("numpy", "ndarray"): Name.NDARRAY,
    ("numpy", "dtype"): Name.DTYPE,
    # numpy 1 and numpy 2 keep the same functions in differently named modules.
    ("numpy.core.multiarray", "_reconstruct"): Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): Name.RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): Name.SCALAR,
    ("numpy._core.multiarray", "scalar"): Name.SCALAR,
    ("numpy.core.numeric", "_frombuffer"): Name.FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): Name.FROMBUFFER,
    ("_codecs", "encode"): Name.ENCODE,
    ("builtins", "tuple"): Name.TUPLE,
    ("__builtin__", "tuple"): Name.TUPLE,
    ("builtins", "bytes"): Name.BYTES,
    ("__builtin__", "bytes"): Name.BYTES,
}


@dataclass(slots=True)
class Span:
    """Bytes that are still in the file."""

    offset: int
    length: int


@dataclass(slots=True)
class Latin1:
    """Bytes that protocol 2 stores as text, one character each; created, and counted, only where they are used."""

    text: str


@dataclass(slots=True)
class Dtype:
    kind: str
    byteorder: str


@dataclass(slots=True)
class PickledArray:
    """An array of the pickle; `value` is None until its data has been seen."""

    value: npt.NDArray[Any] | None = None


class ArrayReader:
    """Reads a file of `size` bytes and does what numpy would do with its bytes.

    The total size of the arrays may not exceed the file's, so that a small file cannot exhaust the memory.
    """

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self.file = file
        self.size = size
        self.budget = size + SLACK_BYTES

    def take(self, count: int) -> bytes:
        data = self.file.read(count) if count <= self.size - self.file.tell() else b""
        if len(data) != count:
            raise RefusedError(f"it is truncated: the file ends within its pickle ({self.size} bytes)")
        return data

    def span(self, length: int) -> Span:
        offset = self.file.tell()
        if not 0 <= length <= self.size - offset:
            raise RefusedError(f"it is truncated: {length} bytes declared at byte {offset}, {self.size - offset} left")
        self.file.seek(length, os.SEEK_CUR)
        return Span(offset, length)

    def spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise RefusedError("its arrays declare more data than the file has")

    def imitate(self, function: Name, arguments: tuple[Any, ...]) -> Any:
        """The result that calling `function` would have. Raises RefusedError for unusual arguments."""
        match function, arguments:
            case Name.RECONSTRUCT, (Name.NDARRAY, (0,), kind) if self.text(kind) == "b":
                return PickledArray()
            case Name.DTYPE, (str() as spelling, *_) if len(arguments) <= 3:
                order, kind = (spelling[0], spelling[1:]) if spelling[:1] in set("<>|=") else ("=", spelling)
                if kind not in DTYPES:
                    raise RefusedError(f"an array has the element type {spelling[:40]!a}; only numbers are read")
                return Dtype(kind, order)
            case Name.FROMBUFFER, (data, Dtype() as dtype, tuple() as shape, ("C" | "F") as order):
                return PickledArray(self.array(shape, dtype, order == "F", data))
            case Name.ENCODE, (str() as text, "latin1" | "latin-1"):
                return Latin1(text)
            case Name.SCALAR, (Dtype() as dtype, data):
                return self.array((), dtype, False, data).item()
            case (Name.BYTES, ()):
                return b""
            case (Name.ORDERED_DICT, ()):
                return {}
            case Name.TUPLE, (tuple() | list() as items,):
                return tuple(items) if len(items) <= 2 else self.misused(function)
        return self.misused(function)

    def misused(self, function: Name) -> Any:
        raise RefusedError(f"its pickle makes {function.value} in a way that numpy and Paddle never do")

    def set_state(self, target: Any, state: Any) -> None:
        """What BUILD does: fill an array, or set the byte order of an element type."""
        match target, state:
            case Dtype(), (int(), ("<" | ">" | "|" | "=") as order, None, None, None, int(), int(), int()):
                target.byteorder = order
            case PickledArray(value=None), (int(), tuple() as shape, Dtype() as dtype, 0 | 1 as fortran, data):
                target.value = self.array(shape, dtype, bool(fortran), data)
            case _:
                raise RefusedError(f"its pickle sets the state of {described(target)}, and only plain arrays are read")

    def text(self, value: Any) -> str:
        """A short text that protocols 2 to 5 store as str or bytes; "" for anything else."""
        if isinstance(value, Span) and value.length <= 16:
            here = self.file.tell()
            self.file.seek(value.offset)
            value = self.take(value.length)
            self.file.seek(here)
        if isinstance(value, bytes) and len(value) <= 16:
            return value.decode("latin-1")
        if isinstance(value, Latin1):
            return value.text
        return value if isinstance(value, str) else ""

    def array(self, shape: tuple[Any, ...], dtype: Dtype, fortran: bool, data: Any) -> npt.NDArray[Any]:
        """A new array in this machine's byte order; `data` must be exactly as long as `shape` and `dtype` say."""
        if len(shape) > MAX_RANK or not all(type(n) is int and 0 <= n <= self.size for n in shape):
            sides = ", ".join(str(n) if type(n) is int else described(n) for n in shape[:MAX_RANK])
            raise RefusedError(f"an array declares the shape ({sides}), which the file cannot hold")
        stored = np.dtype(("<" if dtype.byteorder == "=" else dtype.byteorder) + dtype.kind)
        declared = math.prod(shape) * stored.itemsize
        if isinstance(data, Latin1):
            data = data.text  # from a protocol 2 file written by Python 2
        if not isinstance(data, str | bytes | Span):
            raise RefusedError(f"the data of an array is {described(data)}, expected bytes")
        length = data.length if isinstance(data, Span) else len(data)
        if length != declared:
            raise RefusedError(f"an array of shape {shape} and type {stored} needs {declared} bytes but has {length}")
        self.spend(declared)
        flat = np.empty(math.prod(shape), stored)
        if isinstance(data, str | bytes):
            flat[:] = np.frombuffer(data.encode("latin-1") if isinstance(data, str) else data, stored)
        else:
            here = self.file.tell()
            self.file.seek(data.offset)
            if self.file.readinto(flat.view(np.uint8).data) != declared:
                raise RefusedError("the file became shorter while it was read")
            self.file.seek(here)
        return flat.astype(stored.newbyteorder("="), copy=False).reshape(shape, order="F" if fortran else "C")


def described(value: Any) -> str:
    """A few words for an object of the pickle, safe to print whatever it holds."""
    if isinstance(value, Name):
        return value.value
    plain = {Span: "bytes", Latin1: "bytes", Dtype: "an element type", PickledArray: "an array", type(None): "None"}
    return plain.get(type(value), f"of type {type(value).__name__}")
