"""Random numbers that depend on nothing but the seed and what they are for.

No generator is carried from one step to the next: a resumed training, or one shared among processes, draws exactly
what an unbroken single process would.
"""

from __future__ import annotations

import numpy as np

ORDER, IMAGES, IMAGE, MIXING, DEPTH = range(1, 6)
"""What a stream is for: the order of an epoch, all images at once, one image, mixing of a batch, stochastic depth."""


def stream(purpose: int, seed: int, epoch: int, index: int = 0) -> np.random.Generator:
    """The generator for one purpose; `index` is the image's or the step's number within the epoch."""
    key = np.array([(purpose << 56) ^ seed, (epoch << 40) ^ index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
