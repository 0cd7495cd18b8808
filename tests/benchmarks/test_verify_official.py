"""`make verify-official`, against a Hub on loopback with seeded weights and expectations of them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import LoopbackHub
from official_weights import as_timm, seeded, write_safetensors
from PIL import Image

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.families import ModelSpec
from onnxzoo.reference.exact.engine import ExactEngine
from onnxzoo.registry import find, labels

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import verify_official

pytestmark = pytest.mark.slow

NAME = "pvt_v2_b0"
STATE = seeded(find(NAME))


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A photo that is neither square nor of the model's size."""
    ramp = np.linspace(0, 255, 300 * 200 * 3).reshape(200, 300, 3)[::-1, :, :]
    stream = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def first(photo: bytes) -> list[float]:
    """What the model's first logits for it are, with four decimals."""
    entry = find(NAME)
    image = np.asarray(Image.open(io.BytesIO(photo)).resize((224, 224), Image.Resampling.BILINEAR)) / 255
    image = (image - entry.preprocess.mean) / entry.preprocess.std
    engine = ExactEngine.open(ModelSpec(entry.architecture, 224, len(labels(entry.labels))), STATE)
    outputs = engine.run({INPUT_NAME: image.transpose(2, 0, 1)[None].astype(np.float32)})
    return [round(float(value), 4) for value in outputs["logits"][0, :3]]


@pytest.fixture
def hub(loopback: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    folder = tmp_path / "published"
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", as_timm(find(NAME), STATE))
    loopback.store.add_repo("timm/pvt_v2_b0.in1k", folder)
    return loopback


def run(tmp_path: Path, photo: bytes, first: list[float], timm_top1: float = 0.0, *more: str) -> int:
    (tmp_path / "photo.png").write_bytes(photo)
    document: dict[str, Any] = {
        "photo": "",
        "logits": {NAME: {"interpolation": "bilinear", "first": first}},
        "timm_top1": {NAME: timm_top1},
    }
    (tmp_path / "expected.json").write_text(json.dumps(document))
    given = ["--photo", str(tmp_path / "photo.png"), "--expectations", str(tmp_path / "expected.json")]
    return verify_official.main([*given, *more])


def test_right_numbers_hold_and_wrong_ones_do_not(
    hub: LoopbackHub, tmp_path: Path, photo: bytes, first: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, photo, first) == 0
    lines = capsys.readouterr().out.splitlines()
    engines = [line.split()[3] for line in lines[:-1]]
    assert engines[0] == "exact"
    assert "openvino" in engines
    assert lines[-1] == f"{len(engines)} of {len(engines)} expectations hold, of 1 models"
    assert run(tmp_path, photo, [first[0], first[1] + 0.001, first[2]]) == 1
    assert "FAILED pvt_v2_b0" in capsys.readouterr().out


def test_accuracies_with_the_preprocessing_of_either(
    hub: LoopbackHub, tmp_path: Path, photo: bytes, first: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.png").write_bytes(photo)
    (tmp_path / "data" / "val_list.txt").write_text("one.png 0\none.png 1\n")
    assert run(tmp_path, photo, first, 0.0, "--data", str(tmp_path / "data")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:-1]] == ["FAILED", "ok"]  # a seeded model has not PaddleClas's Top-1
    assert "Top-1 as PaddleClas, 2 images" in lines[-3]
    assert "0.0000 (expected 70.5200)" in lines[-3]
    assert "Top-1 as timm, 2 images" in lines[-2]


def test_what_cannot_be_had_is_neither_right_nor_wrong(
    loopback: LoopbackHub, tmp_path: Path, photo: bytes, first: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, photo, first) == 3
    assert "timm/pvt_v2_b0.in1k is not on the Hub" in capsys.readouterr().err


def test_the_expectations_are_of_models_that_there_are() -> None:
    document = json.loads(verify_official.EXPECTATIONS.read_text())
    assert sorted(document["timm_top1"]) == sorted(entry for entry in verify_official.models() if "nano" not in entry)
    for name, expected in document["logits"].items():
        assert find(name).name == name
        assert len(expected["first"]) == 3
