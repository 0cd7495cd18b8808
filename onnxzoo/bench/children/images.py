"""Timing from image files: the peers' own preprocessing before their model, batch after batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np


def turns(paths: Sequence[str], size: int) -> Iterator[list[str]]:
    """Batches of `size` paths without an end, from the first again after the last."""
    endless = itertools.cycle(paths)
    while True:
        yield list(itertools.islice(endless, size))


def from_images(run: Callable[[np.ndarray[Any, Any]], Any], job: dict[str, Any]) -> Callable[[], Any]:
    """An inference from the image files of a job (`images`, `batch_size`, `preprocess`) to the outputs of `run`."""
    from .pillow_preprocess import preprocess

    batches = turns(job["images"], job["batch_size"])
    return lambda: run(np.concatenate([preprocess(path, job["preprocess"]) for path in next(batches)]))
