"""The batches of an epoch: ordered, mixed and with targets, prepared in advance by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.dataset import Labels
from ..results import Array
from .images import ImageSource, Indices
from .mixing import draw_mix, mixed_images, smoothed
from .recipe import Recipe
from .streams import ORDER, stream

AHEAD = 3
"""Number of batches prepared in advance."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's part of a batch.

    `step` within the epoch; `images` float32 [n, 3, S, S]; `targets` float32 [n, classes], zeros for an image that
    could not be read; `labels` int64 [n], -1 for such an image; `readable`: the number of the others.
    """

    step: int
    images: Array
    targets: Array
    labels: Labels
    readable: int


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Divides a training set into batches; `part`: this process's part of each.

    An incomplete last batch of an epoch is dropped; a set smaller than a batch is one batch.
    """

    source: ImageSource
    labels: Labels
    classes: int
    side: int
    recipe: Recipe
    part: slice

    @property
    def batch_size(self) -> int:
        """Images per step over all processes."""
        return min(self.recipe.batch_size, len(self.labels))

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return len(self.labels) // self.batch_size

    def prepare(self, epoch: int, step: int, order: Indices) -> Batch:
        """Read, augment and mix one batch."""
        recipe = self.recipe
        chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
        own = np.arange(len(chosen))[self.part]
        mix = draw_mix(recipe, epoch, step, len(chosen), self.side)
        partners = own if mix is None else mix.partners[self.part]
        # Most partners are images of this part as well, so each image is read only once.
        wanted, places = np.unique(np.concatenate([own, partners]), return_inverse=True)
        images, readable = self.source.load(chosen[wanted], epoch)
        targets = smoothed(self.labels[chosen[wanted]], self.classes, recipe.label_smoothing)
        own_places, partner_places = places[: len(own)], places[len(own) :]
        if mix is not None:
            images = mixed_images(images[own_places], images[partner_places], mix)
            targets = targets[own_places] * np.float32(mix.share) + targets[partner_places] * np.float32(1 - mix.share)
            readable = readable[own_places] & readable[partner_places]
        images[~readable] = 0
        targets[~readable] = 0
        labels = np.where(readable, self.labels[chosen[own]], -1)
        return Batch(step, images, targets, labels, int(readable.sum()))

    def epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """The batches of an epoch from `first_step` on; errors in the preparing thread are raised here."""
        order: npt.NDArray[np.int64] = stream(ORDER, self.recipe.seed, epoch).permutation(len(self.labels))
        ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        stopped = threading.Event()

        def work() -> None:
            for step in range(first_step, self.steps):
                try:
                    item: Batch | BaseException = self.prepare(epoch, step, order)
                except BaseException as error:  # noqa: BLE001 - raised again in the training thread
                    item = error
                while not stopped.is_set():
                    try:
                        ready.put(item, timeout=0.2)
                        break
                    except queue.Full:
                        continue
                if stopped.is_set() or isinstance(item, BaseException):
                    return

        thread = threading.Thread(target=work, name="onnxzoo-batches", daemon=True)
        thread.start()
        try:
            for _ in range(first_step, self.steps):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            thread.join()
