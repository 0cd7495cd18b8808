"""RandAugment (Cubuk et al., arXiv:1909.13719) in the increasing form of timm's `rand-m9-mstd0.5-inc1`.

PaddleClas's TimmAutoAugment has the same operations; a larger magnitude is a stronger change for each of them. Ranges
follow timm's `auto_augment.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps

Image = PIL.Image.Image
Operation = Callable[[Image, float, float, tuple[int, int, int]], Image]
"""Arguments: the image, the strength in 0..1, a sign (1 or -1) and the fill colour of uncovered pixels."""

MAX_DEGREES, MAX_SHEAR, MAX_MOVE, MAX_ENHANCE = 30.0, 0.3, 0.45, 0.9
CHANCE = 0.5


def rand_augment(
    image: Image,
    layers: int,
    magnitude: float,
    std: float,
    mean: tuple[float, float, float],
    random: np.random.Generator,
) -> Image:
    """Apply `layers` random operations, each with a probability of one half.

    `magnitude` 0..10, varied by a normal distribution of standard deviation `std` and clipped; `mean` (0..1, RGB) fills
    uncovered pixels.
    """
    fill = (round(mean[0] * 255), round(mean[1] * 255), round(mean[2] * 255))
    for number in random.integers(len(OPERATIONS), size=layers):
        chance, spread, sign = random.random(), random.standard_normal(), 1.0 if random.random() < 0.5 else -1.0
        if chance < CHANCE:
            strength = min(max(magnitude + std * spread, 0.0), 10.0) / 10
            image = OPERATIONS[int(number)](image, strength, sign, fill)
    return image


def _affine(image: Image, matrix: tuple[float, float, float, float, float, float], fill: tuple[int, int, int]) -> Image:
    return image.transform(
        image.size, PIL.Image.Transform.AFFINE, matrix, resample=PIL.Image.Resampling.BICUBIC, fillcolor=fill
    )


def _rotate(image: Image, strength: float, sign: float, fill: tuple[int, int, int]) -> Image:
    return image.rotate(sign * strength * MAX_DEGREES, resample=PIL.Image.Resampling.BICUBIC, fillcolor=fill)


def _posterize(image: Image, strength: float, _sign: float, _fill: object) -> Image:
    return PIL.ImageOps.posterize(image, max(4 - int(strength * 4), 1))


def _solarize(image: Image, strength: float, _sign: float, _fill: object) -> Image:
    return PIL.ImageOps.solarize(image, 256 - int(strength * 256))


def _solarize_add(image: Image, strength: float, _sign: float, _fill: object) -> Image:
    added = int(strength * 110)
    return image.point([min(255, value + added) if value < 128 else value for value in range(256)] * 3)


def _enhancer(kind: Callable[[Image], Any]) -> Operation:
    def enhance(image: Image, strength: float, sign: float, _fill: object) -> Image:
        changed: Image = kind(image).enhance(max(0.1, 1 + sign * strength * MAX_ENHANCE))
        return changed

    return enhance


OPERATIONS: tuple[Operation, ...] = (
    lambda image, _strength, _sign, _fill: PIL.ImageOps.autocontrast(image),
    lambda image, _strength, _sign, _fill: PIL.ImageOps.equalize(image),
    lambda image, _strength, _sign, _fill: PIL.ImageOps.invert(image),
    _rotate,
    _posterize,
    _solarize,
    _solarize_add,
    _enhancer(PIL.ImageEnhance.Color),
    _enhancer(PIL.ImageEnhance.Contrast),
    _enhancer(PIL.ImageEnhance.Brightness),
    _enhancer(PIL.ImageEnhance.Sharpness),
    lambda image, strength, sign, fill: _affine(image, (1, sign * strength * MAX_SHEAR, 0, 0, 1, 0), fill),
    lambda image, strength, sign, fill: _affine(image, (1, 0, 0, sign * strength * MAX_SHEAR, 1, 0), fill),
    lambda image, strength, sign, fill: _affine(image, (1, 0, sign * strength * MAX_MOVE * image.width, 0, 1, 0), fill),
    lambda image, strength, sign, fill: _affine(
        image, (1, 0, 0, 0, 1, sign * strength * MAX_MOVE * image.height), fill
    ),
)
