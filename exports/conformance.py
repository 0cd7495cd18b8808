"""Conformance vectors: a few inputs with the outputs that the Paddle reference gives for them.

They travel in the artifact, so that anyone can check any engine against Paddle without having Paddle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artifact.folder import INPUT_NAME
from ..data.photos import photo
from ..files import atomic_write
from ..image import preprocess
from ..reference.paddle.engine import PaddleEngine
from ..registry import Preprocess

PHOTOS = ("chelsea.jpg", "coffee.jpg", "astronaut.jpg")
NOISE_SEED = 20240917


def conformance_inputs(spec: Preprocess) -> dict[str, npt.NDArray[np.float32]]:
    """Named inputs, float32 [3, S, S] each: photos, seeded noise, an all-black and a saturated image.

    All but the noise (standard normal) have been through the model's own preprocessing.
    """
    inputs = {}
    for name in PHOTOS:
        inputs[name] = preprocess(photo(name), spec)
    size = spec.crop_size
    noise = np.random.RandomState(NOISE_SEED).standard_normal((3, size, size))
    inputs["noise"] = noise.astype(np.float32)
    inputs["black"] = preprocess(np.zeros((size, size, 3), np.uint8), spec)
    inputs["saturated"] = preprocess(np.full((size, size, 3), 255, np.uint8), spec)
    return inputs


def record_conformance(reference: PaddleEngine, spec: Preprocess, path: Path) -> None:
    """Run the inputs through the reference, one by one, and write them with its outputs.

    The arrays of the file: `names` [K], `pixel_values` float32 [K, 3, S, S], `logits` float32 [K, classes],
    `embedding` float32 [K, features].
    """
    inputs = conformance_inputs(spec)
    images = np.stack(list(inputs.values()))
    arrays: dict[str, Any] = dict(reference.run_each(images))
    arrays["names"] = np.array(list(inputs))
    arrays[INPUT_NAME] = images
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)
