"""Reads untrusted `.npz` files, only in the form that `numpy.savez` writes, and only up to the expected size.

numpy's own reader passes a header to Python's parser, which may raise any error, and allocates the memory that a header
declares. Here a header is matched against the one form that numpy writes
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), and sizes are checked before anything is
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
    """The header of one array in the file: its type, float32 or text, and its shape."""

    info: zipfile.ZipInfo
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    header_bytes: int


@contextmanager
def opened(path: Path, *, most_bytes: int) -> Iterator[zipfile.ZipFile]:
    """Open the archive after checking that its members' declared sizes add up to at most `most_bytes`.

    Raises ValueError, in one line, for anything that `numpy.savez` does not write, also from within the block.
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
    """Check that the archive's directory is short, as zipfile reads all of it before any size can be checked."""
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
    """The header of the array `name`; raises ValueError if it does not have the form that numpy writes."""
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
    """The array, in this machine's byte order; raises ValueError if the file has a different number of bytes for it."""
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
    """The strings of a one-dimensional array of text; raises ValueError for invalid Unicode, on which numpy fails."""
    width = array.dtype.itemsize
    raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return tuple(raw[start : start + width].decode("utf-32-le").rstrip("\0") for start in range(0, len(raw), width))
