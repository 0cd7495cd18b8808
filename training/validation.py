"""Accuracy of the weights during training, with the preprocessing of evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ..data.dataset import Dataset
from ..errors import ImageError, TrainingError
from ..families import ModelSpec
from ..image import preprocess
from ..reference.paddle.build import build_model
from ..registry import Preprocess
from ..results import Array
from .augment import normalised
from .images import MAX_KEPT_BYTES, Damaged, Indices, evaluation_crops
from .parallel import Processes

VALIDATION_BATCH = 128
TOP = 5


@dataclass(frozen=True, slots=True)
class Score:
    """Mean cross entropy (in nats), and Top-1 and Top-5 accuracy as fractions.

    An image with a non-finite score counts as wrong in both, and makes the mean cross entropy non-finite.
    """

    loss: float
    top1: float
    top5: float
    images: int


class Validator:
    """Scores weights on a dataset; each process takes every n-th image."""

    def __init__(
        self, dataset: Dataset, spec: ModelSpec, crop: Preprocess, damaged: Damaged, processes: Processes, threads: int
    ) -> None:
        self._dataset, self._crop, self._damaged, self._processes = dataset, crop, damaged, processes
        self._model: Any = build_model(spec)
        self._kept = None
        if len(dataset) * 3 * spec.image_size**2 <= MAX_KEPT_BYTES:
            self._kept = evaluation_crops(dataset, crop, damaged, threads)

    def score(self, weights: Mapping[str, Array]) -> Score:
        """Score these weights. Raises TrainingError if no image could be read."""
        for name, parameter in self._model.named_parameters():
            parameter.set_value(weights[name])
        mine = np.arange(self._processes.rank, len(self._dataset), self._processes.count)
        sums = np.zeros(4)
        with paddle.no_grad():
            for start in range(0, len(mine), VALIDATION_BATCH):
                sums += self._batch(mine[start : start + VALIDATION_BATCH])
        loss, top1, top5, images = self._processes.summed(sums)
        if not images:
            raise TrainingError("no image of the validation data could be read; see the messages above")
        return Score(float(loss / images), float(top1 / images), float(top5 / images), int(images))

    def _batch(self, indices: Indices) -> Array:
        images, readable = self._images(indices)
        labels = self._dataset.labels[indices][readable]
        if not len(labels):
            return np.zeros(4, dtype=np.float32)
        logits = self._model(paddle.to_tensor(images[readable]))
        loss = F.cross_entropy(logits, paddle.to_tensor(labels), reduction="sum")
        scores = logits.numpy()
        # The rank of the correct class: the number of other classes with at least its score, so ties count against it.
        own = scores[np.arange(len(labels)), labels]
        rank = (scores >= own[:, None]).sum(axis=1) - 1
        # Comparisons with NaN are false, which would rank any class first.
        finite = np.isfinite(scores).all(axis=1)
        return np.array([float(loss), (finite & (rank < 1)).sum(), (finite & (rank < TOP)).sum(), len(labels)])

    def _images(self, indices: Indices) -> tuple[Array, np.ndarray[Any, np.dtype[np.bool_]]]:
        if self._kept is not None:
            pixels, readable = self._kept
            return normalised(pixels[indices], self._crop), readable[indices]
        images = np.zeros((len(indices), 3, self._crop.crop_size, self._crop.crop_size), dtype=np.float32)
        readable = np.ones(len(indices), dtype=np.bool_)
        for position, index in enumerate(indices):
            try:
                images[position] = preprocess(self._dataset.image(int(index)), self._crop)
            except ImageError as error:
                readable[position] = False
                self._damaged.add(self._dataset.name(int(index)), error)
        return images, readable
