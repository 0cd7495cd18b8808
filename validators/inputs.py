"""Inputs of a validation: seeded noise, adversarially plain images, and the user's images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ImageError, InputError
from ..image import ImageInput, describe, preprocess
from ..registry import Preprocess
from ..results import Array

NOISE_SAMPLES = 3
NOISE_SEED = 7
IMAGE_SAMPLES = 32
"""Default number of images taken from a folder, spread evenly."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """`names`: of the inputs. `images`: float32 [K, 3, S, S], RGB, normalised."""

    names: tuple[str, ...]
    images: Array

    def __len__(self) -> int:
        return len(self.names)


def joined(*parts: Inputs) -> Inputs:
    """All inputs together, in this order."""
    names = tuple(name for part in parts for name in part.names)
    return Inputs(names, np.concatenate([part.images for part in parts]))


def noise_inputs(size: int, count: int, seed: int) -> Inputs:
    """`count` images of standard normal noise, fixed by the seed (0..2^32-1)."""
    stream = np.random.RandomState(seed)
    noise = np.empty((count, 3, size, size), np.float32)
    for image in noise:  # one by one, as the generator returns float64
        image[...] = stream.standard_normal(image.shape)
    return Inputs(tuple(f"noise {seed}.{number}" for number in range(count)), noise)


def plain_inputs(spec: Preprocess) -> Inputs:
    """Plain images, which cause variances of 0 before norms and softmaxes over equal scores.

    They are all zero (the mean colour), all at the lowest and all at the highest value of the preprocessing, and the
    lowest with one highest pixel off the centre, which an error in the order of tokens would move.
    """
    size = spec.crop_size
    low, high = ((level - np.array(spec.mean)) / np.array(spec.std) for level in (0.0, 1.0))
    images = np.zeros((4, 3, size, size), np.float32)
    images[1] = low[:, None, None]
    images[2] = high[:, None, None]
    images[3] = low[:, None, None]
    images[3, :, size // 3, size // 5] = high
    return Inputs(("zero", "lowest", "highest", "one hot pixel"), images)


def image_inputs(
    images: Sequence[ImageInput],
    spec: Preprocess,
    count: int = IMAGE_SAMPLES,
    unreadable: Callable[[ImageError], None] | None = None,
) -> Inputs:
    """At most `count` of these images, spread evenly, through the model's preprocessing.

    `unreadable` is called for an image that cannot be read, which is skipped. Raises ImageError for it if `unreadable`
    is None, InputError if there are no images or none can be read.
    """
    if not images:
        raise InputError("there are no images to validate with; give a folder with images")
    chosen = [images[index * len(images) // count] for index in range(count)] if len(images) > count else list(images)
    names, tensors = [], []
    for image in chosen:
        try:
            tensors.append(preprocess(image, spec))
            names.append(describe(image))
        except ImageError as error:
            if unreadable is None:
                raise
            unreadable(error)
    if not tensors:
        raise InputError(f"none of the {len(chosen)} images to validate with can be read; give others")
    return Inputs(tuple(names), np.stack(tensors))
