"""Images in, model inputs out: reading to RGB pixels and the evaluation preprocessing.

What pixels an image stands for follows what the models were trained and evaluated with (PaddleClas reads with
`cv2.imdecode(..., 1)`, torchvision with Pillow's `convert("RGB")`), so that accuracies carry over:

- EXIF orientation is applied.
- Alpha is dropped, not composited over a background; a palette's transparency likewise.
- Colour profiles are ignored. CMYK, YCbCr, HSV and LAB convert as Pillow converts them.
- 16-bit grey (Pillow's modes `I;16*` and `I`) is scaled to 8 bits, round(value / 257); Pillow would clip it at 255.
  16-bit colour is cut to its high byte by Pillow itself.
- Float pixels (mode `F`) are taken as 0..255 and rounded; other ranges are refused.
- Of an animation or a multi-page file the first frame counts; of a PIL image the frame that it stands at.

Pillow is imported on first use. Its global settings are never touched: truncated files fail, and every size is
checked from the file's header before its pixels are decoded.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import ImageError, one_line
from .registry import Preprocess
from .results import Array

if TYPE_CHECKING:
    import PIL.Image

ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | PIL.Image.Image | npt.NDArray[np.uint8]"
"""A path, an encoded image as bytes or as a binary file object, a PIL image, or uint8 [H, W, 3] in RGB order."""

MAX_PIXELS = 89_478_485
"""Width times height of the largest image that is decoded: 256 MiB as RGB, where Pillow begins to suspect a bomb.

