"""One image of a large run: its name, and how to get it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ImageError
from ..image_reading import ImageInput


@dataclass(frozen=True, slots=True)
class Entry:
    """An image of a source, as `Model.stream` takes it, with the name that stands in tables.

    `path`: unique within a run, and the same whenever the source is read again: a path, a URL or
    `archive.tar::member`. `image`: what can be read, on any thread; an ImageError if the source already knows that
    it cannot be.
    """

    path: str
    image: ImageInput | ImageError
