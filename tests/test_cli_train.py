"""`onnxzoo train` as a user runs it: from images to a model that predicts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("paddle", reason="needs the export extra")

from toy_training import write_separable

pytestmark = pytest.mark.paddle

FAST = ["--epochs", "2", "--batch-size", "32", "--lr", "2e-3", "--lr-batch-size", "0", "--crop", "shift"]
PLAIN = ["--rand-layers", "0", "--mixup", "0", "--cutmix", "0", "--erase", "0"]


def onnxzoo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "onnxzoo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_separable(tmp_path_factory.mktemp("data"), train=320, val=80)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("trained") / "out"
    return onnxzoo("train", "PVT_V2_NANO_FASHION", "--data", data, "--out", out, *FAST, *PLAIN), out


def test_the_best_checkpoint_goes_to_stdout_and_a_line_an_epoch_to_stderr(
    trained: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, out = trained
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out / 'best.pdparams'}\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 3, done.stderr
    assert lines[0].startswith("epoch 1/2: loss ")
    assert "images/s" in lines[1]
    assert lines[2].startswith("best validation top-1 ")
    assert {file.name for file in out.iterdir()} == {
        "best.pdparams",
        "last.pdparams",
        "labels.txt",
        "metrics.jsonl",
        "train.json",
        "state.npz",
    }
    recipe = json.loads((out / "train.json").read_text())["recipe"]
    # A shorter training keeps the share of its warm-up: 20 of 300 epochs.
    assert recipe["warmup_epochs"] == pytest.approx(2 * 20 / 300)


def test_what_was_trained_can_be_exported_and_predicts(
    trained: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    from PIL import Image

    _, out = trained
    artifact = tmp_path / "artifact"
    arguments = ["--weights", out / "best.pdparams", "--labels", out / "labels.txt", "--out", artifact]
    done = onnxzoo("export", "pvt_v2_nano_fashion", *arguments)
    assert done.returncode == 0, done.stderr
    Image.new("L", (28, 28), 210).save(tmp_path / "bright.png")
    done = onnxzoo("predict", artifact, tmp_path / "bright.png", "--json")
    assert done.returncode == 0, done.stderr
    assert "class 1" in done.stdout


def test_a_second_training_needs_resume(trained: tuple[subprocess.CompletedProcess[str], Path], data: Path) -> None:
    _, out = trained
    command = ["train", "pvt_v2_nano_fashion", "--data", data, "--out", out, *FAST, *PLAIN]
    done = onnxzoo(*command)
    assert done.returncode == 1
    assert "go on with it with --resume" in done.stderr
    done = onnxzoo(*command, "--resume")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].startswith("nothing left to do")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 2, "unknown model 'nothing'"),
        (["pvt_v2_nano_fashion", "--epochs", "0"], 2, "epochs must be at least 1, got 0"),
        (["pvt_v2_nano_fashion", "--image-size", "33"], 2, "image_size must be a positive multiple of 16"),
        (["pvt_v2_nano_fashion", "--classes", "0,9"], 1, "there is no class '9'"),
        (["pvt_v2_nano_fashion", "--holdout", "320"], 1, "cannot hold out 320 of 320 images"),
        (["pvt_v2_nano_fashion", "--init", "none.pdparams"], 1, "none.pdparams cannot be read"),
        (["pvt_v2_nano_fashion", "--crop", "centre"], 2, "'centre' is not one of"),
    ],
)
def test_what_is_wrong_is_one_line(data: Path, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    done = onnxzoo("train", *arguments, "--data", data, "--out", tmp_path / "out")
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
