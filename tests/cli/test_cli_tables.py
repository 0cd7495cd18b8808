"""`onnxzoo predict --out` and `onnxzoo embed`: tables on the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import is_one_error_line, run
from table_reading import read_description, read_rows
from tiny import LABELS

import onnxzoo
from onnxzoo.batch import table_runs

SUFFIXES = [".csv", ".jsonl", ".parquet"]


@pytest.fixture
def more_photos(photos: Path) -> Path:
    (photos / "bad.png").write_bytes(b"no image")
    (photos / "notes.txt").write_text("not an image")
    return photos


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_predict_writes_a_table(tiny, more_photos, tmp_path, suffix):
    out = tmp_path / f"answers{suffix}"
    result = run("predict", tiny, more_photos, "--out", out, "--top-k", "2")
    assert result.exit_code == 1  # one image cannot be read
    assert result.stdout == ""
    skipped, speed, classes, errors, table = result.stderr.splitlines()
    assert skipped == "onnxzoo: skipped 1 file: 1 not an image (.txt)"
    assert speed.startswith("onnxzoo: 5 images in ")
    assert speed.endswith("1 could not be read")
    assert classes == "onnxzoo: 4 classes: black 1, blue 1, green 1, red 1"
    assert errors.startswith("onnxzoo: errors: ")
    assert table == f"onnxzoo: {out}: 5 rows, 1 with an error"
    rows = read_rows(out)
    assert [Path(row["path"]).stem for row in rows] == ["bad", "black", "blue", "green", "red"]
    for row in rows[1:]:
        assert row["label_1"] == Path(row["path"]).stem
    assert str(more_photos / "bad.png") in rows[0]["error"]
    description = read_description(out)
    assert description["source"]["arguments"] == [str(more_photos)]
    assert description["engine"]["name"] in ("openvino", "onnxruntime")


def test_a_table_of_readable_images_is_done(tiny, photos, tmp_path):
    result = run("predict", tiny, photos / "red.png", "--out", tmp_path / "a.csv")
    assert result.exit_code == 0
    assert result.stderr.endswith(f"onnxzoo: {tmp_path / 'a.csv'}: 1 row\n")
    assert run("predict", tiny, photos, "--out", tmp_path / "b.csv", "--quiet").stderr == ""


def test_a_sheet_beside_the_table(tiny, photos, tmp_path):
    assert run("predict", tiny, photos, "--out", tmp_path / "a.csv", "--sheet", tmp_path / "a.html").exit_code == 0
    page = (tmp_path / "a.html").read_text()
    assert all(f"{label}.png" in page for label in LABELS)


def test_the_same_image_twice_is_two_rows(tiny, photos, tmp_path):
    run("predict", tiny, photos / "red.png", photos / "red.png", "--out", tmp_path / "a.csv")
    red = str(photos / "red.png")
    assert [row["path"] for row in read_rows(tmp_path / "a.csv")] == [red, f"{red}#2"]


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_embed_writes_a_table(tiny, more_photos, tmp_path, suffix):
    out = tmp_path / f"vectors{suffix}"
    assert run("embed", tiny, more_photos, "--out", out, "--engine", "onnxruntime").exit_code == 1
    rows = read_rows(out)
    with onnxzoo.load(tiny, engine="onnxruntime") as model:
        for row in rows[1:]:
            np.testing.assert_allclose(row["embedding"], model.embed(row["path"]), atol=1e-6)
    assert rows[0]["embedding"] is None
    assert "bad.png" in rows[0]["error"]


def test_embed_prints_json(tiny, more_photos):
    result = run("embed", tiny, more_photos, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["model"] == "tiny"
    bad, black, *_ = document["results"]
    assert bad.keys() == {"image", "error"}
    assert black.keys() == {"image", "embedding"}
    np.testing.assert_allclose(black["embedding"], [0, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "{tiny}", "{photos}", "--out", "a.txt"], "ends with .csv, .jsonl, .parquet"),
        (["predict", "{tiny}", "{photos}", "--out", "a.csv", "--json"], "give one of them"),
        (["predict", "{tiny}", "{photos}", "--restart"], "--restart is for --out"),
        (["embed", "{tiny}", "{photos}", "--out", "a.csv"], "ends with .parquet, .npy"),
        (["embed", "{tiny}", "{photos}"], "give either --out FILE (.parquet, .npy) or --json"),
        (["embed", "{tiny}", "{photos}", "--out", "a.npy", "--json"], "give either --out"),
        (["embed", "{tiny}", "{photos}", "--json", "--restart"], "--restart is for --out"),
        (["predict", "{tiny}", "{photos}", "--out", "{photos}"], "is a directory"),
        (["predict", "{tiny}", "{empty}", "--out", "a.csv"], "contains no images"),
        (["embed", "{tiny}", "{empty}", "--json"], "contains no images"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_loaded(tiny, photos, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    before = sorted(tmp_path.iterdir())
    result = run(*(one.format(tiny=tiny, photos=photos, empty=empty) for one in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert is_one_error_line(result.stderr)
    assert sorted(tmp_path.iterdir()) == before


def test_a_finished_table_is_not_overwritten(tiny, photos, tmp_path):
    out = tmp_path / "answers.csv"
    assert run("predict", tiny, photos, "--out", out).exit_code == 0
    again = run("predict", tiny, photos, "--out", out)
    assert again.exit_code == 0
    assert f"{out} is complete already; --restart" in again.stderr
    other = run("predict", tiny, photos, "--out", out, "--top-k", "1")
    assert other.exit_code == 2
    assert "top_k 4, now 1" in other.stderr
    (photos / "white.png").write_bytes((photos / "red.png").read_bytes())
    grown = run("predict", tiny, photos, "--out", out)
    assert grown.exit_code == 2
    assert "source.images 4, now 5" in grown.stderr
    assert run("predict", tiny, photos, "--out", out, "--restart").exit_code == 0
    assert len(read_rows(out)) == 5


def test_names_that_are_not_unicode(tiny, photos, tmp_path):
    odd = os.fsdecode(b"caf\xe9.png")
    shutil.copy(photos / "red.png", photos / odd)
    result = run("predict", tiny, photos / odd, "--out", tmp_path / "answers.csv", "--top-k", "1")
    assert result.exit_code == 0
    (row,) = read_rows(tmp_path / "answers.csv")
    assert row["path"] == str(photos / r"caf\xe9.png")
    assert row["label_1"] == "red"


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(tiny, photos, tmp_path, monkeypatch):
    out = tmp_path / "answers.csv"
    monkeypatch.setattr(table_runs, "PART_S", 0.0)
    rows = table_runs.Schema.row
    seen: list[str] = []

    def interrupted(schema, path, result):
        seen.append(path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return rows(schema, path, result)

    with monkeypatch.context() as patched:
        patched.setattr(table_runs.Schema, "row", interrupted)
        result = run("predict", tiny, photos, "--out", out)
    assert result.exit_code == 130
    assert f"2 images are finished and kept in {out}.parts; repeat the command to go on" in result.stderr
    result = run("predict", tiny, photos, "--out", out)
    assert result.exit_code == 0
    assert f"{out}: 2 images were finished by an earlier run" in result.stderr
    assert len(read_rows(out)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_and_the_same_command_goes_on(tiny, photos, tmp_path, number):
    """A run that takes its time after the eleventh image gets the signal then."""
    out = tmp_path / "answers.jsonl"
    for i in range(40):
        (photos / f"{i}.png").write_bytes((photos / "red.png").read_bytes())
    program = (
        "import sys, time\nfrom onnxzoo.batch import table_runs\nfrom onnxzoo.cli import main\n"
        "table_runs.PART_ROWS = 5\nadd = table_runs._Run.add\n"
        "def slow(run, entry, result):\n"
        "    add(run, entry, result)\n"
        "    print('done', run.done, file=sys.stderr, flush=True)\n"
        "    if run.done > 10: time.sleep(60)\n"
        "table_runs._Run.add = slow\nmain(sys.argv[1:])\n"
    )
    command = [sys.executable, "-P", "-c", program, "predict", str(tiny), str(photos), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line == "done 11\n":
                break
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == 128 + number
    assert f"11 images are finished and kept in {out}.parts; repeat the command to go on" in said
    assert "Traceback" not in said
    assert run("predict", tiny, photos, "--out", out).exit_code == 0
    assert len({row["path"] for row in read_rows(out)}) == len(read_rows(out)) == 44
