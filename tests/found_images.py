"""What the entries of a source are: the colours of small photos, or why they cannot be read."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable

from PIL import Image
from tiny import COLOURS

from onnxzoo.batch.entry import Entry
from onnxzoo.errors import ImageError
from onnxzoo.image import load_rgb

RED, GREEN, BLUE = COLOURS["red"], COLOURS["green"], COLOURS["blue"]


@functools.cache
def photo(colour: str) -> bytes:
    """A PNG file of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (48, 40), COLOURS[colour]).save(stream, "PNG")
    return stream.getvalue()


def colours(entries: Iterable[Entry]) -> list[object]:
    """The colour of each image, or the message of its error."""
    return [_colour(entry) for entry in entries]


def _colour(entry: Entry) -> object:
    try:
        if isinstance(entry.image, ImageError):
            raise entry.image
        return load_rgb(entry.image).getpixel((0, 0))
    except ImageError as error:
        return str(error)
