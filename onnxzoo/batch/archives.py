"""The images in `.zip` and `.tar` archives, read from where they are: nothing is extracted to a disk.

Members of a zip and of an uncompressed tar on this machine are read on any thread when their turn comes. Compressed
tars, and tars at a URL, can only be read in one go, so their images are in memory until they are decoded. WebDataset's
layout is a tar; what it has beside images is skipped. What a member's name says matters for nothing but messages.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, cast

from ..data.walk import HIDDEN, SPECIAL, Skipped, has_image_suffix, is_hidden
from ..errors import DownloadError, ImageError, OnnxzooError, one_line
from ..image import LazyImage
from ..image_memory import MAX_ENCODED_BYTES
from ..text import beginning
from .entry import Entry
from .parts import NoImagesError
from .stored import Stored, unreadable

ZIP_SUFFIXES = (".zip",)
PLAIN_TAR_SUFFIXES = (".tar",)
COMPRESSED_TARS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys((".tar.gz", ".tgz"), gzip.open),
    **dict.fromkeys((".tar.bz2", ".tbz2"), bz2.open),
    **dict.fromkeys((".tar.xz", ".txz"), lzma.open),
}
ARCHIVE_SUFFIXES = (*ZIP_SUFFIXES, *PLAIN_TAR_SUFFIXES, *COMPRESSED_TARS)

SEPARATOR = "::"
"""Between the path of an archive and the name of a member."""

MAX_HEADER_BYTES = 2**20
"""Limit for the names and attributes of a member of a tar, which Python reads as a whole."""

_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, ValueError)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_MORE_EXTRA = 64
"""A member's header may have more attributes than the directory says; this many bytes are read with it at once."""
_ENCRYPTED = 0x1


