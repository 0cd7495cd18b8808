"""The accuracy lost from one file of a model to another, measured on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.dataset import Dataset
from ..errors import InputError
from ..model import BATCH_SIZE, Model
from .accuracy import Z_95, Progress, match_classes

Right = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PairedDrop:
    """Top-1 before and after a change, on the same `images`.

    `lost`: number of images that were right before and are wrong after; `won`: the opposite. `right`: after the change.
    """

    images: int
    right: int
    lost: int
    won: int

    @property
    def after(self) -> float:
        """Top-1 after the change, in [0, 1]."""
        return self.right / self.images

    @property
    def before(self) -> float:
        """Top-1 before the change, in [0, 1]."""
        return (self.right + self.lost - self.won) / self.images

    @property
    def drop(self) -> float:
        """Before minus after, as a fraction; negative where the change helped."""
        return (self.lost - self.won) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of `drop`, as (low, high).

        Only images whose answer changed matter. A. Agresti and Y. Min, Simple improved confidence intervals
        for comparing matched proportions, Statistics in Medicine 24 (2005) 729-740: Wald's interval with half an image
        more in each of the four cells.
        """
        images, lost, won = self.images + 2, self.lost + 0.5, self.won + 0.5
        difference = (lost - won) / images
        deviation = math.sqrt(lost + won - (lost - won) ** 2 / images) / images
        return difference - Z_95 * deviation, difference + Z_95 * deviation


def right_answers(
    model: Model, dataset: Dataset, *, batch_size: int = BATCH_SIZE, progress: Progress | None = None
) -> Right:
    """For every image of the dataset whether the model's best class is the true one, bool [N].

    Raises InputError for an image that cannot be read, as the same ones must be compared; else as `evaluate` does.
    """
    class_ids = match_classes(dataset.classes, model.labels)
    right = np.zeros(len(dataset), dtype=np.bool_)
    images = (dataset.image(index) for index in range(len(dataset)))
    for index, result in enumerate(model.stream(images, top_k=1, batch_size=batch_size)):
        if result.prediction is None:
            raise InputError(
                f"{dataset.name(index)} cannot be read: {result.error}; take it out of the labelled images"
            )
        right[index] = result.prediction.top[0].class_id == class_ids[dataset.labels[index]]
        if progress is not None:
            progress(index + 1, len(dataset))
    return right


def paired_drop(before: Right, after: Right) -> PairedDrop:
    """The drop from two results of `right_answers` on the same images."""
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    return PairedDrop(len(after), int(after.sum()), lost, won)
