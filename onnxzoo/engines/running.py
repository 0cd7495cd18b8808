"""Runs many images through an engine in batches of one size."""

from __future__ import annotations

import numpy as np

from ..artifact.folder import INPUT_NAME
from .protocol import Array, Engine


def run_batches(engine: Engine, images: Array, batch_size: int) -> dict[str, Array]:
    """The outputs for images [K, 3, S, S], run in batches of exactly this size: the first images fill up the last.

    Raises EngineError, InputError as `engine.run` does.
    """
    count = len(images)
    rows = np.resize(np.arange(count), -(-count // batch_size) * batch_size)
    parts = [engine.run({INPUT_NAME: images[rows[i : i + batch_size]]}) for i in range(0, len(rows), batch_size)]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
