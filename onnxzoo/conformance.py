"""Conformance vectors: a few inputs with a reference's outputs for them.

They are part of the artifact, so that any engine can be compared with the reference without running it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .artifact.folder import INPUT_NAME
from .data.photos import photo
from .files import atomic_write
from .image import preprocess
from .registry import Preprocess
from .results import Array

PHOTOS = ("chelsea.jpg", "coffee.jpg", "astronaut.jpg")
NOISE, BLACK, SATURATED = "noise", "black", "saturated"
NAMES = (*PHOTOS, NOISE, BLACK, SATURATED)
NOISE_SEED = 20240917


class Reference(Protocol):
    """A model whose outputs are recorded."""

    def run_each(self, images: Array) -> dict[str, Array]:
        """The outputs of images [K, 3, S, S], each run individually."""
        ...


def conformance_inputs(spec: Preprocess, names: Iterable[str] = NAMES) -> dict[str, Array]:
    """The inputs of these names in NAMES, float32 [3, S, S] each: photos, seeded noise, a black and a saturated image.

    All except the noise (standard normal) are results of the model's own preprocessing.
    """
    size = spec.crop_size
    made: dict[str, Callable[[], Array]] = {
        NOISE: lambda: np.random.RandomState(NOISE_SEED).standard_normal((3, size, size)).astype(np.float32),
        BLACK: lambda: preprocess(np.zeros((size, size, 3), np.uint8), spec),
        SATURATED: lambda: preprocess(np.full((size, size, 3), 255, np.uint8), spec),
    }
    return {name: made[name]() if name in made else preprocess(photo(name), spec) for name in names}


def record_conformance(
    reference: Reference, spec: Preprocess, path: Path, names: Iterable[str] = NAMES
) -> dict[str, Array]:
    """Run the inputs of these names through the reference, one by one, and write them with its outputs; returns these.

    The arrays of the file: `names` [K], the input float32 [K, 3, S, S] under its name, `logits` float32 [K, classes],
    `embedding` float32 [K, features].
    """
    inputs = conformance_inputs(spec, names)
    images = np.stack(list(inputs.values()))
    outputs = reference.run_each(images)
    arrays: dict[str, Any] = {**outputs, "names": np.array(list(inputs)), INPUT_NAME: images}
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)
    return {**outputs, INPUT_NAME: images}
