"""What folders, patterns and data sets are taken to hold."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from onnxzoo.data.layouts import is_one_split, open_dataset
from onnxzoo.data.walk import IMAGE_SUFFIXES, Skipped, find_images, images_in
from onnxzoo.errors import DatasetError


def save(path: Path, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path, kind)


def names(folder: Path) -> tuple[list[str], Skipped]:
    skipped = Skipped()
    return [os.path.relpath(path, folder) for path in images_in(folder, skipped)], skipped


def test_regular_files_with_image_suffixes_count(tmp_path: Path) -> None:
    save(tmp_path / "b.png")
    save(tmp_path / "a" / "c.JFIF", "JPEG")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked.png").symlink_to(tmp_path / "b.png")
    assert names(tmp_path)[0] == ["b.png", "broken.png", "linked.png", str(Path("a", "c.JFIF"))]


def test_what_is_skipped_is_counted_by_reason(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for name in (".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png", ".hidden.png"):
        save(tmp_path / name)
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "more.TXT").write_text("x")
    (tmp_path / "README").write_text("x")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    found, skipped = names(tmp_path)
    assert found == ["a.png"]
    assert dict(skipped.counts) == {"hidden": 4, "not an image": 3, "not a regular file": 1, "links to folders": 1}
    assert str(skipped).startswith("skipped 9 files: 4 hidden (")
    assert "3 not an image (.txt, no suffix)" in str(skipped)
    assert f"1 not a regular file ({tmp_path / 'pipe.png'})" in str(skipped)
    assert not Skipped()


def test_sockets_and_pipes_are_skipped_in_patterns_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png")
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        skipped = Skipped()
        assert list(find_images(["*.png"], skipped)) == ["a.png"]
    assert dict(skipped.counts) == {"not a regular file": 2}


def test_every_suffix_is_one_that_pillow_or_its_plug_in_opens() -> None:
    PIL.Image.init()
    heif = {".heic", ".heif", ".hif"}
    assert IMAGE_SUFFIXES - heif <= PIL.Image.registered_extensions().keys()
    opened = {suffix for suffix in IMAGE_SUFFIXES - heif if PIL.Image.registered_extensions()[suffix] in PIL.Image.OPEN}
    assert opened == IMAGE_SUFFIXES - heif


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("Training", "Testing"),
        ("Train", "Val"),
        ("TRAIN", "VALID"),
        ("training", "validation"),
        ("train_set", "test_set"),
    ],
)
def test_splits_of_other_names(tmp_path: Path, train: str, val: str) -> None:
    for split, count in ((train, 3), (val, 2)):
        for number in range(count):
            save(tmp_path / split / "Bag" / f"{number}.png")
            save(tmp_path / split / "Sneaker" / f"{number}.png")
    assert not is_one_split(tmp_path)
    for split, count in (("train", 6), ("val", 4)):
        dataset = open_dataset(tmp_path, split)
        assert (dataset.classes, len(dataset)) == (("Bag", "Sneaker"), count)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for split in ("train", "Train"):
        save(tmp_path / split / "Bag" / "0.png")
    with pytest.raises(DatasetError, match="has Train and train; keep one of them"):
        open_dataset(tmp_path, "train")


def test_folders_that_look_like_splits_are_never_classes(tmp_path: Path) -> None:
    for split in ("fold1", "fold2"):
        for name in ("Bag", "Sneaker"):
            save(tmp_path / split / name / "0.png")
    with pytest.raises(
        DatasetError, match=r"fold1 and fold2 both have the folders Bag, Sneaker: these look like splits"
    ):
        open_dataset(tmp_path, "train")


def test_classes_with_folders_of_their_own_are_classes(tmp_path: Path) -> None:
    for name in ("cats/young", "cats/old", "dogs/small", "dogs/large"):
        save(tmp_path / name / "0.png")
    assert open_dataset(tmp_path, "train").classes == ("cats", "dogs")


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        save(tmp_path / name / "0.png")
    assert open_dataset(tmp_path, "val").classes == ("bus", "car", "train")


def test_a_data_set_says_what_it_left_out(tmp_path: Path) -> None:
    for name in ("Bag", "Sneaker"):
        save(tmp_path / "val" / name / "0.png")
    save(tmp_path / "val" / "Bag" / ".ipynb_checkpoints" / "0-checkpoint.png")
    save(tmp_path / "val" / ".ipynb_checkpoints" / "0-checkpoint.png")
    (tmp_path / "val" / "Bag" / "notes.txt").write_text("x")
    dataset = open_dataset(tmp_path, "val")
    assert (dataset.classes, len(dataset)) == (("Bag", "Sneaker"), 2)
    assert dataset.skipped.startswith("skipped 2 files: ")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gbk"])
def test_lists_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    save(tmp_path / "运动鞋.png")
    (tmp_path / "val_list.txt").write_bytes("运动鞋.png 0\n".encode(encoding))
    assert open_dataset(tmp_path, "val").name(0) == str(tmp_path / "运动鞋.png")


@pytest.mark.parametrize("label", ["100000", "50000000", "9" * 26, "9" * 5000])
def test_a_mistyped_class_id_of_a_list_is_named_and_makes_no_classes(tmp_path: Path, label: str) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "val_list.txt").write_text(f"a.png 1\na.png {label}\n")
    with pytest.raises(DatasetError, match=r"val_list.txt, line 2: got the class id \d+, expected at most 99999"):
        open_dataset(tmp_path, "val")


def test_what_is_neither_a_folder_nor_a_file_is_called_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="pipe is neither a folder nor a regular file"):
        open_dataset(tmp_path / "pipe", "val")


def test_one_link_to_a_folder_is_said_as_one(tmp_path):
    (tmp_path / "there").mkdir()
    folder = tmp_path / "here"
    folder.mkdir()
    for count, words in ((1, "1 link to a folder ("), (2, "2 links to folders (")):
        (folder / f"link{count}").symlink_to(tmp_path / "there")
        skipped = Skipped()
        assert list(images_in(folder, skipped)) == []
        assert words in str(skipped)
