"""Limits on the size of an image and on how many are decoded at a time, by the memory that they take."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import PIL.Image

MAX_PIXELS = 89_478_485
"""Width times height of the largest RGB image that is decoded: 256 MiB, where Pillow begins to suspect a bomb.

A PIL image or an array is in memory already and may be larger.
"""

MAX_PIXELS_VARIABLE = "ONNXZOO_MAX_PIXELS"
"""Environment variable that overrides MAX_PIXELS."""

MAX_ENCODED_BYTES = 2**28
"""Maximum size of an image that is not a file: it is read completely before it is decoded."""

FIRST_BYTES = 8 * 2**20
"""How much is read first of an image whose size is not known."""

RGB_BYTES = 4.5
"""Peak memory per pixel of an RGB image while it is read and resized; Pillow stores RGB in 4 bytes."""

# Peak bytes per pixel while reading and converting to RGB, measured with Pillow 13 on images of 8000 x 5000 pixels.
FORMAT_BYTES: Mapping[str, float] = {"WEBP": 16.5, "JPEG2000": 20.0, "AVIF": 9.5, "HEIF": 9.5, "QOI": 7.0, "MPO": 7.0}
"""Decoders that keep copies of the whole image, by Pillow's format name."""
MODE_BYTES: Mapping[str, float] = {
    "1": 5.0,
    "L": 5.0,
    "RGB": RGB_BYTES,
    "RGBX": 8.0,
    "RGBA": 8.0,
    "CMYK": 8.0,
    "YCbCr": 8.0,
    "LA": 8.0,
    "HSV": 8.0,
    "LAB": 8.0,
    "P": 9.0,
    "PA": 12.0,
    "La": 12.0,
    "RGBa": 12.0,
    "I;16": 12.0,
    "F": 13.0,
}
OTHER_MODE_BYTES = 16.0
PROGRESSIVE_BYTES = 3.0
"""Additional bytes per pixel for the coefficients of a progressive JPEG."""
UPRIGHT_BYTES = 4.0
"""Additional bytes per pixel for rotating an image by its EXIF orientation."""

BUDGET_BYTES = 512 * 2**20
"""Memory for all images being decoded in this process; an image that needs more is decoded alone."""


def max_pixels(asked: int | None = None) -> int:
    """The effective limit in pixels of an RGB image: `asked`, else the environment variable, else MAX_PIXELS.

    Raises InputError for a value that is not a whole number from 1.
    """
    if asked is not None:
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
            raise InputError(f"max_pixels must be a whole number from 1, got {asked!r}")
        return asked
    value = os.environ.get(MAX_PIXELS_VARIABLE, "").strip()
    if not value:
        return MAX_PIXELS
    if not (value.isascii() and value.isdigit() and len(value) < 19 and int(value) > 0):
        raise InputError(f"the environment variable {MAX_PIXELS_VARIABLE} must be a whole number from 1, got {value!r}")
    return int(value)


def bytes_per_pixel(image: PIL.Image.Image) -> float:
    """Peak memory per pixel of reading an image and converting it to RGB; `image` need not be decoded yet."""
    cost = MODE_BYTES.get(image.mode, OTHER_MODE_BYTES)
    cost = max(cost, FORMAT_BYTES.get(image.format or "", 0.0))
    return cost + (PROGRESSIVE_BYTES if image.info.get("progressive") else 0.0)


def pixel_limit(image: PIL.Image.Image, limit: int) -> int:
    """How many pixels an image of this format and mode may have if an RGB image may have `limit`."""
    return int(limit * min(1.0, RGB_BYTES / bytes_per_pixel(image)))


class MemoryBudget:
    """A number of bytes shared by threads. A share larger than the whole budget is granted to one thread alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def share(self, wanted: float) -> Iterator[None]:
        """Wait until `wanted` bytes, or the whole budget, are free, and hold them."""
        taken = min(max(0, int(wanted)), self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._used + taken <= self._total)
            self._used += taken
        try:
            yield
        finally:
            with self._changed:
                self._used -= taken
                self._changed.notify_all()


BUDGET = MemoryBudget(BUDGET_BYTES)

ENCODED_BUDGET = MemoryBudget(MAX_ENCODED_BYTES)
"""Memory for the encoded bytes of images that are read when their turn comes. A thread takes its share of it before
that of BUDGET, so none waits in a circle."""
