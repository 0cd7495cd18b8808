"""What one argument of a command stands for: the images of a folder, of a list, of an archive, ..."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

from ..data.walk import Skipped
from ..errors import ImageError
from ..image import LazyImage
from .entry import Entry


class NoImagesError(ImageError):
    """A folder, a pattern, a list or an archive without images; if all arguments are such, nothing is loaded."""


class Part(Protocol):
    """The images of one argument."""

    def entries(self, skipped: Skipped) -> Iterator[Entry]:
        """The images in an order that is the same every time, at least one; names that are skipped are counted.

        Without images, an entry with a NoImagesError.
        """

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """What would change if the images changed, each with the number of images it stands for, None if unknown.

        No image is read for it: it consists of names with sizes.
        """


class Fault:
    """An argument, or a line of a list, that cannot be read at all."""

    def __init__(self, argument: str, error: ImageError) -> None:
        self._entry = Entry(argument, error)

    def entries(self, skipped: Skipped) -> Iterator[Entry]:  # noqa: ARG002 - nothing is skipped
        """The error."""
        yield self._entry

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """The argument."""
        yield self._entry.path, 1


def survey_of(part: Part) -> Iterator[tuple[str, int | None]]:
    """The survey of a part whose images can be listed without reading them."""
    for entry in part.entries(Skipped()):
        yield f"{entry.path}\0{_size(entry)}", 1


def _size(entry: Entry) -> int | None:
    if isinstance(entry.image, LazyImage):
        return entry.image.size
    if isinstance(entry.image, str | os.PathLike):
        try:
            return os.stat(entry.image).st_size  # noqa: PTH116
        except (OSError, ValueError):
            return None
    return None
