"""Files whose parts are read by position, on any thread: on this machine or at a URL."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Protocol

from ..errors import ImageError, one_line
from .places import Place, absent, content_of, info_of, read_part, refusal

SAMPLES, SAMPLE_BYTES = 64, 4096

BLOCK_BYTES = 8 * 2**20
"""How much of an archive is read at a time."""


class Stored(Protocol):
    """A file. `name`: its path or URL; `remote`: whether reading waits for another machine."""

    name: str
    remote: bool

    def open(self) -> IO[bytes]:
        """The file as a seekable stream for one thread. Raises OSError or ImageError if it cannot be opened."""

    def read(self, start: int, length: int) -> bytes:
        """This many bytes from `start`, fewer at the end of the file, on any thread. Raises as `open`."""

    def fingerprint(self) -> str:
        """What changes if the file changes, as far as can be told without reading all of it."""


class LocalStored:
    """A file on this machine. It is opened for each read, so nothing has to be closed or shared by threads."""

    remote = False

    def __init__(self, path: str) -> None:
        self.name = path

    def open(self) -> IO[bytes]:
        """The file."""
        return Path(self.name).open("rb")

    def read(self, start: int, length: int) -> bytes:
        """The bytes."""
        with open(self.name, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs as much as the read
            file.seek(start)
            data = file.read(length)
            if len(data) == length or not data:
                return data
            parts = [data]  # a raw file may return fewer than there are
            while (missing := length - sum(map(len, parts))) and (data := file.read(missing)):
                parts.append(data)
            return b"".join(parts)

    def fingerprint(self) -> str:
        """The size, and a hash of samples from all over the file; independent of times, which change with a copy."""
        try:
            with self.open() as file:
                size = os.fstat(file.fileno()).st_size
                digest = hashlib.sha256()
                for i in range(SAMPLES + 1):
                    file.seek(max(0, size - SAMPLE_BYTES) * i // SAMPLES)
                    digest.update(file.read(SAMPLE_BYTES))
        except OSError as error:
            return str(unreadable(self.name, error))
        return f"{size} {digest.hexdigest()}"


class RemoteStored:
    """A file at a URL whose parts are read by position."""

    remote = True

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place

    def open(self) -> IO[bytes]:
        """The file. Raises ImageError if it does not exist, DownloadError if it is refused."""
        try:
            file: IO[bytes] = self._place.files.open(self._place.path, "rb", block_size=BLOCK_BYTES)
        except FileNotFoundError:
            raise ImageError(absent(self._place)) from None
        except Exception as error:
            raise refusal(self.name, error) from error
        return file

    def read(self, start: int, length: int) -> bytes:
        """The bytes."""
        return read_part(self._place, start, length)

    def fingerprint(self) -> str:
        """The size and what the file system knows about the content."""
        try:
            return content_of(info_of(self._place))
        except FileNotFoundError:
            return "missing"


def unreadable(name: str, error: Exception) -> ImageError:
    """The error for a file that cannot be opened or read."""
    reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
    return ImageError(f"{name} cannot be read: {reason}; check the path and its permissions")
