"""`onnxzoo quantize`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from quantizing import write_colours

from onnxzoo.cli import main

pytest.importorskip("onnxruntime", reason="needs the extra quantize")

INT8 = "onnx/model_int8.onnx"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["quantize", *map(str, arguments)])


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return write_colours(tmp_path / "colours")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with 24 images of one colour each."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.RandomState(6)
    for number in range(24):
        PIL.Image.new("RGB", (40, 40), tuple(random.randint(0, 256, 3).tolist())).save(folder / f"{number:02}.png")
    return folder


@pytest.mark.slow
def test_the_report_for_people(colours: Path, pictures: Path) -> None:
    result = run(colours, "--images", pictures, "--min-snr", 10)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == str(colours / INT8)
    assert lines[1].startswith("tiny in int8: ")
    assert lines[2] == "calibrated on 16 images, measured on 8 others: 24 of 24 images that were given"
    assert lines[3].startswith("run on ")
    assert any(line.startswith("onnxruntime 1.") and " dB" in line for line in lines)
    assert "Gemm_2" in result.stdout
    info = CliRunner().invoke(main, ["info", str(colours)]).stdout
    assert "precisions        fp32, int8" in info
    assert INT8 in info


@pytest.mark.slow
def test_the_report_for_programs(colours: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(colours, "--images", pictures, "--min-snr", 10, "--weights-bits", 8, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["precision"], document["weights_bits"], document["folder"]) == ("int8", 8, str(out))
    assert {layer["name"] for layer in document["layers"]} == {"Conv_0", "Gemm_2"}
    assert {row["engine"]["precision"] for row in document["engines"]} == {"int8"}
    assert document["bytes"] == (out / INT8).stat().st_size
    assert not (colours / INT8).exists()


def test_an_unreadable_image_is_named_and_the_exit_code_says_so(colours: Path, pictures: Path) -> None:
    (pictures / "broken.png").write_bytes(b"no image")
    result = run(colours, "--images", pictures, "--min-snr", 10)
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    assert (colours / INT8).is_file()


def test_unreadable_images_are_named_also_when_too_few_are_left(colours: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "broken.png").write_bytes(b"no image")
    result = run(colours, "--images", tmp_path / "few")
    assert result.exit_code == 2
    named, refused = (line for line in result.stderr.splitlines() if "error" in line)
    assert "broken.png is not an image" in named
    assert "at least 12 different images, got 0" in refused


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--images", "nowhere"], 2, "Path 'nowhere' does not exist"),
        (["--max-drop", "0.1"], 2, "give them with --data"),
        (["--min-snr", "0"], 2, "must be more than 0 and at most 100 dB"),
        (["--min-snr", "nan"], 2, "must be more than 0 and at most 100 dB"),
        (["--samples", "3"], 2, "samples must be at least 8, got 3"),
        (["--weights-bits", "6"], 2, "'6' is not one of"),
        (["--weights-bits", "8", "--precision", "fp16"], 2, "--weights-bits applies to int8 only"),
        (["--precision", "bf16"], 2, "'bf16' is not one of"),
        ([], 2, "is not a model of ImageNet"),
    ],
)
def test_wrong_usage_is_one_line(colours: Path, pictures: Path, arguments: list[str], code: int, words: str) -> None:
    if arguments and arguments[0] != "--images":
        arguments = [*arguments, "--images", str(pictures)]
    result = run(colours, *arguments)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert len(result.stderr.splitlines()) <= 4
    assert not (colours / INT8).exists()


def test_an_empty_folder_of_images_is_refused(colours: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(colours, "--images", tmp_path / "empty")
    assert result.exit_code == 2
    assert "at least 12 different images, got 0" in result.stderr


def test_limits_that_cannot_be_kept_are_a_no(colours: Path, pictures: Path) -> None:
    result = run(colours, "--images", pictures, "--min-snr", 99)
    assert result.exit_code == 1
    assert "the limits cannot be kept" in result.stderr


def test_a_model_that_ships_says_where_it_could_go(pictures: Path) -> None:
    result = run("swinv2_nano_fashion", "--images", pictures)
    assert result.exit_code == 1
    assert "--out DIR makes one with the new file in it" in result.stderr
