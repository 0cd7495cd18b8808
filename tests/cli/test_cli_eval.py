"""`onnxzoo eval`: figures on stdout, unreadable images on stderr, exit codes that scripts can use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import is_one_error_line, run
from PIL import Image
from tiny import COLOURS, LABELS, write_artifact

from onnxzoo import registry
from onnxzoo.artifact.folder import documented_entry, read_artifact
from onnxzoo.datasets import DATASETS
from onnxzoo.errors import InputError
from onnxzoo.evaluation.accuracy import Evaluation
from onnxzoo.evaluation.record import record_evaluation
from onnxzoo.hub.card import model_card
from onnxzoo.results import EngineInfo


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Class folders of three images each; one of red's is blue."""
    root = tmp_path / "data"
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (48, 40), colour).save(root / name / f"{number}.png")
    shutil.copy(root / "blue" / "0.png", root / "red" / "0.png")
    return root


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_figures_for_people(tiny, data, engine):
    result = run("eval", tiny, "--data", data, "--engine", engine)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"tiny on {engine} ")
    assert lines[2].split() == ["measured", "0.9167", "0.6461..0.9851", "1.0000", "0.7575..1.0000", "12"]
    assert "images/s from file to answer" in lines[3]
    assert [line.split() for line in lines[6:]] == [
        ["0", "black", "3", "1.0000"],
        ["1", "red", "3", "0.6667", "blue", "(1)"],
        ["2", "green", "3", "1.0000"],
        ["3", "blue", "3", "1.0000"],
    ]


def test_the_figures_for_programs(tiny, data):
    document = json.loads(run("eval", tiny, "--data", data, "--json", "--batch-size", "5").stdout)
    assert (document["model"], document["split"], document["data"]) == ("tiny", "val", str(data))
    assert (document["images"], document["correct"], document["correct_top5"]) == (12, 11, 12)
    assert document["top1"] == pytest.approx(11 / 12)
    low, high = document["top1_interval_95"]
    assert low < document["top1"] < high
    assert document["documented"] is None
    assert document["unreadable"] == []
    assert document["engine"]["name"] == "openvino"
    assert document["images_per_second"] == pytest.approx(12 / document["seconds"])
    assert document["classes"][1] == {
        "class_id": 1,
        "label": "red",
        "images": 3,
        "correct": 2,
        "confused_with": "blue",
        "confused": 1,
        "top1": pytest.approx(2 / 3),
    }


def test_a_corrupt_image_is_named_left_out_and_exit_code_1(tiny, data):
    bad = data / "green" / "1.png"
    bad.write_bytes(b"no image")
    result = run("eval", tiny, "--data", data)
    assert result.exit_code == 1
    assert is_one_error_line(result.stderr)
    assert result.stderr.count(str(bad)) == 1
    assert "1 unreadable left out" in result.stdout
    document = json.loads(run("eval", tiny, "--data", data, "--json").stdout)
    assert document["images"] == 11
    assert [image["name"] for image in document["unreadable"]] == [str(bad)]


def test_limit_classes_and_split(tiny, data, tmp_path):
    document = json.loads(run("eval", tiny, "--data", data, "--limit", "4", "--json").stdout)
    assert [(row["label"], row["images"]) for row in document["classes"]] == [(label, 1) for label in LABELS]
    document = json.loads(run("eval", tiny, "--data", data, "--classes", "red, black", "--json").stdout)
    assert [(row["label"], row["images"]) for row in document["classes"]] == [("black", 3), ("red", 3)]
    both = tmp_path / "both"
    (both / "train").mkdir(parents=True)
    shutil.copytree(data, both / "val")
    shutil.copytree(data / "blue", both / "train" / "blue")
    assert json.loads(run("eval", tiny, "--data", both, "--json").stdout)["images"] == 12
    assert json.loads(run("eval", tiny, "--data", both, "--split", "train", "--json").stdout)["images"] == 3


def test_a_class_by_number_is_the_datas_and_is_said(tiny, data):
    """The data's folders are black, blue, green, red: its class 1 is not the model's, which is red."""
    result = run("eval", tiny, "--data", data, "--classes", "1,RED", "--json")
    assert [row["label"] for row in json.loads(result.stdout)["classes"]] == ["red", "blue"]
    assert result.stderr == "onnxzoo: --classes 1 is 'blue', by its place in the data\n"
    result = run("eval", tiny, "--data", data, "--classes", "gren")
    assert result.exit_code == 1
    assert "there is no class 'gren'; the data has 4: black, blue, green, red" in result.stderr
    assert "did you mean 'green'?" in result.stderr


def test_an_accuracy_is_documented_for_the_models_own_classes_only(tmp_path, data):
    fine_tuned = write_artifact(tmp_path / "b0", name="pvt_v2_b0")  # to four colours
    assert json.loads(run("eval", fine_tuned, "--data", data, "--json").stdout)["documented"] is None
    changes = {"id2label": {str(i): name for i, name in enumerate(registry.labels("imagenet1k"))}}
    whole = read_artifact(write_artifact(tmp_path / "whole", name="pvt_v2_b0", changes=changes))
    entry = documented_entry(whole)
    assert entry is not None
    assert (entry.accuracy.top1, entry.dataset.split(",")[0]) == (0.7052, "ImageNet-1k")


