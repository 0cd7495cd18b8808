"""`onnxzoo predict` on lists and archives: the same answers as for the files themselves."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import is_one_error_line, run

from onnxzoo.cli import main


@pytest.fixture
def here(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(photos.parent)
    return photos.parent


def test_a_folder_a_list_and_archives_give_the_same_answers(tiny, here):
    names = sorted(f"photos/{path.name}" for path in Path("photos").iterdir())
    Path("list.csv").write_text("id,file\n" + "".join(f"{i},{name}\n" for i, name in enumerate(names)))
    shutil.make_archive("x", "zip", ".", "photos")
    with tarfile.open("x.tar.gz", "w:gz") as archive:
        for name in names:
            archive.add(name)
    result = run("predict", tiny, "photos", "list.csv", "x.zip", "x.tar.gz", "--column", "file", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = json.loads(result.stdout)["results"]
    assert [row["image"] for row in rows[:8]] == names * 2
    answers = {row["image"].rpartition("::")[2]: row["top"] for row in rows[:4]}
    assert sorted(row["image"] for row in rows[8:]) == sorted(
        f"{x}::{name}" for x in ("x.zip", "x.tar.gz") for name in names
    )
    assert all(row["top"] == answers[row["image"].rpartition("::")[2]] for row in rows)


def test_a_list_on_standard_input(tiny, here):
    listed = CliRunner().invoke(
        main, ["predict", str(tiny), "--list", "-", "--json"], input="photos/red.png\nnone.png\n"
    )
    assert listed.exit_code == 1
    good, bad = json.loads(listed.stdout)["results"]
    assert (good["image"], good["top"][0]["label"], bad["image"]) == ("photos/red.png", "red", "none.png")
    assert "none.png does not exist" in bad["error"]


def test_a_source_without_images_or_a_wrong_list_is_wrong_usage(here):
    """No model is looked for."""
    Path("empty.txt").touch()
    Path("t.csv").write_text("a,b\n1,2\n")
    for arguments, message in (
        (["empty.txt"], "the list 'empty.txt' names no images"),
        (["t.csv"], "has no column named 'path'"),
        (["t.csv", "--column", "c"], "has no column 'c'"),
        (["--list", "missing"], "the list 'missing' cannot be read"),
        ([], "no images were given"),
    ):
        result = run("predict", "no/such/model", *arguments)
        assert result.exit_code == 2, arguments
        assert message in result.stderr
        assert is_one_error_line(result.stderr)


def test_an_archive_that_is_cut_short_is_an_error_beside_its_images(tiny, here):
    with tarfile.open("x.tar", "w") as archive:
        archive.add("photos/red.png")
        cut = archive.offset
        archive.add("photos/blue.png")
    Path("x.tar").write_bytes(Path("x.tar").read_bytes()[: cut + 100])
    result = run("predict", tiny, "x.tar")
    assert result.exit_code == 1
    assert "x.tar::photos/red.png" in result.stdout
    assert "x.tar cannot be read beyond its first 1 files" in result.stderr


def test_a_table_has_an_image_that_is_named_again_under_another_path(tiny, here):
    result = run("predict", tiny, "photos/red.png", "photos", "--out", "answers.csv", "--top-k", "1")
    assert result.exit_code == 0
    assert "onnxzoo: 1 image occurs again; the path of each has a number: photos/red.png#2\n" in result.stderr
    with Path("answers.csv").open(encoding="utf-8", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == [f"photos/{name}.png" for name in ("red", "black", "blue", "green")] + ["photos/red.png#2"]