def is_archive(name: str) -> bool:
    """Whether the name of a file says that it is an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


class ArchiveImages:
    """The images of one archive, in its order, named `ARCHIVE::MEMBER`."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        lower = stored.name.lower()
        self._is_zip = lower.endswith(ZIP_SUFFIXES)
        self._unpack = next((COMPRESSED_TARS[suffix] for suffix in COMPRESSED_TARS if lower.endswith(suffix)), None)

    def entries(self, skipped: Skipped) -> Iterator[Entry]:
        """Its images; an error for the archive where it cannot be read any further."""
        empty = True
        name = self._stored.name
        try:
            for entry in self._zip(skipped) if self._is_zip else self._tar(skipped):
                empty = False
                yield entry
        except (ImageError, DownloadError) as error:
            yield Entry(name, error if isinstance(error, ImageError) else ImageError(str(error)))
        else:
            if empty:
                yield Entry(name, NoImagesError(f"the archive {name!r} contains no images"))

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """Names, sizes and checksums in the directory of a zip; of a tar, which has none, what `Stored` can tell."""
        if not self._is_zip:
            yield f"{self._stored.name}\0{self._stored.fingerprint()}", None
            return
        try:
            for info in self._members(Skipped()):
                yield f"{self._stored.name}{SEPARATOR}{info.filename}\0{info.file_size}\0{info.CRC}", 1
        except (ImageError, DownloadError) as error:
            yield f"{self._stored.name}\0{error}", 1

    def _members(self, skipped: Skipped) -> Iterator[zipfile.ZipInfo]:
        name = self._stored.name
        try:
            with _opened(self._stored) as file, zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except OnnxzooError:
            raise
        except (*_BROKEN, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ImageError(
                f"the archive {name} cannot be read: {one_line(error)}; if it is cut short, get it again"
            ) from error
        for info in members:
            if not info.filename.endswith("/") and _is_image(
                f"{name}{SEPARATOR}{info.filename}", info.filename, skipped
            ):
                yield info

    def _zip(self, skipped: Skipped) -> Iterator[Entry]:
        for info in self._members(skipped):
            path = f"{self._stored.name}{SEPARATOR}{info.filename}"
            read = partial(_read_zipped, self._stored, _zipped(info), path)
            yield Entry(path, LazyImage(path, read, info.file_size, remote=self._stored.remote))

    def _tar(self, skipped: Skipped) -> Iterator[Entry]:
        name = self._stored.name
        members = 0
        try:
            with _opened(self._stored) as file, closing(self._unpack(file, "rb") if self._unpack else file) as unpacked:
                headers = _Headers(unpacked)
                with tarfile.open(fileobj=cast("IO[bytes]", headers), mode="r:", encoding="utf-8") as archive:
                    while (member := archive.next()) is not None:
                        archive.members.clear()  # type: ignore[attr-defined]  # they would be kept until the end
                        members += 1
                        path = f"{name}{SEPARATOR}{member.name}"
                        if member.isdir() or not _is_image(path, member.name, skipped):
                            continue
                        if member.islnk():
                            yield Entry(path, _linked(path, member))
                            continue
                        if not member.isreg() or member.issparse():
                            skipped.add(path, SPECIAL)
                            continue
                        yield Entry(path, self._tar_image(path, member, unpacked))
                headers.require_end()
        except OnnxzooError:
            raise
        except _BROKEN as error:
            raise ImageError(
                f"the archive {name} cannot be read beyond its first {members} files: {one_line(error)}; if it is cut "
                "short, get it again"
            ) from error

    def _tar_image(self, path: str, member: tarfile.TarInfo, unpacked: IO[bytes]) -> LazyImage | ImageError:
        start, size = member.offset_data, member.size
        if size > MAX_ENCODED_BYTES or not (self._unpack or self._stored.remote):
            return LazyImage(path, partial(_read_stored, self._stored, start, size, path), size)
        unpacked.seek(start)
        try:
            data = unpacked.read(size)
        except _BROKEN:  # the next header will say so, too
            data = b""
        if len(data) < size:
            return _cut_short(path)
        return LazyImage(path, partial(_beginning, data), size, held=size)


def _linked(path: str, member: tarfile.TarInfo) -> ImageError:
    return ImageError(
        f"{path} is a hard link in its archive, to {beginning(member.linkname)!r}, and has no content of its own; make "
        "the archive with tar --hard-dereference"
    )


@contextmanager
def _opened(stored: Stored) -> Iterator[IO[bytes]]:
    try:
        file = stored.open()
    except OnnxzooError:
        raise
    except OSError as error:
        raise unreadable(stored.name, error) from error
    with file:
        yield file


class _Headers:
    """What tarfile reads of a stream, which is headers only; it ends at a wrong one as if that were the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._last = b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes; the limit is {MAX_HEADER_BYTES}")
        self._last = self._file.read(size)
        return self._last

    def require_end(self) -> None:
        """Raise ReadError if the last block is not that of zeros with which an archive ends."""
        if len(self._last) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends without the mark of its end")
        if self._last.strip(b"\0"):
            raise tarfile.ReadError("the next header is damaged")


@dataclass(frozen=True, slots=True)
class _Zipped:
    """Where a member of a zip is, and how it is packed. `before`: bytes of its header, at most, as a rule."""

    start: int
    before: int
    packed: int
    size: int
    method: int
    flags: int
    crc: int


def _zipped(info: zipfile.ZipInfo) -> _Zipped:
    name = info.orig_filename.encode("utf-8", "surrogatepass")
    before = _LOCAL_HEADER.size + len(name) + len(info.extra) + _MORE_EXTRA
    return _Zipped(
        info.header_offset,
        before,
        info.compress_size,
        info.file_size,
        info.compress_type,
        info.flag_bits,
        info.CRC,
    )


def _read_zipped(stored: Stored, member: _Zipped, path: str, limit: int) -> bytes:
    """The first `limit` bytes of a member."""
    if member.flags & _ENCRYPTED:
        raise ImageError(f"{path} is encrypted; unpack the archive first")
    if member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        raise ImageError(f"{path} is compressed by method {member.method}; pack the archive again with deflate")
    # Packing makes nothing larger by more than this.
    packed = min(member.packed, limit + limit // 100 + 4096)
    block = stored.read(member.start, member.before + packed)
    if len(block) < _LOCAL_HEADER.size or block[:4] != b"PK\3\4":
        raise ImageError(f"{path} is not where the archive's directory says; get the archive again")
    _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(block)
    start = _LOCAL_HEADER.size + name_bytes + extra_bytes
    data = block[start : start + packed]
    if len(data) < packed:
        data = stored.read(member.start + start, packed)
    if len(data) < packed:
        raise _cut_short(path)
    try:
        data = _unpacked(data, member.method, limit)
    except (zlib.error, OSError) as error:
        raise ImageError(f"{path} is damaged: {one_line(error)}; get the archive again") from error
    if len(data) < min(limit, member.size):
        raise _cut_short(path)
    if len(data) == member.size and zlib.crc32(data) != member.crc:
        raise ImageError(f"{path} is damaged: its checksum is wrong; get the archive again")
    return data


def _unpacked(data: bytes, method: int, limit: int) -> bytes:
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit)
    return bz2.BZ2Decompressor().decompress(data, limit) if method == zipfile.ZIP_BZIP2 else data[:limit]


def _read_stored(stored: Stored, start: int, size: int, path: str, limit: int) -> bytes:
    """The first `limit` bytes of a member that is not compressed."""
    wanted = min(size, limit)
    data = stored.read(start, wanted)
    if len(data) < wanted:
        raise _cut_short(path)
    return data


def _beginning(data: bytes, limit: int) -> bytes:
    return data[:limit]


def _cut_short(path: str) -> ImageError:
    return ImageError(f"{path} is incomplete, as the archive is cut short; get the archive again")


def _is_image(path: str, member: str, skipped: Skipped) -> bool:
    """Whether a member is an image by its name; counts it as skipped if not."""
    if any(is_hidden(part) for part in PurePosixPath(member).parts if part not in (".", "..", "/")):
        skipped.add(path, HIDDEN)
        return False
    return has_image_suffix(path, skipped)
