"""Runs a batch in pieces, several at a time with one thread each, which is fastest in ONNX Runtime on few cores.

The threads of one run wait for each other within every operator, but separate runs do not. Measured on 2 cores shared
with other work, in ms per image for batches of 8, with one run on two threads and with two runs at a time: PVT_V2_B0
12.8 and 8.0, SwinV2-T w8 92 and 74, PVT_V2_B2_Linear 55 and 47, with 80 to 180 MiB less memory; pvt_v2_nano_fashion,
with 4 images per run, 0.13 and 0.10. For idle cores single runs predict 8.7 and 7.7 for PVT_V2_B0, 69 and 66 for
SwinV2-T w8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .protocol import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]


class ConcurrentRuns:
    """Runs batches in pieces. Safe to use from many threads; its own threads end when it is garbage-collected."""

    def __init__(self, threads: int, size: int | None = None) -> None:
        """`threads`: runs at a time. `size`: images per run; by default every thread gets one run."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnxzoo-run")
        self._threads, self._size = threads, size

    def run(self, run: Run, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The results of `run` for the pieces of the feeds, joined along the first axis.

        Raises the error of `run` for the first piece that fails.
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
