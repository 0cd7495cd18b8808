"""Random weights that behave like trained ones, for tests and for recording without a checkpoint; numpy only.

Freshly initialised models hide faults: their biases and position biases are zero and their norms do
nothing. Here every parameter matters, activations stay of order one through 40 blocks, and logits differ
between images. Streams come from `numpy.random.RandomState`, which numpy guarantees never to change.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from ..results import Array

# One head in sixteen has a logit_scale that the model must clip at ln 100.
CLIPPED_HEADS = 1 / 16
# exp(logit_scale) of the others: initially 10, in trained models mostly between these.
MODERATE_SCALES = (4.0, 16.0)


def seeded_state(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Array]:
    """Float32 weights for parameters of these names and shapes, in Paddle's naming and layout (Linear [in, out]).

    Every tensor has its own random stream, determined by `seed` (0..2^32-1) and its name, independent of the order
    and of other parameters.
    """
    return {name: _tensor(name, tuple(shape), seed) for name, shape in shapes.items()}


def seeded_images(image_size: int, count: int, seed: int) -> Array:
    """Inputs float32 [count, 3, image_size, image_size]: noise and plain colour gradients in turn.

    Values are of order one, as after ImageNet normalisation.
    """
    stream = np.random.RandomState([seed, zlib.crc32(b"images")])
    images = np.empty((count, 3, image_size, image_size), dtype=np.float32)
    ramp = np.linspace(-1.0, 1.0, image_size)
    for index in range(count):
        noise = stream.standard_normal((3, image_size, image_size))
        colour, across, down = stream.standard_normal((3, 3, 1, 1))
        plain = colour + 0.3 * across * ramp[None, None, :] + 0.3 * down * ramp[None, :, None]
        images[index] = noise if index % 2 == 0 else plain
    return images


def _tensor(name: str, shape: tuple[int, ...], seed: int) -> Array:
    stream = np.random.RandomState([seed, zlib.crc32(name.encode())])
    if name.endswith("logit_scale"):
        scale = np.log(stream.uniform(*MODERATE_SCALES, size=shape))
        clipped = stream.random_sample(shape) < CLIPPED_HEADS
        values = np.where(clipped, np.log(100.0) + stream.uniform(0.1, 0.5, size=shape), scale)
    elif len(shape) == 1 and name.endswith("weight"):
        values = stream.uniform(0.6, 1.4, size=shape)
    elif len(shape) == 1:
        values = 0.2 * stream.standard_normal(shape)
    else:
        # Linear weights are [in, out], convolutions [out, in / groups, k, k]. A larger head would only enlarge
        # the float32 noise of its matrix product, which is most of the noise of the logits.
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        values = stream.standard_normal(shape) / np.sqrt(fan_in)
    return np.asarray(values, dtype=np.float32)
