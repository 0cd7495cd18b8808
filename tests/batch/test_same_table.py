"""The same images from a folder, an archive or elsewhere: the same table, but for the names of the images."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from table_kills import FASHION
from table_reading import read_rows

import onnxzoo
from onnxzoo.batch import embed_to_table, open_source, predict_to_table

COUNT = 30


@pytest.fixture(scope="module")
def model():
    with onnxzoo.load("pvt_v2_nano_fashion", engine="onnxruntime") as model:
        yield model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Some images in two folders, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("same") / "images"
    for number, path in enumerate(sorted(FASHION.glob("*/*.png"))[:: 500 // COUNT][:COUNT]):
        target = folder / f"{number % 2}" / f"{number:02}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (folder / "1" / "bad.png").write_bytes(b"\x89PNG, cut short")
    return folder


def as_tar(folder: Path) -> tuple[str, str]:
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.add(file, file.relative_to(folder))
    return str(path), f"{path}::"


def as_zip(folder: Path) -> tuple[str, str]:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    return str(path), f"{path}::"


def as_list(folder: Path) -> tuple[str, str]:
    path = folder.with_suffix(".txt")
    path.write_text("".join(f"{file}\n" for file in sorted(folder.rglob("*.png"))))
    return str(path), f"{folder}/"


def in_memory(folder: Path) -> tuple[str, str]:
    import fsspec

    stored = fsspec.filesystem("memory")
    for file in folder.rglob("*.png"):
        stored.pipe(f"/same/{file.relative_to(folder)}", file.read_bytes())
    return "memory://same", "memory://same/"


def rows_of(table: Path, prefix: str) -> list[dict[str, object]]:
    """The rows without the prefix of their paths, and without the name of the image in the error."""
    rows = read_rows(table)
    assert all(str(row["path"]).startswith(prefix) for row in rows)
    for row in rows:
        row["path"] = str(row["path"]).removeprefix(prefix)
        if row["error"] is not None:
            assert row["path"] in row["error"]
            row["error"] = "an error"
    return rows


@pytest.mark.parametrize("kept_in", [as_tar, as_zip, as_list, in_memory])
@pytest.mark.parametrize(("write", "suffix"), [(predict_to_table, ".csv"), (embed_to_table, ".parquet")])
def test_the_table_is_that_of_the_folder(model, folder, tmp_path, kept_in: Callable, write: Callable, suffix: str):
    expected = write(model, open_source([str(folder)]), tmp_path / f"folder{suffix}")
    assert (expected.rows, expected.errors) == (COUNT + 1, 1)
    source, prefix = kept_in(folder)
    write(model, open_source([source]), tmp_path / f"other{suffix}")
    assert str(rows_of(tmp_path / f"other{suffix}", prefix)) == str(rows_of(expected.path, f"{folder}/"))
