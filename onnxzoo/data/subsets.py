"""Parts of a dataset, and checks that two datasets have the same classes."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import DatasetError
from .dataset import ArrayDataset, Dataset, FileDataset, Subset, listing

MAX_DIGITS = 9
"""Maximum length of a class id; Python refuses to parse numbers of thousands of digits."""


def subset_of_classes(dataset: Dataset, wanted: Sequence[str]) -> Dataset:
    """Only the images of these classes, numbered from 0 in the order given.

    A class is given by its name in the data, ignoring case if that is unambiguous, or by its id in the data, which may
    differ from a model's, as class folders are numbered in the order of their names.

    Raises DatasetError for an unknown class, one given twice, or one without images.
    """
    ids = [_class_id(dataset.classes, item) for item in wanted]
    if not ids or len(set(ids)) != len(ids):
        raise DatasetError(f"expected at least one class and each class only once, got {', '.join(wanted) or 'none'}")
    new_ids = np.full(len(dataset.classes), -1, dtype=np.int64)
    new_ids[ids] = np.arange(len(ids))
    indices = np.flatnonzero(new_ids[dataset.labels] >= 0)
    labels = new_ids[dataset.labels[indices]]
    for number, class_id in enumerate(ids):
        if not np.any(labels == number):
            raise DatasetError(f"the class {dataset.classes[class_id]!r} has no images")
    return Subset(dataset, indices, tuple(dataset.classes[i] for i in ids), labels)


def split_off(dataset: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset]:
    """Split off `count` random images, determined by the seed: returns the dataset without them, and them.

    Raises DatasetError unless 0 < count < the number of images.
    """
    if not 0 < count < len(dataset):
        raise DatasetError(
            f"cannot hold out {count} of {len(dataset)} images; give a number from 1 to {len(dataset) - 1}"
        )
    order = np.random.Generator(np.random.Philox(key=[seed, 0x5011D])).permutation(len(dataset))
    kept, held = np.sort(order[count:]), np.sort(order[:count])
    return take(dataset, kept), take(dataset, held)


def take(dataset: Dataset, indices: npt.NDArray[np.int64]) -> Dataset:
    """The images at `indices`, with the same classes."""
    return Subset(dataset, indices, dataset.classes, dataset.labels[indices])


def named(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The dataset with these class names if it has none of its own and no more classes; else unchanged."""
    count = len(dataset.classes)
    nameless = dataset.classes == tuple(f"class {number}" for number in range(count))
    if not nameless or count > len(names) or not isinstance(dataset, ArrayDataset | FileDataset):
        return dataset
    return dataclasses.replace(dataset, classes=tuple(names))


def require_same_classes(train: Dataset, val: Dataset) -> None:
    """Raise DatasetError, naming the classes, unless both have the same ones in the same order."""
    if train.classes == val.classes:
        return
    only_train = [name for name in train.classes if name not in val.classes]
    only_val = [name for name in val.classes if name not in train.classes]
    if not only_train and not only_val:
        raise DatasetError(
            "training and validation data have the same classes in a different order; use the same order"
        )
    raise DatasetError(
        f"training and validation data differ in their classes: only in training {listing(only_train)}, "
        f"only in validation {listing(only_val)}; give both the same class folders"
    )


def _class_id(classes: tuple[str, ...], item: str) -> int:
    """The class with this name or number, or with this name ignoring case if only one matches."""
    if item in classes:
        return classes.index(item)
    if item.isascii() and item.isdigit() and len(item) < MAX_DIGITS and int(item) < len(classes):
        return int(item)
    same = [number for number, name in enumerate(classes) if name.casefold() == item.casefold()]
    if len(same) == 1:
        return same[0]
    close = difflib.get_close_matches(item.casefold(), [name.casefold() for name in classes], n=1)
    meant = [name for name in classes if name.casefold() in close][:1]
    hint = f"; did you mean {meant[0]!r}?" if meant else ""
    raise DatasetError(
        f"there is no class {item!r}; the data has {len(classes)}: {listing(list(classes))}, with the ids 0 to "
        f"{len(classes) - 1}{hint}"
    )
