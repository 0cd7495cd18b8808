"""The images of a quantisation: some for calibration, others for measuring the result."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..artifact.folder import Artifact
from ..data.photos import PHOTOS, photo
from ..errors import ImageError, InputError
from ..image import ImageInput, preprocess
from ..registry import Preprocess, models
from ..results import Array

SAMPLES = 64
"""Number of calibration images. On the shipped models MinMax on 64 was as good as percentile or entropy on 512."""
FEWEST = 8
HELD_OUT_SHARE = 2
"""Number of calibration images per held-out image."""
CROP_SEED = 16
SMALLEST_CROP = 0.5
"""Smallest side of a crop, as a fraction of the photo's short side."""


@dataclass(frozen=True, slots=True)
class Images:
    """Preprocessed images, float32 [N, 3, S, S]: `calibration` for the ranges, and different `held_out` for measuring.

    `origin`: a description of their source.
    """

    calibration: Array
    held_out: Array
    origin: str


def own_images(
    sources: Sequence[ImageInput],
    spec: Preprocess,
    samples: int = SAMPLES,
    unreadable: Callable[[ImageError], None] | None = None,
) -> Images:
    """The user's images, spread evenly over `sources` (class folders are sorted): `samples` to calibrate with, and half
    as many held out; if there are fewer images, two thirds and one third of them.

    `unreadable` is called for an image that cannot be read, which is skipped; if it is None, the error is raised.

    Raises InputError if fewer than FEWEST different images remain for either, ImageError.
    """
    if samples < FEWEST:
        raise InputError(f"samples must be at least {FEWEST}, got {samples}")
    wanted = samples + samples // HELD_OUT_SHARE
    places = np.linspace(0, len(sources) - 1, min(wanted, len(sources))).round().astype(int).tolist()
    found: list[Array] = []
    for place in places:
        try:
            found.append(preprocess(sources[place], spec))
        except ImageError as error:
            if unreadable is None:
                raise
            unreadable(error)
    different = len({each.tobytes() for each in found})
    least = FEWEST + FEWEST // HELD_OUT_SHARE
    if different < least:
        same = f", {different} of them different" if different < len(found) else ""
        raise InputError(
            f"calibration needs at least {least} different images, got {len(found)}{same}; give a folder with about "
            f"{SAMPLES + SAMPLES // HELD_OUT_SHARE} images of the kind that the model will see (--images DIR)"
        )
    period = HELD_OUT_SHARE + 1
    held = np.arange(len(found)) % period == period - 1
    images = np.stack(found)
    return Images(images[~held], images[held], f"{len(found)} of {len(sources)} images that were given")


def shipped_images(artifact: Artifact, samples: int = SAMPLES) -> Images:
    """Crops of the few shipped photos, half of them flipped, for models with ImageNet's classes.

    The held-out images are other crops of the same photos, so results measured on them are optimistic.

    Raises InputError for a model with other classes, whose inputs look different.
    """
    entry = models().get(artifact.name)
    if entry is None or entry.labels != "imagenet1k":
        raise InputError(
            f"{artifact.name} is not a model of ImageNet, and the photos that ship are not what it sees; give about "
            f"{SAMPLES + SAMPLES // HELD_OUT_SHARE} images of that kind (--images DIR)"
        )
    if samples < FEWEST:
        raise InputError(f"samples must be at least {FEWEST}, got {samples}")
    count = samples + samples // HELD_OUT_SHARE
    crops = np.stack([preprocess(crop, artifact.preprocess) for crop in _crops(count)])
    origin = f"{count} crops of the {len(PHOTOS)} photos that ship; --images DIR with images of your own is better"
    return Images(crops[:samples], crops[samples:], origin)


def _crops(count: int) -> list[ImageInput]:
    import PIL.Image

    random = np.random.RandomState(CROP_SEED)
    photos = [PIL.Image.open(io.BytesIO(photo(name))).convert("RGB") for name in PHOTOS]
    crops: list[ImageInput] = []
    for index in range(count):
        whole = photos[index % len(photos)]
        side = int(min(whole.size) * random.uniform(SMALLEST_CROP, 1))
        left, top = (random.randint(0, length - side + 1) for length in whole.size)
        crop = whole.crop((left, top, left + side, top + side))
        mirrored = index // len(photos) % 2
        crops.append(crop.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop)
    return crops
