"""The data sets that accuracies are measured on, as data: one record each. Costs no import.

How folders, lists and IDX files of images are read is for `onnxzoo.data`; the class names are in `labels/NAME.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """Labelled images that everybody means by the same name.

    `name`: in `eval --record` and in the registry, and of its file of class names. `title`: as people write it.
    `images`, `split`: how many and which of its images accuracies are about. `hub_id`: its repo on the Hugging Face
    Hub. `published_by`: (name, address) of the project whose published accuracies the registry states; None: this one,
    when it trained the models.
    """

    name: str
    title: str
    images: int
    split: str
    hub_id: str
    published_by: tuple[str, str] | None = None

    @property
    def description(self) -> str:
        """What accuracies are measured on, in words: `ImageNet-1k, 50,000 validation images`."""
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
    """The data set whose description these words are; None for images that only their user knows."""
    return next((one for one in DATASETS.values() if one.description == words), None)