A PIL image or an array is in the caller's hands already and may be larger.
"""

MAX_WHOLE_RESIZE_PIXELS = 2**24
"""Width times height up to which an image is resized in one go, then cropped; beyond, a few columns at a time."""

MAX_RESIZED_PIXELS = 2**30
"""Width times height, after resizing, of the narrowest strip that is accepted: about 1 : 7000 at 384 pixels."""

_ORIENTATION_TAG = 0x0112
_GREY_16_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def load_rgb(image: ImageInput) -> PIL.Image.Image:
    """Read an image of any kind into a PIL image of mode RGB, upright (see the module's rules).

    A file object is read from its current position to its end and stays open. Files given by path are closed.
    An RGB PIL image without an orientation tag is returned as it is, not as a copy.

    Raises ImageError, one line that names the image, when it is missing, empty, truncated, damaged, not an image,
    larger than `MAX_PIXELS`, or an array other than uint8 [H, W, 3].
    """
    import PIL.Image

    if isinstance(image, PIL.Image.Image):
        return _decode(image, describe(image))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, bytes):
        return _decode_stream(io.BytesIO(image), describe(image))
    if isinstance(image, str | os.PathLike):
        return _decode_path(image)
    if hasattr(image, "read"):
        return _decode_stream(io.BytesIO(_read_bytes(image)), describe(image))
    raise ImageError(
        f"{describe(image)} is not an image; expected a path, bytes, a binary file object, a PIL image, "
        "or a uint8 array [H, W, 3] in RGB order"
    )


def preprocess(image: ImageInput, spec: Preprocess) -> Array:
    """Turn one image into the input of a model: float32 [3, crop_size, crop_size], C-contiguous, channels R, G, B.

    RGB; the short side resized to `spec.resize_size`, the long one to the rounded share (`ResizeImage` of PaddleClas,
    ppcls/data/preprocess/ops/operators.py, backend pil); the centre square of `spec.crop_size` with floored offsets;
    then (value / 255 - mean) / std. With ImageNet's mean and std, values lie in [-2.12, 2.64]; they equal a float64
    computation to 1e-6.

    Raises ImageError as `load_rgb` does.
    """
    out = np.empty((3, spec.crop_size, spec.crop_size), dtype=np.float32)
    _read_and_fill(image, spec, out)
    return out


def preprocess_batch(images: Sequence[ImageInput], spec: Preprocess) -> Array:
    """Turn images into one input: float32 [N, 3, crop_size, crop_size], C-contiguous; each as `preprocess` does.

    Several images are worked on in one thread per available core: Pillow decodes and resizes without holding the
    interpreter's lock. No images give an array with N = 0.

    Raises ImageError as `load_rgb` does.
    """
    batch = np.empty((len(images), 3, spec.crop_size, spec.crop_size), dtype=np.float32)
    threads = min(len(images), _available_cores())
    if threads < 2:
        for image, out in zip(images, batch, strict=True):
            _read_and_fill(image, spec, out)
        return batch
    with ThreadPoolExecutor(threads, thread_name_prefix="onnxzoo-image") as pool:
        try:
            jobs = []
            for image, out in zip(images, batch, strict=True):
                if isinstance(image, str | os.PathLike | bytes | np.ndarray):
                    jobs.append(pool.submit(_read_and_fill, image, spec, out))
                else:
                    # PIL images and file objects change while they are read, and may stand in the list twice.
                    jobs.append(pool.submit(_fill, load_rgb(image), describe(image), spec, out))
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return batch


def describe(image: object) -> str:
    """Name an image in a message, in one line: its path, or its kind and size."""
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        return path if isinstance(path, str) and path and path.isprintable() else repr(path)
    if isinstance(image, bytes):
        return f"bytes object of {len(image)} bytes"
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


def _decode_path(path: str | os.PathLike[str]) -> PIL.Image.Image:
    name = describe(path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - Path("") would silently be the current folder
            # A pipe cannot be searched through, as Pillow needs to.
            return _decode_stream(file if file.seekable() else io.BytesIO(file.read()), name)
    except ImageError:
        raise
    except FileNotFoundError:
        hint = "download it first" if "://" in name else "check the path"
        raise ImageError(f"{name}: there is no such file; {hint}") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder, not an image; give the images in it one by one") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name} cannot be opened: {one_line(reason)}; check the path and its permissions") from error


def _read_bytes(file: IO[bytes]) -> bytes:
    try:
        data: object = file.read()
    except (OSError, ValueError) as error:
        raise ImageError(f"{describe(file)} cannot be read: {one_line(error)}; open it in mode 'rb'") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{describe(file)} gives {type(data).__name__} instead of bytes; open it in mode 'rb'")
    return data


def _decode_stream(stream: IO[bytes], name: str) -> PIL.Image.Image:
    import PIL.Image

    if not stream.read(1):
        raise ImageError(f"{name} is empty: no bytes to read an image from; give it whole, or from its start")
    try:
        image = PIL.Image.open(stream)
    except PIL.UnidentifiedImageError:
        raise ImageError(f"{name} is not an image of a format that Pillow knows; save it as PNG or JPEG") from None
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large: {one_line(error)}; make it smaller first") from None
    except Exception as error:  # what a decoder raises for a damaged file is not documented
        raise ImageError(f"{name} is damaged or incomplete: {one_line(error)}; get or save it anew") from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            size = f"{width} x {height} pixels, the limit is {MAX_PIXELS} in all"
            raise ImageError(f"{name} is too large: {size}; make it smaller first")
        if image.format == "EPS":  # decoding it would run Ghostscript on a file that nobody vouches for
            raise ImageError(f"{name} is PostScript, a program rather than pixels; convert it to PNG first")
        return _decode(image, name)


def _decode(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    try:
        image.load()
        return _upright(_to_rgb(image, name), _orientation(image))
    except ImageError:
        raise
    except Exception as error:  # what a decoder raises for a damaged file is not documented
        raise ImageError(f"{name} is damaged or incomplete: {one_line(error)}; get or save it anew") from error


def _from_array(array: npt.NDArray[np.uint8]) -> PIL.Image.Image:
    import PIL.Image

    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        expected = "uint8 of shape (H, W, 3), at least 1 x 1, values 0..255 in RGB order"
        raise ImageError(f"{describe(array)} is not an image; expected {expected}; convert it first")
    return PIL.Image.fromarray(np.ascontiguousarray(array))


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
        # Straight to RGB, Pillow warns about a palette's transparency and keeps grey multiplied by alpha.
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    return image.convert("RGB")


def _eight_bits(values: npt.NDArray[np.integer], name: str) -> npt.NDArray[np.uint8]:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 0xFFFF:
        raise ImageError(f"{name} has grey values {lowest}..{highest}, expected 16 bits, 0..65535; scale them first")
    scaled: npt.NDArray[np.uint8] = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return scaled  # exact: 257 is odd, so that no value lies halfway


def _rounded_float(values: npt.NDArray[np.floating], name: str) -> npt.NDArray[np.uint8]:
    lowest, highest = float(values.min()), float(values.max())
    # All in 0..1 is another convention, not a black image; the comparisons are false for NaN, too.
    if not (lowest >= 0 and (highest == 0 or 1 < highest <= 255)):
        raise ImageError(f"{name} has float values {lowest:g}..{highest:g}, expected 0..255; scale them first")
    rounded: npt.NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return rounded


def _grey_to_rgb(values: npt.NDArray[np.uint8]) -> PIL.Image.Image:
    import PIL.Image

    return PIL.Image.fromarray(values).convert("RGB")


def _orientation(image: PIL.Image.Image) -> object:
    """The EXIF orientation 1..8; None without one, and where the metadata is damaged (the pixels are not)."""
    try:
        return image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001 - damaged metadata raises anything, from SyntaxError to struct.error
        return None


def _upright(image: PIL.Image.Image, orientation: object) -> PIL.Image.Image:
    """Undo an EXIF orientation, as `ImageOps.exif_transpose` does, but without rewriting the metadata."""
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
    # Pillow copies the metadata: whoever read the orientation again would turn the image twice.
    upright.info.pop("exif", None)
    return upright


def _resize_and_crop(image: PIL.Image.Image, spec: Preprocess, name: str) -> npt.NDArray[np.uint8]:
    """Resize the short side and cut out the centre: uint8 [crop_size, crop_size, 3]; `name` is for messages."""
    from PIL.Image import Resampling

    resample = Resampling[spec.interpolation.upper()]
    width, height = image.size
    ratio = float(spec.resize_size) / min(width, height)
    new_width, new_height = round(width * ratio), round(height * ratio)
    size = spec.crop_size
    left, top = (new_width - size) // 2, (new_height - size) // 2
    if new_width * new_height > MAX_RESIZED_PIXELS:
        raise ImageError(
            f"{name} is too narrow: it would be resized to {new_width} x {new_height} pixels to cut out "
            f"{size} x {size}, the limit is {MAX_RESIZED_PIXELS} in all; crop it to the part that matters"
        )
    if new_width * new_height > MAX_WHOLE_RESIZE_PIXELS:
        return _resize_strip(image, (new_width, new_height), (left, top), size, resample)
    resized = np.asarray(image.resize((new_width, new_height), resample))
    crop: npt.NDArray[np.uint8] = resized[top : top + size, left : left + size]
    return crop


def _resize_strip(
    image: PIL.Image.Image,
    resized: tuple[int, int],
    offset: tuple[int, int],
    size: int,
    resample: PIL.Image.Resampling,
) -> npt.NDArray[np.uint8]:
    """The same crop, pixel for pixel, without ever holding the whole of a huge resized image.

    Pillow resizes rows first, then columns, rounding to bytes in between; so the two can be done apart, the
    columns a few at a time. Its `box` argument is no way to get the crop: it is kept in float32, and rounding shows.
    """
    (width, height), (left, top) = resized, offset
    rows = image.resize((width, image.height), resample).crop((left, 0, left + size, image.height))
    crop = np.empty((size, size, 3), dtype=np.uint8)
    step = max(1, MAX_WHOLE_RESIZE_PIXELS // height)
    for start in range(0, size, step):
        columns = rows.crop((start, 0, min(start + step, size), rows.height))
        part = np.asarray(columns.resize((columns.width, height), resample))
        crop[:, start : start + step] = part[top : top + size]
    return crop


def _read_and_fill(image: ImageInput, spec: Preprocess, out: Array) -> None:
    _fill(load_rgb(image), describe(image), spec, out)


def _fill(image: PIL.Image.Image, name: str, spec: Preprocess, out: Array) -> None:
    """Write (pixels / 255 - mean) / std of an image that `load_rgb` gave to `out`, float32 [3, S, S].

    In one scale and shift per channel; `name` is for messages.
    """
    pixels = _resize_and_crop(image, spec, name).transpose(2, 0, 1)
    mean, std = np.array(spec.mean), np.array(spec.std)
    scale, shift = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
    np.multiply(pixels, scale[:, None, None], out=out, dtype=np.float32)
    np.add(out, shift[:, None, None], out=out)


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux; honours the limits of containers and of taskset
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
