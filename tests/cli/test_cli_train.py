"""`onnxzoo train` as a user runs it: from images to a model that predicts."""

from __future__ import annotations

import dataclasses
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxzoo.artifact.folder import INPUT_NAME

pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.training.recipe import Recipe
from terminating import end_at
from toy_training import write_separable

pytestmark = pytest.mark.paddle

FAST = ["--epochs", "2", "--batch-size", "32", "--lr", "2e-3", "--lr-batch-size", "0", "--crop", "shift"]
PLAIN = ["--rand-layers", "0", "--mixup", "0", "--cutmix", "0", "--erase", "0"]


def onnxzoo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "onnxzoo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def the_command_it_printed(trained: subprocess.CompletedProcess[str]) -> list[str]:
    """The arguments of `onnxzoo` in the last line on stderr."""
    words = shlex.split(trained.stderr.splitlines()[-1].removeprefix("to export it: "))
    assert words[:2] == ["onnxzoo", "export"]
    return words[1:]


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
    assert len(lines) == 4, done.stderr
    assert lines[0].startswith("epoch 1/2: loss ")
    assert "images/s" in lines[1]
    assert lines[2].startswith("best validation top-1 ")
    export = json.loads((out / "train.json").read_text())["export"]
    assert lines[3] == f"to export it: {export}"
    assert "--image-size" not in export
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

    done, out = trained
    artifact = out / "artifact"
    done = onnxzoo(*the_command_it_printed(done))
    assert done.returncode == 0, done.stderr
    Image.new("L", (28, 28), 210).save(tmp_path / "bright.png")
    done = onnxzoo("predict", artifact, tmp_path / "bright.png", "--json")
    assert done.returncode == 0, done.stderr
    assert "class 1" in done.stdout


@pytest.mark.parametrize("name", ["swinv2_nano_fashion", "pvt_v2_nano_fashion"])
def test_what_was_trained_at_another_image_size_is_exported_as_that_model(
    data: Path, tmp_path: Path, name: str
) -> None:
    from onnxzoo.families import ModelSpec
    from onnxzoo.loading import load
    from onnxzoo.reference.paddle.engine import PaddleEngine
    from onnxzoo.registry import architecture_from_dict, find
    from onnxzoo.weights.checkpoint import read_checkpoint

    size, out = 2 * find(name).image_size, tmp_path / "out"
    asked = ["--image-size", str(size), "--holdout", "300", "--epochs", "1", "--warmup-epochs", "0"]
    done = onnxzoo("train", name, "--data", data, "--out", out, *FAST, *PLAIN, *asked)
    assert done.returncode == 0, done.stderr
    made = onnxzoo(*the_command_it_printed(done))
    assert made.returncode == 0, made.stderr
    description = json.loads((out / "train.json").read_text())
    assert description["image_size"] == size
    trained = ModelSpec(architecture_from_dict(find(name).family, description["architecture"]), size, 2)
    engine = PaddleEngine.open(trained, read_checkpoint(out / "best.pdparams", find(name)).state)
    images = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    with load(out / "artifact") as model:
        assert model.image_size == size
        assert model.labels == ("class 0", "class 1")
        np.testing.assert_allclose(model.logits(images), engine.run({INPUT_NAME: images})["logits"], atol=1e-4)


def test_a_second_training_needs_resume(trained: tuple[subprocess.CompletedProcess[str], Path], data: Path) -> None:
    _, out = trained
    command = ["train", "pvt_v2_nano_fashion", "--data", data, "--out", out, *FAST, *PLAIN]
    done = onnxzoo(*command)
    assert done.returncode == 1
    assert "continue it with --resume" in done.stderr
    done = onnxzoo(*command, "--resume")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].startswith("nothing left to do")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 2, "unknown model 'nothing'"),
        (["pvt_v2_nano_fashion", "--epochs", "0"], 2, "epochs must be at least 1, got 0"),
        (["pvt_v2_nano_fashion", "--image-size", "33"], 2, "image_size must be a positive multiple of 16"),
        (["pvt_v2_nano_fashion", "--image-size", "0"], 2, "expected a whole number from 1, got '0'"),
        (["pvt_v2_nano_fashion", "--lr", "1e-6"], 2, "lr_min must be between 0 and lr, 1e-06, got 1e-05"),
        (["pvt_v2_nano_fashion", "--seed", str(2**56)], 2, "seed must be below 2^56, got 72057594037927936"),
        (["pvt_v2_nano_fashion", "--classes", "1"], 1, "only the class 'class 1'"),
        (["pvt_v2_nano_fashion", "--classes", "0,9"], 1, "there is no class '9'"),
        (["pvt_v2_nano_fashion", "--holdout", "320"], 1, "cannot hold out 320 of 320 images"),
        (["pvt_v2_nano_fashion", "--init", "none.pdparams"], 2, "File 'none.pdparams' does not exist"),
        (["pvt_v2_nano_fashion", "--crop", "centre"], 2, "'centre' is not one of"),
    ],
)
def test_what_is_wrong_is_one_line(data: Path, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    done = onnxzoo("train", *arguments, "--data", data, "--out", tmp_path / "out")
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_every_field_of_the_recipe_has_help_and_its_default() -> None:
    from onnxzoo.cli.train import HELP

    assert set(HELP) == {field.name for field in dataclasses.fields(Recipe)}
    assert all(HELP.values())
    text = " ".join(onnxzoo("train", "--help").stdout.split())
    assert "Stochastic depth of the last block. [the model's]" in text
    assert "Epochs of rising learning rate. [1/15 of --epochs, at most 20]" in text
    assert "Learning rate at the end. [1e-05]" in text


@pytest.mark.skipif(sys.platform != "linux", reason="looks for children in /proc")
def test_a_signal_ends_the_training_with_one_line_and_nothing_half_written(data: Path, tmp_path: Path) -> None:
    """Paddle would end the process at once, with words of its own."""
    out = tmp_path / "out"
    options = ["--data", data, "--out", out, *FAST, *PLAIN, "--epochs", "50"]
    ended = end_at(" s\n", signal.SIGTERM, tmp_path, "train", "pvt_v2_nano_fashion", *options)
    assert ended.code == 128 + signal.SIGTERM
    assert ended.stderr.endswith("\nonnxzoo: terminated by SIGTERM\n")
    assert "Paddle" not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.children == []
    assert list(out.glob(".*")) == []
