"""The interface of labelled images, independent of how they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..image import ImageInput

Labels = npt.NDArray[np.int64]

SHOWN = 5


class Dataset(Protocol):
    """Labelled images. `classes`: names by class id; `labels`: class id of every image, int64 [N]."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> Labels: ...

    @property
    def skipped(self) -> str:
        """Description of the files skipped among the images; empty if there are none."""
        ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> ImageInput:
        """Something `onnxzoo.image.load_rgb` takes: a path, or uint8 [H, W, 3] in RGB order."""
        ...

    def name(self, index: int) -> str:
        """How an error message refers to this image."""
        ...


@dataclass(frozen=True)
class FileDataset:
    """Images in individual files. `skipped`: description of the files skipped among them."""

    classes: tuple[str, ...]
    labels: Labels
    paths: tuple[Path, ...]
    skipped: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> ImageInput:
        return self.paths[index]

    def name(self, index: int) -> str:
        return str(self.paths[index])


@dataclass(frozen=True)
class ArrayDataset:
    """Images in one array: uint8 [N, H, W] (grey) or [N, H, W, 3] (RGB). `source` names it in messages."""

    classes: tuple[str, ...]
    labels: Labels
    pixels: npt.NDArray[np.uint8]
    source: str

    @property
    def skipped(self) -> str:
        """Nothing."""
        return ""

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> ImageInput:
        pixels = self.pixels[index]
        return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels

    def name(self, index: int) -> str:
        return f"image {index} of {self.source}"


@dataclass(frozen=True)
class Subset:
    """Some images of a dataset: those at `indices`, in that order, with class ids of their own."""

    base: Dataset
    indices: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    labels: Labels

    @property
    def skipped(self) -> str:
        """Files skipped in the whole dataset."""
        return self.base.skipped

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> ImageInput:
        return self.base.image(int(self.indices[index]))

    def name(self, index: int) -> str:
        return self.base.name(int(self.indices[index]))


def listing(names: Sequence[str]) -> str:
    """The first few names for a message, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
