"""The data sets that accuracies are measured on, as data: one record each. Importing this module loads nothing else.

`onnxzoo.data` reads folders, lists and IDX files of images; the class names are in `labels/NAME.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A well-known set of labelled images.

    `name`: in `eval --record`, in the registry, and of its file of class names. `title`: its usual spelling.
    `images`, `split`: how many and which of its images accuracies are measured on. `hub_id`: its repo on the Hugging
    Face Hub. `published_by`: (name, URL) of the project that published the accuracies in the registry; None if this
    project trained the models and measured them.
    """

    name: str
    title: str
    images: int
    split: str
    hub_id: str
    published_by: tuple[str, str] | None = None

    @property
    def description(self) -> str:
        """Human-readable description of the images: `ImageNet-1k, 50,000 validation images`."""
        return f"{self.title}, {self.images:,} {self.split} images"


_RECORDS = (
    KnownDataset(
        "imagenet1k",
        title="ImageNet-1k",
        images=50_000,
        split="validation",
        hub_id="ILSVRC/imagenet-1k",
        published_by=("PaddleClas", "https://github.com/PaddlePaddle/PaddleClas"),
    ),
    KnownDataset(
        "fashion_mnist",
        title="Fashion-MNIST",
        images=10_000,
        split="test",
        hub_id="zalando-datasets/fashion_mnist",
    ),
)

DATASETS: Mapping[str, KnownDataset] = {one.name: one for one in _RECORDS}
"""By name, which is also the name of the label set."""


def dataset_described(words: str) -> KnownDataset | None:
    """The data set with this description; None for a user's own images."""
    return next((one for one in DATASETS.values() if one.description == words), None)
