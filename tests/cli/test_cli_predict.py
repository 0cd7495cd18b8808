"""`onnxzoo predict`: images in, classes out, and which images the arguments stand for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command_line import is_one_error_line, run, run_process
from quantizing import write_colours
from tiny import LABELS

from onnxzoo.batch.sources import open_source
from onnxzoo.cli import main
from onnxzoo.data.walk import NoImages, find_images
from onnxzoo.engines import EngineOptions
from onnxzoo.engines.onnxruntime_engine import SessionEngine
from onnxzoo.engines.protocol import Engine, ModelFiles
from onnxzoo.errors import ImageError, InputError
from onnxzoo.loading import load
from onnxzoo.model import BATCH_SIZE

# predict


def test_predict_one_image(tiny, photos):
    result = run("predict", tiny, photos / "red.png", "--top-k", "2")
    assert result.exit_code == 0
    first, best, second = result.stdout.splitlines()
    assert first == str(photos / "red.png")
    assert best.split()[1:] == ["1", "red"]
    assert len(second.split()) == 3
    assert result.stderr == ""


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_predict_a_folder_as_json(tiny, photos, engine):
    result = run("predict", tiny, photos, "--json", "--engine", engine)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["model"] == "tiny"
    assert (document["engine"]["name"], document["engine"]["precision"]) == (engine, "fp32")
    assert [Path(one["image"]).stem for one in document["results"]] == ["black", "blue", "green", "red"]
    for one in document["results"]:
        assert one["top"][0]["label"] == Path(one["image"]).stem
        assert one["top"][0].keys() == {"class_id", "label", "score"}
        assert len(one["top"]) == 4


def test_a_bad_image_among_good_ones(tiny, photos):
    bad = photos / "bad.png"
    bad.write_bytes(b"no image")
    result = run("predict", tiny, photos / "red.png", bad, photos / "blue.png", photos / "missing.png")
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if line.endswith(".png")] == [
        str(photos / "red.png"),
        str(photos / "blue.png"),
    ]
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert str(bad) in lines[0]
    assert "missing.png" in lines[1]
    result = run("predict", tiny, "--json", photos / "red.png", bad)
    assert result.exit_code == 1
    good, failed = json.loads(result.stdout)["results"]
    assert good["top"][0]["label"] == "red"
    assert failed.keys() == {"image", "error"}
    assert failed["image"] == str(bad)


def test_more_images_than_one_batch(tiny, photos):
    for i in range(2 * BATCH_SIZE + 3):
        shutil.copy(photos / "green.png", photos / f"x{i:03}.png")
    (photos / "x005.png").write_bytes(b"")
    results = json.loads(run("predict", tiny, photos, "--json").stdout)["results"]
    assert len(results) == 4 + 2 * BATCH_SIZE + 3
    assert [Path(one["image"]).name for one in results] == sorted(path.name for path in photos.iterdir())
    assert [Path(one["image"]).name for one in results if "error" in one] == ["x005.png"]


@pytest.mark.parametrize("name", ["a b.png", "übung 犬.png", "new\nline.png", "[1].png", "-x.png", "100%.png"])
def test_file_names_of_any_kind(tiny, photos, name):
    strange = photos / name
    shutil.copy(photos / "red.png", strange)
    (one,) = json.loads(run("predict", tiny, "--json", strange).stdout)["results"]
    assert one["image"] == str(strange)
    assert one["top"][0]["label"] == "red"
    text = run("predict", tiny, strange).stdout
    assert len(text.splitlines()) == 1 + len(LABELS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_file_name_that_is_not_text(tiny, photos):
    strange = os.fsencode(photos) + b"/caf\xe9.png"
    shutil.copy(photos / "red.png", strange)
    command = [
        sys.executable,
        "-P",
        "-m",
        "onnxzoo",
        "predict",
        str(tiny),
        strange,
        os.fsencode(photos) + b"/no\xe9.png",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].endswith("/caf\\xe9.png"), "as tables write it"
    assert is_one_error_line(done.stderr)


def test_nothing_to_predict_is_wrong_usage(tiny, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for argument in (empty, tmp_path / "*.jpg"):
        done = run_process("predict", tiny, argument)
        assert done.returncode == 2
        assert is_one_error_line(done.stderr)
        assert "contains no images" in done.stderr


def test_a_pattern_without_images_among_good_ones(tiny, photos):
    result = run("predict", tiny, photos / "*.jpg", photos / "red.png")
    assert result.exit_code == 1
    assert "*.jpg' contains no images" in result.stderr
    assert "red" in result.stdout


def test_an_engine_that_is_not_here_is_something_missing(tiny, photos):
    result = run("predict", tiny, photos / "red.png", "--engine", "openvino:GPU.7")
    assert result.exit_code == 3
    assert "openvino finds no device GPU.7 here; it has CPU" in result.stderr
    assert is_one_error_line(result.stderr)


def test_the_engine_is_run_as_the_options_say_and_the_document_says_how(tiny, photos):
    options = ["--engine", "openvino:AUTO", "--threads", "1", "--batch-size", "3", "--precision", "fp32", "--strict"]
    result = run("predict", tiny, *[photos] * 2, "--json", *options)
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert len(document["results"]) == 8
    engine = document["engine"]
    assert (engine["name"], engine["device"], engine["precision"]) == ("openvino", "CPU", "fp32")
    assert engine["version"][0].isdigit()
    assert (engine["reason"], engine["considered"]) == ("requested", [])
    assert engine["nodes"]["CPU"] > 0


@pytest.mark.parametrize(
    ("options", "batch_size", "hint"),
    [([], None, "latency"), (["--batch-size", "4"], 4, "throughput"), (["--batch-size", "5"], 5, "latency")],
)
def test_a_folder_of_whole_batches_runs_for_throughput(tiny, photos, monkeypatch, options, batch_size, hint):
    import onnxzoo.loading

    asked: list[EngineOptions] = []
    create = onnxzoo.loading.create_engine

    def recorded(name: str, files: ModelFiles, chosen: EngineOptions, **others: Any) -> Engine:
        asked.append(chosen)
        return create(name, files, chosen, **others)

    monkeypatch.setattr(onnxzoo.loading, "create_engine", recorded)
    result = run("predict", tiny, photos, *options)
    assert (result.exit_code, result.stdout.count("black.png")) == (0, 1)
    assert [(one.batch_size, one.hint) for one in asked] == [(batch_size, hint)]


def test_wrong_results_are_refused_and_may_be_used_knowingly(photos, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    colours = write_colours(tmp_path / "colours")
    right = SessionEngine.run
    monkeypatch.setattr(
        SessionEngine, "run", lambda self, feeds: {name: -values for name, values in right(self, feeds).items()}
    )
    refused = run("predict", colours, photos / "red.png", "--engine", "onnxruntime")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert is_one_error_line(refused.stderr)
    assert "gives wrong results on CPU in fp32: at batch size 2, the largest difference" in refused.stderr
    used = run("predict", colours, photos / "red.png", "--engine", "onnxruntime", "--no-verify", "--json")
    assert used.exit_code == 0
    engine = json.loads(used.stdout)["engine"]
    assert (engine["verified"], engine["verification"]) == (False, "skipped: verify=False")


def test_wrong_values_are_wrong_usage(tiny, photos):
    for options, message in (
        (["--engine", "cudnn"], "'cudnn' is not an engine"),
        (["--precision", "fp64"], "'fp64' is not a precision"),
        (["--threads", "0"], "--threads"),
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "99999999999999999999"], "batch_size must be at most 65536, got 99999999999999999999"),
        (["--top-k", "0"], "--top-k"),
    ):
        result = run("predict", tiny, photos / "red.png", *options)
        assert result.exit_code == 2
        assert message in result.stderr
        assert is_one_error_line(result.stderr)


def test_an_altered_model_is_rejected(tiny, photos):
    (tiny / "onnx" / "model.onnx").write_bytes(b"something else")
    done = run_process("predict", tiny, photos / "red.png")
    assert done.returncode == 1
    assert done.stdout == ""
    assert is_one_error_line(done.stderr)


def test_predict_in_a_process_of_its_own(tiny, photos):
    done = run_process("predict", tiny, photos / "blue.png", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["results"][0]["top"][0]["label"] == "blue"


# Which images the arguments stand for


def test_folders_patterns_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.JPEG", "notes.txt", ".hidden.jpg", "deep/er/c.png", ".git/d.png", "[x].jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    found = [str(one).replace(os.sep, "/") for one in find_images(["."])]
    assert found == ["./[x].jpg", "./a.JPEG", "./b.jpg", "./deep/er/c.png"]
    assert list(find_images(["*"])) == ["[x].jpg", "a.JPEG", "b.jpg"]
    assert [str(one).replace(os.sep, "/") for one in find_images(["**/*.png"])] == ["deep/er/c.png"]
    assert list(find_images(["[x].jpg", "notes.txt", "missing.jpg", ".hidden.jpg"])) == [
        "[x].jpg",
        "notes.txt",
        "missing.jpg",
        ".hidden.jpg",
    ]
    assert list(find_images(["*.gif", "b.jpg"])) == [NoImages("*.gif"), "b.jpg"]


def test_an_image_on_standard_input(tiny, photos):
    good = (photos / "blue.png").read_bytes()
    result = CliRunner().invoke(main, ["predict", str(tiny), "-", str(photos / "red.png"), "--json"], input=good)
    assert result.exit_code == 0
    found = {row["image"]: row["top"][0]["label"] for row in json.loads(result.stdout)["results"]}
    assert found == {"-": "blue", str(photos / "red.png"): "red"}
    (photos / "bad.png").write_bytes(b"x")
    result = CliRunner().invoke(main, ["predict", str(tiny), "-", str(photos / "bad.png")], input=good)
    assert result.exit_code == 1, "the bad image"
    assert "blue" in result.stdout, "standard input is not lost beside it"
    result = CliRunner().invoke(main, ["predict", str(tiny), "-"], input=b"")
    assert result.exit_code == 1
    assert "standard input: " in result.stderr


def test_what_a_folder_has_besides_images_is_said_in_one_line(tiny, photos):
    os.mkfifo(photos / "pipe.png")
    (photos / "notes.txt").write_text("x")
    result = run("predict", tiny, photos)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert "skipped 2 files: " in result.stderr
    assert "1 not a regular file" in result.stderr


def test_the_largest_image_is_an_option(tiny, photos, monkeypatch):
    monkeypatch.delenv("ONNXZOO_MAX_PIXELS", raising=False)
    result = run("predict", tiny, photos / "red.png", "--max-pixels", "3")
    os.environ.pop("ONNXZOO_MAX_PIXELS", None)
    assert result.exit_code == 1
    assert "the limit is 3 in all" in result.stderr
    assert "--max-pixels" in result.stderr


def test_a_closed_standard_input_is_said(tiny, monkeypatch):
    monkeypatch.setattr("onnxzoo.batch.local.sys.stdin", None)
    (entry,) = open_source(["-"])
    assert isinstance(entry.image, ImageError)
    assert "standard input is closed" in str(entry.image)


def test_an_engine_is_named_by_text(tiny):
    for wrong in (None, 3):
        with pytest.raises(InputError, match="an engine is named by text"):
            load(tiny, engine=wrong)
