"""The evaluation preprocessing of PaddleClas: images to model inputs.

`image_reading` decodes images to RGB pixels, `image_memory` limits their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .cpu import worker_threads
from .errors import ImageError
from .image_bytes import LazyImage
from .image_memory import MAX_PIXELS
from .image_reading import ImageInput, describe, load_rgb, reading, settled
from .registry import Preprocess
from .results import Array

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["MAX_PIXELS", "ImageInput", "LazyImage", "describe", "load_rgb", "preprocess", "preprocess_batch"]

MAX_WHOLE_RESIZE_PIXELS = 2**24
"""Width times height up to which an image is resized as a whole, then cropped; larger ones in strips of columns."""

MAX_RESIZED_PIXELS = 2**30
"""Width times height, after resizing, of the narrowest strip that is accepted: about 1 : 7000 at 384 pixels."""


def preprocess(image: ImageInput, spec: Preprocess, *, max_pixels: int | None = None) -> Array:
    """Turn one image into the input of a model: float32 [3, crop_size, crop_size], C-contiguous, channels R, G, B.

    RGB; the short side resized to `spec.resize_size`, the long one to the rounded share (`ResizeImage` of PaddleClas,
    ppcls/data/preprocess/ops/operators.py, backend pil); the centre square of `spec.crop_size` with floored offsets;
    then (value / 255 - mean) / std. With ImageNet's mean and std, values lie in [-2.12, 2.64]; they equal a float64
    computation to 1e-6. `max_pixels` overrides MAX_PIXELS (see `load_rgb`).

    Raises ImageError as `load_rgb` does.
    """
    out = np.empty((3, spec.crop_size, spec.crop_size), dtype=np.float32)
    preprocess_into(out, image, describe(image), spec, max_pixels)
    return out


def preprocess_into(out: Array, image: ImageInput, name: str, spec: Preprocess, max_pixels: int | None = None) -> None:
    """Write what `preprocess` returns into `out`, float32 [3, crop_size, crop_size]; `name`: of the image in messages.

    Raises ImageError as `load_rgb` does; `out` is then undefined.
    """
    with reading(image, max_pixels, name=name) as rgb:
        _fill(rgb, name, spec, out)


def preprocess_batch(images: Sequence[ImageInput], spec: Preprocess, *, max_pixels: int | None = None) -> Array:
    """Turn images into one input: float32 [N, 3, crop_size, crop_size], C-contiguous; each as `preprocess` does.

    Several images are processed in `worker_threads` threads, as Pillow decodes and resizes without holding the
    interpreter's lock. Images that need much memory wait for each other. Without images N is 0.

    Raises ImageError as `load_rgb` does.
    """
    batch = np.empty((len(images), 3, spec.crop_size, spec.crop_size), dtype=np.float32)
    # For a single image, there is no need to query the system's limits.
    threads = min(len(images), worker_threads()) if len(images) > 1 else 1
    if threads < 2:
        for image, out in zip(images, batch, strict=True):
            preprocess_into(out, image, describe(image), spec, max_pixels)
        return batch
    with ThreadPoolExecutor(threads, thread_name_prefix="onnxzoo-image") as pool:
        try:
            jobs = []
            for image, out in zip(images, batch, strict=True):
                name = describe(image)
                # PIL images and file objects change while they are read, and may occur twice in the list.
                jobs.append(pool.submit(preprocess_into, out, settled(image), name, spec, max_pixels))
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return batch


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
    """The same crop, pixel for pixel, without ever holding all of a huge resized image in memory.

    Pillow resizes rows first, then columns, rounding to bytes in between, so the two passes can be run separately and
    the columns a few at a time. Its `box` argument cannot give the same crop, as it is kept in float32.
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


def _fill(image: PIL.Image.Image, name: str, spec: Preprocess, out: Array) -> None:
    """Write (pixels / 255 - mean) / std of an image from `load_rgb` into `out`, float32 [3, S, S].

    Uses one scale and one shift per channel; `name` is for messages.
    """
    pixels = _resize_and_crop(image, spec, name).transpose(2, 0, 1)
    mean, std = np.array(spec.mean), np.array(spec.std)
    scale, shift = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
    np.multiply(pixels, scale[:, None, None], out=out, dtype=np.float32)
    np.add(out, shift[:, None, None], out=out)


def pixels_of(values: Array, spec: Preprocess) -> npt.NDArray[np.uint8]:
    """The pixels of a preprocessed image, float32 [3, S, S] -> uint8 [S, S, 3] in RGB order; clipped to 0..255."""
    scale, shift = (255 * np.array(part, dtype=np.float32) for part in (spec.std, spec.mean))
    levels = values.transpose(1, 2, 0) * scale + shift
    pixels: npt.NDArray[np.uint8] = np.clip(np.rint(levels, out=levels), 0, 255, out=levels).astype(np.uint8)
    return pixels


def reduced(values: Array, pixels: int) -> Array:
    """A preprocessed image, float32 [3, S, S], with S divided by the largest whole factor that leaves `pixels`."""
    size = values.shape[-1]
    factor = max(1, size // pixels)
    end = size // factor * factor
    total = np.zeros((3, size // factor, size // factor), dtype=np.float32)
    # Sums of slices take a tenth of the time of a mean over blocks.
    for row in range(factor):
        for column in range(factor):
            total += values[:, row:end:factor, column:end:factor]
    total /= factor**2
    return total
