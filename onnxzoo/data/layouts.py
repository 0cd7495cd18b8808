"""Labelled images on disk: class folders, list files and IDX files, behind one small interface.

Does not need Paddle, as evaluation on any engine reads its images through this module too.

Layouts that `open_dataset` recognises under a path, in this order:

1. the path of a list file itself, for the requested split;
2. `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, `t10k-...` for validation, each plain or `.gz`
   (MNIST, Fashion-MNIST: Debian's package `dataset-fashion-mnist` has them in /usr/share/datasets/fashion-mnist);
3. `train_list.txt` and `val_list.txt`, lines `path label` (PaddleClas), paths relative to the list's folder;
4. `train/CLASS/*` and `val/CLASS/*` (ImageNet), under any of the names in SPLIT_FOLDERS, in upper or lower case;
5. `CLASS/*` without such split folders: that folder is the requested split.

Other folders that each contain the same class folders look like splits and are refused: used as classes, they would
train a model to distinguish training images from test images.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import DatasetError, RegistryError
from ..files import readable
from ..registry import labels as registry_labels
from .dataset import ArrayDataset, Dataset, FileDataset, Labels, listing
from .encoding import read_text
from .idx import IDX_STEMS, find_idx, read_idx
from .labels import read_labels
from .subsets import subset_of_classes
from .walk import IMAGE_SUFFIXES, Skipped, images_in, is_hidden

__all__ = ["ArrayDataset", "Dataset", "FileDataset", "Split", "is_one_split", "open_dataset"]

Split = Literal["train", "val"]

LIST_FILES = {"train": ("train_list.txt",), "val": ("val_list.txt",)}
SPLIT_FOLDERS = {
    "train": ("train", "training", "train_set", "trainset"),
    "val": ("val", "valid", "validation", "test", "testing", "val_set", "test_set", "valset", "testset", "eval"),
}
"""Names of folders by split, in lower case, the better one first."""
LABEL_FILES = ("labels.txt", "classes.txt")
MAX_CLASSES = 100_000
"""More than ImageNet-22k has; limits the number of classes that a mistyped id would create."""


def open_dataset(
    path: Path, split: Split, *, classes: Sequence[str] | None = None, label_set: str | None = None
) -> Dataset:
    """The `split` of the data at `path`, in one of the layouts of this module.

    `classes` restricts it to these classes, by name or id, and renumbers them in the order given.
    `label_set` names the registry's class names for data that has none of its own and whose labels fit into them;
    without it such classes are 'class 0', 'class 1', ... up to the highest label of this split. The data's own names,
    class folders or a file `labels.txt` next to lists or IDX files, are kept.

    Raises DatasetError naming what is missing, empty, truncated or out of range.
    """
    path = Path(path)
    if split not in SPLIT_FOLDERS:
        raise DatasetError(f"the split must be 'train' or 'val', got {split!r}")
    with readable(path, DatasetError):
        dataset = _open(path, split, label_set)
    if not len(dataset):
        raise DatasetError(f"{path} has no images for the split '{split}'")
    return dataset if classes is None else subset_of_classes(dataset, classes)


def is_one_split(path: Path) -> bool:
    """Whether `open_dataset` finds the same images at `path` for both splits: a list file, or bare class folders."""
    with readable(path, DatasetError):
        return path.is_file() or (path.is_dir() and _split_folder(path, "train") == path)


def _open(path: Path, split: Split, label_set: str | None) -> Dataset:
    if path.is_file():
        return _open_list(path, label_set)
    if path.exists() and not path.is_dir():
        raise DatasetError(f"{path} is neither a folder nor a regular file; expected a folder of images or a list file")
    if not path.is_dir():
        raise DatasetError(f"{path} does not exist; expected a folder of images or a list file")
    if find_idx(path, IDX_STEMS[split][0]):
        return _open_idx(path, split, label_set)
    for name in LIST_FILES[split]:
        if (path / name).is_file():
            return _open_list(path / name, label_set)
    folder = _split_folder(path, split)
    if folder is None:
        raise DatasetError(
            f"{path} has no split '{split}': expected {' or '.join(LIST_FILES[split])}, "
            f"{IDX_STEMS[split][0]}[.gz] or a folder {' or '.join(SPLIT_FOLDERS[split])}"
        )
    return _open_folders(folder)


def _split_folder(path: Path, split: Split) -> Path | None:
    """The folder of this split; `path` itself if there are no splits, None if there is only the other one."""
    found = {name: _split_named(path, names) for name, names in SPLIT_FOLDERS.items()}
    if found[split] is not None:
        return found[split]
    # A folder with only the other split, or only the other split's files, is not a folder of classes.
    others = [name for names in LIST_FILES.values() for name in names]
    others += [f"{stem}{suffix}" for stems in IDX_STEMS.values() for stem in stems for suffix in ("", ".gz")]
    return None if any(found.values()) or any((path / name).exists() for name in others) else path


def _split_named(path: Path, names: Sequence[str]) -> Path | None:
    """The folder in `path` with the first of these names. One with images directly in it is a class of that name."""
    folders: dict[str, list[Path]] = {}
    for entry in _folders(path):
        folders.setdefault(entry.name.casefold(), []).append(entry)
    for name in names:
        same = [folder for folder in folders.get(name, []) if not _has_images(folder)]
        if len(same) > 1:
            raise DatasetError(f"{path} has {same[0].name} and {same[1].name}; keep one of them")
        if same:
            return same[0]
    return None


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def _has_images(folder: Path) -> bool:
    """Whether there are images directly in a folder."""
    return any(
        entry.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(entry.name) and entry.is_file()
        for entry in folder.iterdir()
    )


def _refuse_splits(folders: Sequence[Path]) -> None:
    """Raise DatasetError if folders that would be classes contain the same folders, as they look like splits."""
    inner = {folder: {entry.name for entry in _folders(folder)} for folder in folders if not _has_images(folder)}
    for one, other in itertools.combinations(inner, 2):
        shared = sorted(inner[one] & inner[other])
        if len(shared) > 1 and 2 * len(shared) >= min(len(inner[one]), len(inner[other])):
            raise DatasetError(
                f"{one} and {other.name} both have the folders {listing(shared)}: these look like splits, not "
                "classes; call them train and val, or give one of them"
            )


def _open_folders(folder: Path) -> FileDataset:
    folders = _folders(folder)
    if not folders:
        raise DatasetError(f"{folder} has no class folders; expected one folder of images per class")
    _refuse_splits(folders)
    skipped = Skipped()
    paths: list[Path] = []
    labels: list[int] = []
    for class_id, entry in enumerate(folders):
        found = [Path(path) for path in images_in(entry, skipped)]
        if not found:
            raise DatasetError(f"the class folder {entry} has no images; add some or remove the folder")
        paths += found
        labels += [class_id] * len(found)
    names = tuple(entry.name for entry in folders)
    return FileDataset(names, np.array(labels, dtype=np.int64), tuple(paths), str(skipped) if skipped else "")


def _open_list(file: Path, label_set: str | None) -> FileDataset:
    try:
        lines = read_text(file).splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"the list {file} cannot be read: {error}; expected text, lines 'path label'") from None
    paths: list[Path] = []
    labels: list[int] = []
    missing: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition("\t" if "\t" in line.strip() else " ")
        if not name or not label.isascii() or not label.isdigit():
            raise DatasetError(
                f"{file}, line {number}: expected 'path label' with a class id from 0, got {line[:80]!r}"
            )
        if len(label) > len(str(MAX_CLASSES)) or int(label) >= MAX_CLASSES:
            raise DatasetError(
                f"{file}, line {number}: got the class id {label[:20]}, expected at most {MAX_CLASSES - 1}; correct it"
            )
        path = file.parent / name.strip()
        if not path.is_file():
            missing.append(f"{name.strip()} (line {number})")
        paths.append(path)
        labels.append(int(label))
    if missing:
        raise DatasetError(f"{file} names {len(missing)} files that do not exist: {listing(missing)}")
    if not paths:
        raise DatasetError(f"the list {file} names no images; expected lines 'path label'")
    classes = _class_names(file.parent, max(labels) + 1, label_set)
    array = np.array(labels, dtype=np.int64)
    _require_in_range(array, len(classes), str(file))
    return FileDataset(classes, array, tuple(paths))


def _open_idx(folder: Path, split: Split, label_set: str | None) -> ArrayDataset:
    images_stem, labels_stem = IDX_STEMS[split]
    images_file, labels_file = find_idx(folder, images_stem), find_idx(folder, labels_stem)
    if images_file is None or labels_file is None:
        raise DatasetError(f"{folder} has {images_stem} but no {labels_stem}[.gz]; both are needed")
    pixels, labels = read_idx(images_file, dimensions=3), read_idx(labels_file, dimensions=1).astype(np.int64)
    if len(pixels) != len(labels):
        raise DatasetError(f"{images_file} has {len(pixels)} images, but {labels_file} has {len(labels)} labels")
    if not len(labels):
        raise DatasetError(f"{images_file} has no images")
    classes = _class_names(folder, int(labels.max()) + 1, label_set)
    _require_in_range(labels, len(classes), str(labels_file))
    return ArrayDataset(classes, labels, pixels, str(images_file))


def _class_names(folder: Path, needed: int, label_set: str | None) -> tuple[str, ...]:
    """Names from a file next to the data, else the label set's, else 'class 0', 'class 1', ..."""
    for name in LABEL_FILES:
        file = folder / name
        if file.is_file():
            return _read_names(file)
    if label_set is not None and needed <= len(registry_labels(label_set)):
        return registry_labels(label_set)
    return tuple(f"class {number}" for number in range(needed))


def _read_names(file: Path) -> tuple[str, ...]:
    try:
        return read_labels(file)
    except RegistryError as error:
        raise DatasetError(str(error)) from None


def _require_in_range(labels: Labels, classes: int, where: str) -> None:
    if labels.min() < 0 or labels.max() >= classes:
        bad = int(np.flatnonzero((labels < 0) | (labels >= classes))[0])
        raise DatasetError(
            f"{where}: label {int(labels[bad])} of image {bad} is out of range; expected 0 to {classes - 1}"
        )
