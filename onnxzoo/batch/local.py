"""Images on this machine: files, folders and patterns, and one on standard input."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator

from ..data.walk import NoImages, Skipped, find_images
from ..errors import ImageError
from ..image import ImageInput
from ..image_reading import settled
from .entry import Entry
from .parts import NoImagesError, survey_of

STANDARD_INPUT = "-"


class LocalImages:
    """The images of a file, a folder or a pattern, as `find_images` finds them."""

    def __init__(self, argument: str) -> None:
        self._argument = argument

    def entries(self, skipped: Skipped) -> Iterator[Entry]:
        """A file is an entry whatever it is and whether or not it exists; reading it reports that."""
        if self._argument.endswith(("/", os.sep)) and not os.path.lexists(self._argument):
            yield Entry(self._argument, NoImagesError(f"the folder {self._argument!r} does not exist; check the path"))
            return
        for found in find_images([self._argument], skipped):
            if isinstance(found, NoImages):
                yield Entry(found.argument, NoImagesError(str(found)))
            else:
                yield Entry(found, found)

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """Paths with sizes."""
        return survey_of(self)


class LocalFile:
    """One file, even if its name looks like a pattern; a folder is an image that cannot be read."""

    def __init__(self, path: str) -> None:
        self._path = path

    def entries(self, skipped: Skipped) -> Iterator[Entry]:  # noqa: ARG002 - nothing is skipped
        """The file, whatever it is and whether or not it exists; reading it reports that."""
        yield Entry(self._path, self._path)

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """Its path with its size."""
        return survey_of(self)


class StandardInputImage:
    """An image on standard input, which can be read only once and is kept."""

    def __init__(self) -> None:
        self._image: ImageInput | ImageError | None = None

    def entries(self, skipped: Skipped) -> Iterator[Entry]:  # noqa: ARG002 - nothing is skipped
        """The image."""
        yield Entry(STANDARD_INPUT, self._content())

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """A hash of its bytes, as it has no name."""
        content = self._content()
        known = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else ""
        yield f"{STANDARD_INPUT}\0{known}", 1

    def _content(self) -> ImageInput | ImageError:
        if self._image is None:
            self._image = _read_standard_input()
        return self._image


def _read_standard_input() -> ImageInput | ImageError:
    if sys.stdin is None:
        return ImageError("standard input is closed; pipe an image into it")
    try:
        return settled(sys.stdin.buffer)
    except ImageError as error:
        return error
