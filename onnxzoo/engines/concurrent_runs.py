"""A batch in pieces, several at a time, each on one thread: how ONNX Runtime runs many images fastest on few cores.

Its threads wait for one another within every operator; images need not. Measured on 2 cores that were shared with other
work, ms per image of batches of 8, one run on two threads against two runs at a time: PVT_V2_B0 12.8 and 8.0, SwinV2-T
w8 92 and 74, PVT_V2_B2_Linear 55 and 47, with 80 to 180 MiB less memory; pvt_v2_nano_fashion, with 4 images in a run,
0.13 and 0.10. On idle cores, 8.7 and 7.7 for PVT_V2_B0, 69 and 66 for SwinV2-T w8, are what single runs promise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .protocol import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]


class ConcurrentRuns:
    """Runs batches in pieces. Safe to use from many threads; its own threads end when nothing holds it any more."""

    def __init__(self, threads: int, size: int | None = None) -> None:
        """`threads`: runs at a time. `size`: images of each; by default as many as give every thread one run."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnxzoo-run")
        self._threads, self._size = threads, size

    def run(self, run: Run, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """What `run` gives for each piece of the feeds, put together along the first axis.

        Raises what `run` raises for the first piece that fails.
        """
        count = len(next(iter(feeds.values())))
        size = self._size or -(-count // self._threads)
        if count <= size:
            return run(feeds)
        pieces = [
            {name: array[start : start + size] for name, array in feeds.items()} for start in range(0, count, size)
        ]
        parts = list(self._pool.map(run, pieces))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
