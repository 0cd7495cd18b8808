"""Augmentations of single images, as in the PaddleClas recipes, with a random generator given by the caller."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import PIL.Image

from ..registry import Preprocess
from ..results import Array
from .randaugment import rand_augment
from .recipe import Recipe

Pixels = npt.NDArray[np.uint8]

ASPECTS = (3 / 4, 4 / 3)
# RandomErasing of the PaddleClas configurations: fraction of the area, smallest aspect ratio, number of attempts.
ERASE_AREA, ERASE_MIN_ASPECT, ATTEMPTS = (0.02, 1 / 3), 0.3, 10


def augmented(crop: PIL.Image.Image, recipe: Recipe, spec: Preprocess, random: np.random.Generator) -> Array:
    """One RGB crop of S x S pixels -> float32 [3, S, S], normalised: flip, RandAugment, erasing, in that order."""
    if random.random() < recipe.flip:
        crop = crop.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    if recipe.rand_layers:
        crop = rand_augment(crop, recipe.rand_layers, recipe.rand_magnitude, recipe.rand_std, spec.mean, random)
    values: Array = normalised(np.asarray(crop)[None], spec)[0]
    if random.random() < recipe.erase:
        erase(values, random)
    return values


def random_crop(
    image: PIL.Image.Image, smallest: float, spec: Preprocess, random: np.random.Generator
) -> PIL.Image.Image:
    """A random area of an image (see `random_area`), resized to S x S pixels as in evaluation."""
    resample = PIL.Image.Resampling[spec.interpolation.upper()]
    return image.resize((spec.crop_size,) * 2, resample, box=random_area(image.size, smallest, random))


def random_area(
    size: tuple[int, int], smallest: float, random: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box (left, top, right, bottom) in pixels of an image of (width, height).

    Its area is a random fraction `smallest`..1 of the image, its aspect ratio log-uniform in 3/4..4/3 (Szegedy et
    al., arXiv:1409.4842). After ten boxes that do not fit, it is the largest centred box of an allowed aspect ratio.
    """
    width, height = size
    for _ in range(ATTEMPTS):
        area = random.uniform(smallest, 1.0) * width * height
        aspect = math.exp(random.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * ASPECTS[1])))
    h = min(height, max(1, round(width / ASPECTS[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def shifted(
    pixels: Pixels, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], flip: npt.NDArray[np.bool_]
) -> Pixels:
    """Move images uint8 [n, S, S, 3] by `rows` and `columns` pixels (int64 [n]), repeating the border, then flip some.

    A positive shift moves the content up and left.
    """
    side = np.arange(pixels.shape[1])
    y = np.clip(side[None, :] + rows[:, None], 0, len(side) - 1)
    x = np.clip(np.where(flip[:, None], side[::-1][None, :], side[None, :]) + columns[:, None], 0, len(side) - 1)
    moved: Pixels = pixels[np.arange(len(pixels))[:, None, None], y[:, :, None], x[:, None, :]]
    return moved


def normalised(pixels: Pixels, spec: Preprocess) -> Array:
    """uint8 [n, S, S, 3] -> float32 [n, 3, S, S], (value / 255 - mean) / std as in evaluation, C-contiguous."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    scale, shift = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
    values = np.empty((len(pixels), 3, *pixels.shape[1:3]), dtype=np.float32)
    np.multiply(pixels.transpose(0, 3, 1, 2), scale[:, None, None], out=values, dtype=np.float32)
    values += shift[:, None, None]
    return values


def erase(values: Array, random: np.random.Generator) -> None:
    """Replace a random rectangle of float32 [3, S, S], in place, by normal noise (Zhong et al., arXiv:1708.04896)."""
    height, width = values.shape[1:]
    for _ in range(ATTEMPTS):
        area = random.uniform(*ERASE_AREA) * height * width
        aspect = math.exp(random.uniform(math.log(ERASE_MIN_ASPECT), -math.log(ERASE_MIN_ASPECT)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            top, left = int(random.integers(height - h + 1)), int(random.integers(width - w + 1))
            values[:, top : top + h, left : left + w] = random.standard_normal((3, h, w), dtype=np.float32)
            return
