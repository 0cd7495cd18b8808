"""Encoded images that are not files: from pipes and file objects, from archives and buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from .errors import ImageError, one_line
from .image_memory import ENCODED_BUDGET, FIRST_BYTES, MAX_ENCODED_BYTES
from .network import without_login


@dataclass(frozen=True, slots=True)
class LazyImage:
    """An encoded image that is read when its turn comes: a member of an archive, an object in a bucket.

    `name`: how messages refer to it. `read`: called with a number of bytes, returns the image's first bytes, at most
    that many; on any thread, and at any time. What it raises becomes an ImageError. `size`: the bytes in all if that is
    known. `held`: the bytes that it keeps in memory until it is read, which count towards the memory of a stream.
    `remote`: reading waits for another machine, so that many are read at a time.
    """

    name: str
    read: Callable[[int], bytes]
    size: int | None = None
    held: int = 0
    remote: bool = False


def read_bytes(file: IO[bytes], name: str) -> bytes:
    """A pipe, device or file object from its position to its end; `name` is for messages.

    Raises ImageError if it cannot be read, is not binary or has more than MAX_ENCODED_BYTES.
    """
    try:
        data: object = file.read(MAX_ENCODED_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read: {one_line(error)}; open it in mode 'rb'") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name} returns {type(data).__name__} instead of bytes; open it in mode 'rb'")
    if len(data) > MAX_ENCODED_BYTES:
        raise ImageError(_too_many_bytes(name))
    return data


@contextmanager
def fetched(image: LazyImage, name: str) -> Iterator[bytes]:
    """The bytes of an image that is read now; their memory is counted until the block ends."""
    if image.size is not None and image.size > MAX_ENCODED_BYTES:
        raise ImageError(_too_many_bytes(name))
    if image.held:  # counted where it is held
        yield _first_bytes(image, image.held, name)
        return
    # Of an image of unknown size, what most images have; a larger one is read again, alone.
    expected = FIRST_BYTES if image.size is None else image.size
    with ENCODED_BUDGET.share(expected):
        data = _first_bytes(image, expected + 1, name)
        if len(data) <= expected:
            yield data
            return
        del data
    with ENCODED_BUDGET.share(MAX_ENCODED_BYTES):
        data = _first_bytes(image, MAX_ENCODED_BYTES + 1, name)
        if len(data) > MAX_ENCODED_BYTES:
            raise ImageError(_too_many_bytes(name))
        yield data


def _first_bytes(image: LazyImage, limit: int, name: str) -> bytes:
    try:
        data: object = image.read(limit)
    except ImageError:
        raise
    except Exception as error:  # what the library of a bucket raises is not documented
        reason = without_login(one_line(error))
        raise ImageError(f"{name} cannot be read: {reason}; check that it is still there") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name} returns {type(data).__name__} instead of bytes; correct its function `read`")
    return data


def _too_many_bytes(name: str) -> str:
    return (
        f"{name} has more than {MAX_ENCODED_BYTES} bytes, the limit for pipes, devices, file objects, archives and "
        "URLs; save it to a file and give its path"
    )
