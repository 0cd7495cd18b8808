"""Batches on engines that compile a model for one batch size at a time: which sizes, and how any N is made of them.

Measured on 2 cores with OpenVINO: an image costs the same at every batch size from 1 to 32 (PVT_V2_B0 3.8 to 5.0 ms,
SwinV2-S w16 65 to 80; only models of a fraction of a millisecond gain) and gives the same numbers to the bit, while
compiling a further size takes 0.2 to 0.6 s and holds the weights once more. So a few sizes serve all: cutting costs
nothing, padding computes what nobody asked for, and a new size for the rest of a folder never pays back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

STEP = 4


def batch_sizes(largest: int, *, few: bool = False) -> tuple[int, ...]:
    """The sizes to compile for batches up to `largest` and beyond, descending: `largest`, 1, and up to two between.

    `few`: none between, for models whose weights are better not held four times.
    """
    sizes = [largest]
    while not few and sizes[-1] >= 2 * STEP and len(sizes) < 3:
        sizes.append(sizes[-1] // STEP)
    if sizes[-1] != 1:
        sizes.append(1)
    return tuple(sizes)


class Cutter:
    """Cuts batches into the sizes at hand. Safe to use from many threads.

    The largest size and 1 are always used. A size between them is used from the second time on that it would fit: the
    rest of one folder is not worth compiling for, a server's daily mixture is.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        """`sizes`: descending, the last one divides every batch that comes."""
        self.sizes = sizes
        self._between = frozenset(sizes[1:-1])
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def cut(self, count: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of the pieces of a batch of `count` images, in order."""
        start = 0
        for size in self.sizes:
            if count - start < size or not self._used(size):
                continue
            while count - start >= size:
                yield start, start + size
                start += size

    def _used(self, size: int) -> bool:
        if size not in self._between:
            return True
        with self._lock:
            again = size in self._seen
            self._seen.add(size)
            return again
