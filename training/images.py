"""Sources of training images: files read on demand, or small images kept in memory."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import PIL.Image

from ..data.dataset import Dataset
from ..errors import DatasetError, ImageError
from ..image import ImageInput, load_rgb, preprocess
from ..registry import Preprocess
from ..results import Array
from .augment import Pixels, augmented, erase, normalised, random_crop, shifted
from .recipe import Recipe
from .streams import IMAGE, IMAGES, stream

OnError = Literal["skip", "stop"]
Indices = npt.NDArray[np.int64]

MAX_KEPT_BYTES = 2 * 2**30
"""Maximum size of a dataset's evaluation crops that are kept in memory."""


class Damaged:
    """Images that this process could not read: each is reported once and counted, or ends the training."""

    def __init__(self, on_error: OnError, say: Callable[[str], None]) -> None:
        self._on_error, self._say = on_error, say
        self._names: dict[str, None] = {}

    @property
    def names(self) -> Iterable[str]:
        """The distinct names of these images in the datasets."""
        return self._names

    def add(self, name: str, error: ImageError) -> None:
        """Add an image; raises DatasetError if damaged images are to stop the training."""
        if self._on_error == "stop":
            raise DatasetError(f"{error}; repair or remove it, or skip it with --on-error skip")
        if name not in self._names:
            self._names[name] = None
            self._say(f"skipped: {error}")


class ImageSource(Protocol):
    """A source of augmented images for training."""

    def load(self, indices: Indices, epoch: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Images float32 [n, 3, S, S], normalised, and which of them could be read, bool [n]."""
        ...


class KeptImages:
    """Evaluation crops in memory, uint8 [N, S, S, 3], augmented by shift, flip and erasing."""

    def __init__(self, pixels: Pixels, readable: npt.NDArray[np.bool_], recipe: Recipe, spec: Preprocess) -> None:
        self._pixels, self._readable = pixels, readable
        self._recipe, self._spec = recipe, spec
        self._draws = functools.lru_cache(maxsize=1)(self._draw)

    def load(self, indices: Indices, epoch: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        moves, flip, erased = self._draws(epoch)
        rows, columns = moves[indices].T
        values = normalised(shifted(self._pixels[indices], rows, columns, flip[indices]), self._spec)
        for position in np.flatnonzero(erased[indices]):
            erase(values[position], stream(IMAGE, self._recipe.seed, epoch, int(indices[position])))
        return values, self._readable[indices]

    def _draw(self, epoch: int) -> tuple[Indices, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Draw for all images of an epoch at once, so that an image's augmentation does not depend on its batch."""
        recipe, count, random = self._recipe, len(self._pixels), stream(IMAGES, self._recipe.seed, epoch)
        moves = random.integers(-recipe.shift, recipe.shift + 1, size=(count, 2))
        return moves, random.random(count) < recipe.flip, random.random(count) < recipe.erase


class ReadImages:
    """Images read and augmented one by one, in threads, as Pillow releases the interpreter's lock."""

    def __init__(self, dataset: Dataset, recipe: Recipe, spec: Preprocess, damaged: Damaged, threads: int) -> None:
        self._dataset, self._recipe, self._spec, self._damaged = dataset, recipe, spec, damaged
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnxzoo-augment")

    def load(self, indices: Indices, epoch: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        side = self._spec.crop_size
        values = np.zeros((len(indices), 3, side, side), dtype=np.float32)
        readable = np.ones(len(indices), dtype=np.bool_)
        jobs = [self._pool.submit(self._one, int(index), epoch) for index in indices]
        try:
            for position, (index, job) in enumerate(zip(indices, jobs, strict=True)):
                try:
                    values[position] = job.result()
                except ImageError as error:
                    readable[position] = False
                    self._damaged.add(self._dataset.name(int(index)), error)
        finally:
            for job in jobs:
                job.cancel()
        return values, readable

    def _one(self, index: int, epoch: int) -> Array:
        recipe, spec = self._recipe, self._spec
        random = stream(IMAGE, recipe.seed, epoch, index)
        image = self._dataset.image(index)
        if recipe.crop == "resized":
            return augmented(random_crop(load_rgb(image), recipe.crop_min_area, spec, random), recipe, spec, random)
        moves = random.integers(-recipe.shift, recipe.shift + 1, size=(2, 1))
        moved = shifted(evaluation_crop(image, spec)[None], moves[0], moves[1], np.zeros(1, dtype=np.bool_))[0]
        return augmented(PIL.Image.fromarray(moved), recipe, spec, random)


def training_images(dataset: Dataset, recipe: Recipe, spec: Preprocess, damaged: Damaged, threads: int) -> ImageSource:
    """Images kept in memory if the recipe uses evaluation crops and these are small enough, else read on demand."""
    if recipe.crop == "shift" and len(dataset) * 3 * spec.crop_size**2 <= MAX_KEPT_BYTES and not recipe.rand_layers:
        pixels, readable = evaluation_crops(dataset, spec, damaged, threads)
        return KeptImages(pixels, readable, recipe, spec)
    return ReadImages(dataset, recipe, spec, damaged, threads)


def evaluation_crops(
    dataset: Dataset, spec: Preprocess, damaged: Damaged, threads: int
) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """The evaluation crops before normalising, uint8 [N, S, S, 3], and which images could be read, bool [N]."""
    pixels = np.zeros((len(dataset), spec.crop_size, spec.crop_size, 3), dtype=np.uint8)
    readable = np.ones(len(dataset), dtype=np.bool_)

    def fill(index: int) -> ImageError | None:
        try:
            pixels[index] = evaluation_crop(dataset.image(index), spec)
        except ImageError as error:
            return error
        return None

    with ThreadPoolExecutor(threads, thread_name_prefix="onnxzoo-read") as pool:
        for index, error in enumerate(pool.map(fill, range(len(dataset)))):
            if error is not None:
                readable[index] = False
                damaged.add(dataset.name(index), error)
    return pixels, readable


def evaluation_crop(image: ImageInput, spec: Preprocess) -> Pixels:
    """The evaluation crop of one image before normalising: uint8 [S, S, 3]."""
    # With this mean and standard deviation the preprocessing returns the 8-bit values.
    exact = dataclasses.replace(spec, mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
    return preprocess(image, exact).round().astype(np.uint8).transpose(1, 2, 0)
