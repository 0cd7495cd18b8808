"""Reading images of every kind into RGB pixels.

Conversion follows what the models were trained and evaluated with (PaddleClas reads with `cv2.imdecode(..., 1)`,
torchvision with Pillow's `convert("RGB")`), so that published accuracies apply:

- EXIF orientation is applied.
- Alpha and a palette's transparency are dropped, not composited over a background.
- Colour profiles are ignored. CMYK, YCbCr, HSV and LAB convert as Pillow converts them.
- 16-bit grey (Pillow's modes `I;16*` and `I`) is scaled to 8 bits, round(value / 257); Pillow would clip it at 255.
  16-bit colour is cut to its high byte by Pillow itself.
- Float pixels (mode `F`) are taken as 0..255 and rounded; other ranges are refused.
- The first frame of an animation or a multi-page file is used; of a PIL image, its current frame.

JPEGs are decoded at their full size; with the reduced sizes that libjpeg offers, half of the resized pixels differ, by
up to 25 levels in a trial. Pillow is imported on first use. Its global settings are never changed: truncated files
fail, and every size is checked from the file's header before its pixels are decoded.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import ImageError, one_line
from .image_bytes import LazyImage, fetched, read_bytes
from .image_memory import BUDGET, MAX_PIXELS_VARIABLE, UPRIGHT_BYTES, bytes_per_pixel, max_pixels, pixel_limit

if TYPE_CHECKING:
    import PIL.Image

ImageInput: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | LazyImage | PIL.Image.Image"
    " | npt.NDArray[np.uint8]"
)
"""A path, an encoded image as bytes, a binary file object or a LazyImage, a PIL image, or uint8 [H, W, 3] (RGB) or
[H, W]."""

ENCODED = (bytes, bytearray, memoryview)

_ORIENTATION_TAG = 0x0112
_GREY_16_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def load_rgb(image: ImageInput, *, pixels: int | None = None) -> PIL.Image.Image:
    """Read an image of any kind into an upright PIL image of mode RGB, by the rules of this module.

    A file object is read from its current position to its end and stays open. Files given by path are closed.
    An RGB PIL image without an orientation tag is returned as it is, not as a copy. `pixels` overrides `MAX_PIXELS`;
    the limit is lower for formats that take more memory per pixel than RGB (`image_memory`).

    Raises ImageError, one line that names the image, when it is missing, empty, truncated, damaged, not an image,
    larger than the limit, or an array other than uint8 [H, W, 3] or [H, W]; InputError for a limit below 1.
    """
    with reading(image, pixels) as rgb:
        return rgb


@contextmanager
def reading(image: ImageInput, pixels: int | None = None, *, name: str | None = None) -> Iterator[PIL.Image.Image]:
    """Like `load_rgb`, holding a share of the memory budget for images until the block ends.

    `name`: how messages refer to the image, by default as `describe` does.
    """
    import PIL.Image

    name = describe(image) if name is None else name
    limit = max_pixels(pixels)
    if isinstance(image, PIL.Image.Image):
        yield _decode(image, name)
    elif isinstance(image, np.ndarray):
        yield _from_array(image)
    elif isinstance(image, ENCODED):
        with _decoded(io.BytesIO(image), name, limit) as rgb:
            yield rgb
    elif isinstance(image, str | os.PathLike):
        with _opened(image) as stream, _decoded(stream, name, limit) as rgb:
            yield rgb
    elif isinstance(image, LazyImage):
        with fetched(image, name) as data, _decoded(io.BytesIO(data), name, limit) as rgb:
            yield rgb
    elif hasattr(image, "read"):
        with _decoded(io.BytesIO(read_bytes(image, name)), name, limit) as rgb:
            yield rgb
    else:
        raise ImageError(
            f"{name} is not an image; expected a path, bytes, a binary file object, a PIL image, "
            "or a uint8 array [H, W, 3] in RGB order or [H, W]"
        )


def settled(image: ImageInput) -> ImageInput:
    """The same image in a form that another thread can read later: a file object's bytes, a PIL image's pixels.

    Raises ImageError as `load_rgb` does.
    """
    import PIL.Image

    if isinstance(image, str | os.PathLike | np.ndarray | bytes | bytearray | memoryview | LazyImage):
        return image
    if isinstance(image, PIL.Image.Image):
        return load_rgb(image)
    return read_bytes(image, describe(image)) if hasattr(image, "read") else image


def describe(image: object) -> str:
    """How a message refers to an image, in one line: its path, or its kind and size."""
    if isinstance(image, LazyImage):
        return describe(image.name)
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        return path if isinstance(path, str) and path and path.isprintable() else repr(path)
    if isinstance(image, ENCODED):
        return f"{type(image).__name__} object of {len(image)} bytes"
    if isinstance(image, np.ndarray):
        return f"array of shape {image.shape} and dtype {image.dtype}"
    if hasattr(image, "mode") and hasattr(image, "size") and hasattr(image, "convert"):
        path = getattr(image, "filename", "")
        origin = f" from {describe(path)}" if isinstance(path, str) and path else ""
        return f"PIL image of {' x '.join(map(str, image.size))} pixels in mode {image.mode}{origin}"
    if hasattr(image, "read"):
        name = getattr(image, "name", None)
        return f"file object {describe(name)}" if isinstance(name, str) else f"file object {type(image).__name__}"
    return f"object of type {type(image).__name__}"


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """The file as a seekable stream, which Pillow needs; a pipe or device is read to its end."""
    name = describe(path)
    try:
        file = open(path, "rb")  # noqa: PTH123, SIM115 - Path("") would silently be the current folder
    except FileNotFoundError:
        hint = "download it first" if "://" in name else "check the path"
        raise ImageError(f"{name} does not exist; {hint}") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder, not an image; give the images in it one by one") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name} cannot be opened: {one_line(reason)}; check the path and its permissions") from error
    with file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        yield file if regular else io.BytesIO(read_bytes(file, name))


@contextmanager
def _decoded(stream: IO[bytes], name: str, limit: int) -> Iterator[PIL.Image.Image]:
    """The image in a stream as `load_rgb` returns it; its memory is counted until the block ends."""
    with _identified(stream, name, limit) as image:
        width, height = image.size
        allowed = pixel_limit(image, limit)
        if width * height > allowed:
            kind = "" if allowed == limit else f" for {image.format} in mode {image.mode}"
            raise ImageError(
                f"{name} is too large: {width} x {height} pixels, the limit is {allowed} in all{kind}; make it smaller "
                f"first, or raise the limit: max_pixels=, --max-pixels or {MAX_PIXELS_VARIABLE}"
            )
        if image.format == "EPS":  # decoding it would run Ghostscript on an untrusted file
            raise ImageError(f"{name} is PostScript, a program rather than pixels; convert it to PNG first")
        turning = UPRIGHT_BYTES if image.format in ("JPEG", "MPO", "TIFF", "WEBP", "PNG") else 0.0
        with BUDGET.share(width * height * (bytes_per_pixel(image) + turning)):
            yield _decode(image, name)


def _identified(stream: IO[bytes], name: str, limit: int) -> PIL.Image.Image:
    import PIL.Image

    try:
        head = stream.read(32)
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {one_line(error)}; check the file and its disk") from error
    if not head:
        raise ImageError(f"{name} is empty: no bytes to read an image from; give the whole file, from its start")
    stream.seek(0)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        _enable_heif(name)
    try:
        return PIL.Image.open(stream)
    except PIL.UnidentifiedImageError:
        raise ImageError(f"{name} is not an image in a format that Pillow supports; save it as PNG or JPEG") from None
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} is too large: {_pixels_of(error)}, the limit is {limit} in all; make it smaller first, or raise "
            f"the limit: --max-pixels, or {MAX_PIXELS_VARIABLE} and also PIL.Image.MAX_IMAGE_PIXELS in Python"
        ) from None
    except Exception as error:  # what a decoder raises for a damaged file is not documented
        raise ImageError(f"{name} is damaged or incomplete: {one_line(error)}; get or save it again") from error


def _pixels_of(error: Exception) -> str:
    """The number of pixels of an image that Pillow itself refuses, which is only in its message."""
    found = re.search(r"\((\d+) pixels\)", str(error))
    return f"{found[1]} pixels" if found else "more pixels than Pillow opens"


def _enable_heif(name: str) -> None:
    """Register the HEIC plug-in with Pillow; it adds a format and changes no other."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise ImageError(f"{name} is in the format HEIC; to read it: pip install pillow-heif") from None


