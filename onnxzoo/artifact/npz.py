"""Reading `.npz` files that others wrote: only as `numpy.savez` writes them, and no more than the caller expects.

numpy's own reader hands a header to Python's parser, whose errors are of any kind, and takes the memory that a header
asks for. Here a header is matched against the one form that numpy writes
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), and sizes are compared before anything is
decompressed.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MAX_MEMBERS = 16
MAX_DIRECTORY_BYTES = 64 * 1024
MAX_HEADER_BYTES = 4096
PIECE_BYTES = 2**20

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(<f4|<U[1-9][0-9]{0,5})', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,10}, ?)*[0-9]{0,10})\), \} *\n"
)
_END, _END_BYTES = b"PK\x05\x06", 22
_ZIP64 = b"PK\x06\x07"
ENCRYPTED = 1


class Member(NamedTuple):
    """One array of the file as its header describes it: float32 or text, and its shape."""

    info: zipfile.ZipInfo
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    header_bytes: int


@contextmanager
def opened(path: Path, *, most_bytes: int) -> Iterator[zipfile.ZipFile]:
    """The archive, once its members' declared sizes are found to be no more than `most_bytes` together.

    Raises ValueError, in one line, for anything that `numpy.savez` does not write, while the block runs as well.
    """
    try:
        with path.open("rb") as file:
            _check_end(file)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                total = sum(member.file_size for member in members)
                if len(members) > MAX_MEMBERS or total > most_bytes:
                    found = f"its {len(members)} members declare {total} bytes"
                    raise ValueError(f"{found}, expected up to {MAX_MEMBERS} and {most_bytes}")
                yield archive
    except (OSError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _check_end(file: io.BufferedReader) -> None:
    """zipfile reads the whole directory of an archive before anything can be asked: it must be short."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END_BYTES - 20))
    last = file.read()
    end = last[-_END_BYTES:]
    if len(end) < _END_BYTES or end[:4] != _END or end[-2:] != b"\0\0" or last[:4] == _ZIP64:
        raise ValueError("it does not end like a plain zip file; it may be truncated")
    members, directory_bytes = struct.unpack_from("<H", end, 10)[0], struct.unpack_from("<I", end, 12)[0]
    if members > MAX_MEMBERS or directory_bytes > MAX_DIRECTORY_BYTES:
        raise ValueError(f"it lists {members} members in {directory_bytes} bytes, expected up to {MAX_MEMBERS}")


def described(archive: zipfile.ZipFile, name: str) -> Member:
    """The header of the array `name`; raises ValueError where there is none as numpy writes it."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise ValueError(f"it has no array {name!r}") from None
    if info.flag_bits & ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"the array {name!r} is encrypted, or compressed by another method than deflate")
    with archive.open(info) as file:
        head = file.read(len(_MAGIC) + 2)
        length = int.from_bytes(head[len(_MAGIC) :], "little")
        text = file.read(length) if length <= MAX_HEADER_BYTES else b""
    match = _HEADER.fullmatch(text)
    if not head.startswith(_MAGIC) or match is None:
        raise ValueError(f"the array {name!r} does not have a header that numpy writes for float32 or text")
    shape = tuple(int(side) for side in match[2].replace(b" ", b"").split(b",") if side)
    return Member(info, np.dtype(match[1].decode("ascii")), shape, len(head) + length)


def read(archive: zipfile.ZipFile, member: Member) -> npt.NDArray[Any]:
    """The array, in this machine's byte order; raises ValueError where the file has another number of bytes for it."""
    needed = math.prod(member.shape) * member.dtype.itemsize
    name = member.info.filename.removesuffix(".npy")
    if member.info.file_size != member.header_bytes + needed:
        raise ValueError(
            f"{name!r} takes {member.info.file_size} bytes, expected {needed} and a header of {member.header_bytes}"
        )
    data = np.empty(needed, np.uint8)
    with archive.open(member.info) as file:
        file.read(member.header_bytes)
        at = 0
        while piece := file.read(PIECE_BYTES):
            data[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
    if at != needed:
        raise ValueError(f"{name!r} ends after {at} of {needed} bytes")
    array = data.view(member.dtype).reshape(member.shape)
    return array.astype(member.dtype.newbyteorder("="), copy=False)


def texts(array: npt.NDArray[Any]) -> tuple[str, ...]:
    """The strings of a one-dimensional array of text; raises ValueError for what is not Unicode, as numpy cannot."""
    width = array.dtype.itemsize
    raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return tuple(raw[start : start + width].decode("utf-32-le").rstrip("\0") for start in range(0, len(raw), width))
