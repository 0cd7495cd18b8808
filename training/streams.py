"""Random numbers that depend only on the seed and their purpose.

No generator is carried from one step to the next, so a resumed training, or one with several processes, draws exactly
the same numbers as a single uninterrupted process.
"""

from __future__ import annotations

import numpy as np

ORDER, IMAGES, IMAGE, MIXING, DEPTH = range(1, 6)
"""Purposes of streams: the order of an epoch, all images at once, one image, mixing of a batch, stochastic depth."""


def stream(purpose: int, seed: int, epoch: int, index: int = 0) -> np.random.Generator:
    """The generator for one purpose; `index` is the image's or the step's number within the epoch."""
    key = np.array([(purpose << 56) ^ seed, (epoch << 40) ^ index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
