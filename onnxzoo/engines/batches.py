"""Batches on engines that compile a model for one batch size at a time: the sizes, and splitting batches into them.

Measured on 2 cores with OpenVINO, an image takes the same time at every batch size from 1 to 32 (PVT_V2_B0 3.8 to 5.0
ms, SwinV2-S w16 65 to 80; only models of a fraction of a millisecond gain), and the outputs are bitwise the same.
Compiling for another size takes as long as 8 (SwinV2-S w16) to 500 images and needs the weights in memory again. So a
few sizes are sufficient, and splitting batches into them costs nothing. A size that occurs for the first time, such as
the rest at the end of a folder, is split into smaller pieces or filled up; only when it occurs again is it compiled.
A run that has one thread is faster image by image; such models are compiled for one image only (SMALL_BYTES).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass

# A run with one CPU thread is fastest with one image, whose activations stay in the cache of its core. Measured with
# two requests to OpenVINO at a time, ms per image for batches of 8 run as 4 + 4 and as eight: PVT_V2_B0 8.4 and 7.5,
# PVT_V2_B2_Linear 48.8 and 46.1, SwinV2-T w8 73.9 and 67.4, SwinV2-S w16 160 and 148, SwinV2-T w8 in
# int8 29.8 and 26.7. It takes less memory, too.
# Models with smaller files take so little time that batches are faster: pvt_v2_nano_fashion, 1.8 MiB, 0.10 and 0.19;
# PVT_V2_B0 in int8, 3.9 MiB, 4.5 and 4.7.
SMALL_BYTES = 6 * 2**20

STEP = 4
# Filling up with at most this many unused images is cheaper than compiling.
MOST_FILLED = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """Images `start` to `stop` of a batch, to be run at batch size `size`, filled up if that is larger."""

    start: int
    stop: int
    size: int


def batch_sizes(largest: int, *, few: bool = False) -> tuple[int, ...]:
    """The sizes to compile for batches up to `largest` and beyond, descending: `largest`, 1, and up to two in between.

    `few`: none in between, for models whose weights should not be in memory four times.
    """
    sizes = [largest]
    while not few and sizes[-1] >= 2 * STEP and len(sizes) < 3:
        sizes.append(sizes[-1] // STEP)
    if sizes[-1] != 1:
        sizes.append(1)
    return tuple(sizes)


class BatchSplitter:
    """Splits batches into the available sizes. Safe to use from many threads."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        """`sizes`: descending; the last one divides every batch."""
        self._sizes = sizes
        self._wanted: set[int] = set()  # sizes that an earlier batch or its rest needed
        self._lock = threading.Lock()

    def split(self, count: int, ready: Collection[int]) -> Iterator[Piece]:
        """The pieces of a batch of `count` images, in order. `ready`: sizes that are already compiled."""
        start = 0
        left = count  # the images left for this size if all larger sizes were compiled
        for size in self._sizes:
            wanted = left >= size
            left %= size
            if count - start < size or not (size in ready or (wanted and self._again(size))):
                continue
            while count - start >= size:
                yield Piece(start, start + size, size)
                start += size
        rest = count - start
        if not rest:
            return
        filled = min((size for size in ready if rest <= size <= rest + MOST_FILLED), default=None)
        if filled:
            yield Piece(start, count, filled)
            return
        last = self._sizes[-1]
        for index in range(start, count, last):
            yield Piece(index, index + last, last)

    def _again(self, size: int) -> bool:
        with self._lock:
            again = size in self._wanted
            self._wanted.add(size)
            return again