def _decode(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    try:
        image.load()
        return _upright(_to_rgb(image, name), _orientation(image))
    except ImageError:
        raise
    except Exception as error:  # what a decoder raises for a damaged file is not documented
        raise ImageError(f"{name} is damaged or incomplete: {one_line(error)}; get or save it again") from error


def _from_array(array: npt.NDArray[np.uint8]) -> PIL.Image.Image:
    import PIL.Image

    colour = array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (colour or array.ndim == 2) or 0 in array.shape:
        expected = "uint8 of shape (H, W, 3) in RGB order or (H, W), at least 1 x 1, values 0..255"
        raise ImageError(f"{describe(array)} is not an image; expected {expected}; convert it first")
    return PIL.Image.fromarray(np.ascontiguousarray(array)).convert("RGB")


def _to_rgb(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    if 0 in image.size:
        raise ImageError(f"{name} has no pixels; expected at least 1 x 1")
    if image.mode == "RGB":
        return image
    if image.mode in _GREY_16_BIT_MODES:
        return _grey_to_rgb(_eight_bits(np.asarray(image), name))
    if image.mode == "F":
        return _grey_to_rgb(_rounded_float(np.asarray(image), name))
    if image.mode in ("P", "PA", "La"):
        # Converting these directly to RGB, Pillow warns about a palette's transparency and keeps premultiplied grey.
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    return image.convert("RGB")


def _eight_bits(values: npt.NDArray[np.integer], name: str) -> npt.NDArray[np.uint8]:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 0xFFFF:
        raise ImageError(f"{name} has grey values {lowest}..{highest}, expected 16 bits, 0..65535; scale them first")
    scaled: npt.NDArray[np.uint8] = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return scaled  # exact: 257 is odd, so no value is halfway between two levels


def _rounded_float(values: npt.NDArray[np.floating], name: str) -> npt.NDArray[np.uint8]:
    lowest, highest = float(values.min()), float(values.max())
    # Values all in 0..1 are another convention, not a black image; the comparisons are also false for NaN.
    if not (lowest >= 0 and (highest == 0 or 1 < highest <= 255)):
        raise ImageError(f"{name} has float values {lowest:g}..{highest:g}, expected 0..255; scale them first")
    rounded: npt.NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return rounded


def _grey_to_rgb(values: npt.NDArray[np.uint8]) -> PIL.Image.Image:
    import PIL.Image

    return PIL.Image.fromarray(values).convert("RGB")


def _orientation(image: PIL.Image.Image) -> object:
    """The EXIF orientation 1..8; None without one or if the metadata is damaged (the pixels may still be fine)."""
    try:
        return image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001 - damaged metadata raises anything, from SyntaxError to struct.error
        return None


def _upright(image: PIL.Image.Image, orientation: object) -> PIL.Image.Image:
    """Apply an EXIF orientation as `ImageOps.exif_transpose` does, but without rewriting the metadata."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    method = methods.get(orientation) if isinstance(orientation, int) else None
    if method is None:
        return image
    upright = image.transpose(method)
    # Pillow copies the metadata; reading the orientation again would rotate the image twice.
    upright.info.pop("exif", None)
    return upright