def test_the_line_of_the_documented_accuracy(monkeypatch, tiny, data):
    from onnxzoo.cli import eval as module

    monkeypatch.setattr(module, "documented_entry", lambda _: registry.find("pvt_v2_b0"))
    lines = run("eval", tiny, "--data", data).stdout.splitlines()
    assert lines[3].split()[:3] == ["documented", "0.7052", "0.9016"]
    assert "ImageNet-1k" in lines[3]
    assert "documented" not in run("eval", tiny, "--data", data, "--classes", "red").stdout


def test_numbers_in_a_list_are_the_models_ids(tiny, data):
    (data / "val_list.txt").write_text("red/1.png 1\nblue/1.png 3\ngreen/2.png 2\n")
    document = json.loads(run("eval", tiny, "--data", data, "--json").stdout)
    assert (document["images"], document["correct"]) == (3, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--data", "nowhere"], 2, "'nowhere' does not exist"),
        (["--data", "data", "--engine", "paddle", "--weights", "x"], 2, "File 'x' does not exist"),
        (["--data", "strange"], 1, "the data's 1 classes ('purple') are not the model's 4 ('black', 'red', 'green'"),
        (["--data", "data", "--engine", "padle"], 2, "did you mean 'paddle'?"),
        (["--data", "data", "--precision", "int8"], 2, "the model has no int8 file (it has fp32); make one"),
        (["--data", "data", "--weights", "data/red/1.png"], 2, "weights are for the engine 'paddle'"),
        (["--data", "data", "--batch-size", "0"], 2, "--batch-size"),
        (["--data", "data", "--limit", "0"], 2, "--limit"),
        (["--data", "data", "--split", "test"], 2, "--split"),
        (["--data", "data", "--classes", "pink"], 1, "there is no class 'pink'"),
        ([], 2, "Missing option '--data'"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(tiny, data, tmp_path, monkeypatch, options, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strange" / "purple").mkdir(parents=True)
    shutil.copy(data / "red" / "1.png", tmp_path / "strange" / "purple")
    command = [sys.executable, "-P", "-m", "onnxzoo", "eval", str(tiny), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert is_one_error_line(done.stderr)
    assert message in done.stderr


def test_a_model_that_is_not_here_is_exit_code_3(data):
    result = run("eval", "pvt_v2_b0", "--data", data)
    assert result.exit_code == 3
    assert "onnxzoo export pvt_v2_b0" in result.stderr


def test_an_accuracy_is_recorded_for_the_card(tiny, data):
    before = json.loads((tiny / "config.json").read_text())
    result = run("eval", tiny, "--data", data, "--engine", "openvino", "--record", "12  squares\nof mine")
    assert (result.exit_code, result.stderr) == (0, f"recorded in {tiny}: fp32 on 12 squares of mine\n")
    for engine in ("onnxruntime", "openvino"):
        assert run("eval", tiny, "--data", data, "--engine", engine, "--record", "12 squares of mine").exit_code == 0
    after = json.loads((tiny / "config.json").read_text())
    assert {key: value for key, value in after.items() if key != "evaluations"} == before
    artifact = read_artifact(tiny)
    artifact.verify()
    assert [(one.engine, one.top1, one.images) for one in artifact.evaluated("fp32")] == [
        ("onnxruntime", pytest.approx(11 / 12), 12),
        ("openvino", pytest.approx(11 / 12), 12),
    ]
    card = model_card(artifact)
    assert "| measured, fp32 | 91.67% | 100.00% | 12 squares of mine | openvino " in card


@pytest.mark.slow
def test_what_is_not_recorded(tiny, data):
    before = (tiny / "config.json").read_bytes()
    for more in (["--limit", "3"], ["--classes", "red"], ["--split", "train"]):
        assert run("eval", tiny, "--data", data, "--record", "x", *more).exit_code == 2
    for words in ("", " ", "x" * 201):
        assert "describe the images in 1 to 200 letters" in run("eval", tiny, "--data", data, "--record", words).stderr
    for words in ("imagenet1k", DATASETS["imagenet1k"].description):
        result = run("eval", tiny, "--data", data, "--record", words)
        assert result.exit_code == 2
        assert "12 images were measured, expected 50,000; it is not recorded" in result.stderr
    (data / "green" / "1.png").write_bytes(b"no image")
    assert "1 could not be read" in run("eval", tiny, "--data", data, "--record", "squares").stderr
    assert (tiny / "config.json").read_bytes() == before
    result = run("eval", "pvt_v2_nano_fashion", "--data", data, "--record", "squares")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is part of the installed package, nothing is written there" in result.stderr


def test_nothing_is_recorded_in_the_cached_copy_of_a_hub_repository(tmp_path, data):
    snapshot = write_artifact(tmp_path / "models--someone--tiny" / "snapshots" / ("0" * 40))
    result = run("eval", snapshot, "--data", data, "--record", "squares")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is the cached copy of a Hub repository, nothing is written there" in result.stderr


@pytest.mark.parametrize("engine", [("paddle", "fp32"), ("openvino", "bf16")])
def test_what_ran_otherwise_is_not_recorded_as_the_onnx_file(tiny, engine):
    info = EngineInfo(name=engine[0], device="CPU", precision=engine[1], version="1", reason="asked for")
    result = Evaluation("tiny", info, 10, 9, 10, 1.0, (), ())
    with pytest.raises(InputError, match=f"this ran as {engine[1]} on {engine[0]}, not the artifact's fp32 ONNX file"):
        record_evaluation(read_artifact(tiny), result, "fp32", "squares")
