"""Opening labelled images: every layout that is promised, and a readable line for everything that is wrong."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_training import idx_bytes, write_idx

from onnxzoo.data.layouts import Dataset, open_dataset
from onnxzoo.data.subsets import named, require_same_classes, split_off, subset_of_classes
from onnxzoo.errors import DatasetError
from onnxzoo.image import load_rgb

PIXELS = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
IDS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


def save(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, value, value)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for value, name in enumerate(("cat", "dog", "owl")):
            save(tmp_path / split / name / "a.png", value)
            save(tmp_path / split / name / "deeper" / "b.PNG", value)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    write_idx(tmp_path, "train", PIXELS, IDS)
    write_idx(tmp_path, "val", PIXELS[:2], IDS[:2])
    return tmp_path


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    lines = []
    for number, label in enumerate((0, 2, 1)):
        save(tmp_path / "images" / f"with space {number}.png", number)
        lines.append(f"images/with space {number}.png {label}")
    (tmp_path / "train_list.txt").write_text("\n".join(lines) + "\n\n")
    (tmp_path / "val_list.txt").write_text(lines[1].replace(" 2", "\t2") + "\n")
    return tmp_path


def first_pixel(dataset: Dataset, index: int) -> int:
    return int(np.asarray(load_rgb(dataset.image(index)))[0, 0, 0])


# Class folders


def test_class_folders(folders: Path) -> None:
    dataset = open_dataset(folders, "train")
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(dataset) == 6
    assert first_pixel(dataset, 4) == 2
    assert dataset.name(0) == str(folders / "train" / "cat" / "a.png")


@pytest.mark.parametrize("name", ["valid", "validation", "test"])
def test_other_names_of_the_validation_folder(folders: Path, name: str) -> None:
    (folders / "val").rename(folders / name)
    assert len(open_dataset(folders, "val")) == 6


def test_class_folders_without_split_folders_are_the_split_that_is_asked_for(folders: Path) -> None:
    assert len(open_dataset(folders / "val", "val")) == 6
    assert len(open_dataset(folders / "val", "train")) == 6


def test_an_empty_class_folder_is_named(folders: Path) -> None:
    (folders / "train" / "emu").mkdir()
    with pytest.raises(DatasetError, match=r"the class folder .*emu has no images"):
        open_dataset(folders, "train")


def test_a_missing_split_is_named(folders: Path, tmp_path: Path) -> None:
    (folders / "val").rename(folders / "elsewhere")
    with pytest.raises(DatasetError, match="has no split 'val'"):
        open_dataset(folders, "val")
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset(tmp_path / "nothing", "val")
    (tmp_path / "void").mkdir()
    with pytest.raises(DatasetError, match="has no class folders"):
        open_dataset(tmp_path / "void", "val")


def test_classes_that_differ_are_named(folders: Path) -> None:
    (folders / "val" / "owl").rename(folders / "val" / "yak")
    train, val = open_dataset(folders, "train"), open_dataset(folders, "val")
    with pytest.raises(DatasetError, match="only in training owl, only in validation yak"):
        require_same_classes(train, val)
    require_same_classes(train, train)


# Lists


def test_lists(lists: Path) -> None:
    dataset = open_dataset(lists, "train")
    assert dataset.classes == ("class 0", "class 1", "class 2")
    assert dataset.labels.tolist() == [0, 2, 1]
    assert first_pixel(dataset, 2) == 2
    assert open_dataset(lists / "train_list.txt", "val").labels.tolist() == [0, 2, 1]
    assert open_dataset(lists, "val").labels.tolist() == [2]


def test_names_beside_a_list(lists: Path) -> None:
    (lists / "labels.txt").write_text("0 ant\n1 bee\n2 cow\n")
    assert open_dataset(lists, "val").classes == ("ant", "bee", "cow")
    (lists / "labels.txt").write_text("ant\nbee\n")
    with pytest.raises(DatasetError, match=r"label 2 of image 1 is out of range; expected 0 to 1"):
        open_dataset(lists, "train")


def test_missing_entries_of_a_list_are_named(lists: Path) -> None:
    (lists / "images" / "with space 1.png").unlink()
    with pytest.raises(DatasetError, match=r"names 1 files that do not exist: images/with space 1.png \(line 2\)"):
        open_dataset(lists, "train")


@pytest.mark.parametrize("line", ["images/x.png", "images/x.png -1", "images/x.png 1.5", "7", "x ²"])
def test_a_line_that_is_none_is_named(lists: Path, line: str) -> None:
    (lists / "train_list.txt").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"train_list.txt, line 1: expected 'path label'"):
        open_dataset(lists, "train")


def test_an_empty_list(lists: Path) -> None:
    (lists / "train_list.txt").write_text("\n")
    with pytest.raises(DatasetError, match="names no images"):
        open_dataset(lists, "train")
    (lists / "train_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read"):
        open_dataset(lists, "train")


# IDX files


def test_idx(idx: Path) -> None:
    dataset = open_dataset(idx, "train")
    assert dataset.labels.tolist() == IDS.tolist()
    image = dataset.image(3)
    assert isinstance(image, np.ndarray)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.stack([PIXELS[3]] * 3, axis=2))
    assert dataset.name(3).startswith("image 3 of ")
    assert len(open_dataset(idx, "val")) == 2


def test_idx_compressed(idx: Path) -> None:
    for file in idx.iterdir():
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert open_dataset(idx, "train").labels.tolist() == IDS.tolist()
    file = idx / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte.gz cannot be read"):
        open_dataset(idx, "train")


def test_class_names_of_idx_files(idx: Path) -> None:
    assert open_dataset(idx, "train").classes == ("class 0", "class 1", "class 2")
    assert open_dataset(idx, "train", label_set="fashion_mnist").classes[8] == "Bag"
    train = open_dataset(idx, "train")
    assert named(train, ("a", "b", "c")).classes == ("a", "b", "c")
    assert named(train, ("a", "b")).classes == train.classes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected it to start with 00 00 08 03, got nothing"),
        (b"\x00\x00\x0d\x03" + bytes(20), "is not an IDX file of unsigned bytes with 3 dimensions"),
        (idx_bytes(IDS), "with 3 dimensions"),
        (idx_bytes(PIXELS)[:10], "its header has 10 of 16 bytes"),
        (idx_bytes(PIXELS)[:-1], "holds 119 bytes, but its header says 6 x 4 x 5"),
        (idx_bytes(PIXELS) + b"x", "holds 121 bytes"),
        (idx_bytes(PIXELS[:5]), "has 5 images, but .* has 6 labels"),
    ],
)
def test_damaged_idx_files(idx: Path, content: bytes, message: str) -> None:
    (idx / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        open_dataset(idx, "train")


def test_a_compressed_file_is_not_unpacked_beyond_its_header(idx: Path) -> None:
    """64 MB of zeros in 64 kB, behind a header of 120 bytes of pixels."""
    file = idx / "train-images-idx3-ubyte"
    file.unlink()
    bomb = gzip.compress(idx_bytes(PIXELS) + bytes(2**26))
    file.with_name(file.name + ".gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="holds 121 bytes or more, but its header says 6 x 4 x 5"):
            open_dataset(idx, "train")
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_a_header_of_more_than_is_read_is_refused(idx: Path) -> None:
    (idx / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3)
    with pytest.raises(DatasetError, match=r"says 4294967295 x .* more than the 4294967296 bytes that are read"):
        open_dataset(idx, "train")


def test_idx_without_labels(idx: Path) -> None:
    (idx / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DatasetError, match="both are needed"):
        open_dataset(idx, "train")


def test_idx_without_images(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", PIXELS[:0], IDS[:0])
    with pytest.raises(DatasetError, match="has no images"):
        open_dataset(tmp_path, "train")


# Parts of a dataset


def test_a_subset_of_classes_is_numbered_anew(folders: Path) -> None:
    dataset = open_dataset(folders, "train", classes=["owl", "0"])
    assert dataset.classes == ("owl", "cat")
    assert dataset.labels.tolist() == [1, 1, 0, 0]
    assert [first_pixel(dataset, i) for i in range(4)] == [0, 0, 2, 2]
    assert "owl" in dataset.name(3)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["emu"], "there is no class 'emu'; the data has 3: cat, dog, owl"),
        (["3"], "there is no class '3'"),
        (["cat", "0"], "expected at least one class and each class only once"),
        ([], "each class only once, got none"),
    ],
)
def test_a_subset_that_is_none(folders: Path, wanted: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        open_dataset(folders, "train", classes=wanted)


def test_a_class_without_images(idx: Path) -> None:
    with pytest.raises(DatasetError, match="'class 2' has no images"):
        subset_of_classes(named(open_dataset(idx, "val"), ("class 0", "class 1", "class 2")), ["2"])


def test_images_held_out_are_drawn_by_the_seed(idx: Path) -> None:
    dataset = open_dataset(idx, "train")
    kept, held = split_off(dataset, 2, seed=3)
    assert (len(kept), len(held)) == (4, 2)
    shown = sorted(int(np.asarray(part.image(i))[0, 0, 0]) for part in (kept, held) for i in range(len(part)))
    assert shown == PIXELS[:, 0, 0].tolist()
    assert [held.name(i) for i in range(2)] == [split_off(dataset, 2, seed=3)[1].name(i) for i in range(2)]
    assert any(
        split_off(dataset, 2, seed=3)[1].name(0) != split_off(dataset, 2, seed=s)[1].name(0) for s in range(4, 9)
    )
    for count in (0, 6):
        with pytest.raises(DatasetError, match=f"cannot hold out {count} of 6 images; give a number from 1 to 5"):
            split_off(dataset, count, seed=0)


def test_an_unknown_split_is_refused(idx: Path) -> None:
    with pytest.raises(DatasetError, match="must be 'train' or 'val', got 'test'"):
        open_dataset(idx, "test")  # type: ignore[arg-type]


def test_opening_data_needs_no_paddle() -> None:
    code = "import sys, onnxzoo.data.layouts, onnxzoo.training.recipe; print('paddle' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
