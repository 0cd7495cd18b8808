"""Training: it learns, it leaves behind what it says, in one process or in two."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxzoo.artifact.folder import INPUT_NAME

paddle = pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.training.metrics import read_records
from onnxzoo.training.session import Request, run
from onnxzoo.training.state import load_state_file, save_weights
from onnxzoo.training.trainer import Trainer
from toy_runs import CHILD, FAMILIES, assert_same, child, folder_of_images, spec, train
from toy_training import SIDE, Recorder, toy_entry, toy_recipe, write_separable

from onnxzoo.data.layouts import open_dataset
from onnxzoo.errors import CheckpointError
from onnxzoo.families import ModelSpec, at_image_size
from onnxzoo.reference.paddle.build import build_model
from onnxzoo.reference.paddle.engine import PaddleEngine
from onnxzoo.registry import architecture_from_dict
from onnxzoo.weights.checkpoint import read_checkpoint

pytestmark = pytest.mark.paddle


# Learning


@pytest.mark.parametrize("family", FAMILIES)
def test_a_separable_set_is_learned(data: Path, tmp_path: Path, family: str) -> None:
    progress = Recorder()
    request = Request(toy_entry(family), data, tmp_path / "o", toy_recipe(epochs=8, mixup=0.0, cutmix=0.0, ema=0.0))
    outcome = run(request, progress, resume=False)
    assert outcome.best_top1 > 0.95
    assert progress.records[-1]["train_loss"] < progress.records[0]["train_loss"]


def test_what_a_training_leaves_behind(data: Path, tmp_path: Path) -> None:
    outcome = train(data, tmp_path, "swinv2", log_steps=2)
    entry = toy_entry("swinv2")
    checkpoint = read_checkpoint(outcome.best, entry)
    assert checkpoint.num_classes == 2
    engine = PaddleEngine.open(spec("swinv2"), checkpoint.state)
    assert engine.run({INPUT_NAME: np.zeros((1, 3, SIDE, SIDE), np.float32)})["logits"].shape == (1, 2)
    assert (tmp_path / "labels.txt").read_text().splitlines() == ["0 class 0", "1 class 1"]
    description = json.loads((tmp_path / "train.json").read_text())
    assert description["recipe"]["batch_size"] == 16
    assert description["training_images"] == 96
    records = read_records(tmp_path / "metrics.jsonl")
    assert [record["epoch"] for record in records if record["kind"] == "epoch"] == [1, 2, 3]
    assert [record["step"] for record in records if record["kind"] == "step"] == [1, 3, 5, 7, 9, 11, 13, 15, 17]
    # With an average of the weights it is the average that is kept.
    assert_same(read_checkpoint(outcome.last, entry).state, load_state_file(tmp_path / "state.npz").ema)


def test_the_recorded_accuracy_is_that_of_the_saved_weights(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, epochs=2)
    entry = toy_entry("pvt_v2")
    engine = PaddleEngine.open(spec("pvt_v2"), read_checkpoint(tmp_path / "last.pdparams", entry).state)
    val = open_dataset(data, "val")
    from onnxzoo.image import preprocess_batch

    images = preprocess_batch([val.image(i) for i in range(len(val))], entry.preprocess)
    top1 = (engine.run({INPUT_NAME: images})["logits"].argmax(1) == val.labels).mean()
    assert read_records(tmp_path / "metrics.jsonl")[-1]["val_top1"] == pytest.approx(top1)


def test_fine_tuning_gives_another_number_of_classes_a_new_head(data: Path, tmp_path: Path) -> None:
    three = write_separable(tmp_path / "three", classes=3, train=48, val=30)
    first = train(three, tmp_path / "a", epochs=2)
    progress = Recorder()
    kept = dict(read_checkpoint(first.best, toy_entry("pvt_v2")).state)
    # A learning rate of almost nothing shows what it started from.
    outcome = train(
        data, tmp_path / "b", init=first.best, epochs=2, lr=1e-12, lr_min=0.0, lr_start=0.0, progress=progress
    )
    assert any("3 classes, the data 2" in message for message in progress.messages)
    state = read_checkpoint(outcome.last, toy_entry("pvt_v2")).state
    for name in kept:
        if not name.startswith("head."):
            np.testing.assert_allclose(state[name], kept[name], atol=1e-6)
    assert state["head.weight"].shape[1] == 2


def test_another_image_size_trains_the_model_that_an_export_of_that_size_makes(data: Path, tmp_path: Path) -> None:
    entry = toy_entry("swinv2")
    outcome = train(data, tmp_path / "o", "swinv2", image_size=32, epochs=2)
    description = json.loads((tmp_path / "o" / "train.json").read_text())
    checkpoint = read_checkpoint(outcome.best, entry)
    exported = at_image_size(ModelSpec(checkpoint.architecture, checkpoint.image_size, checkpoint.num_classes), 32)
    assert architecture_from_dict(entry.family, description["architecture"]) == exported.architecture
    assert exported.architecture.window_size == 4
    assert "--image-size 32" in description["export"]
    assert outcome.image_size == 32


def test_initial_weights_of_another_window_are_refused(data: Path, tmp_path: Path) -> None:
    entry = toy_entry("swinv2")
    other = dataclasses.replace(entry, architecture=dataclasses.replace(entry.architecture, window_size=4))
    model = build_model(ModelSpec(other.architecture, SIDE, 2))
    state = {name: value.numpy() for name, value in model.named_parameters()}
    table = np.zeros((1, 7, 7, 2), np.float32)
    save_weights(tmp_path / "w.pdparams", {**state, "layers.0.blocks.0.attn.relative_coords_table": table})
    assert read_checkpoint(tmp_path / "w.pdparams", entry).architecture == other.architecture
    with pytest.raises(CheckpointError, match=r"another model than swinv2_nano_fashion.*these windows"):
        train(data, tmp_path / "o", "swinv2", init=tmp_path / "w.pdparams")


def test_a_subset_of_classes_and_another_image_size(tmp_path: Path) -> None:
    three = write_separable(tmp_path / "three", classes=3)
    outcome = train(three, tmp_path / "o", "swinv2", classes=["2", "class 0"], image_size=24, epochs=2)
    assert (tmp_path / "o" / "labels.txt").read_text().splitlines() == ["0 class 2", "1 class 0"]
    assert read_checkpoint(outcome.best, toy_entry("swinv2")).num_classes == 2
    assert toy_entry("swinv2").preprocess.at_image_size(24).crop_size == 24


# Several processes


@pytest.mark.slow
def test_two_processes_lose_like_one(tmp_path: Path) -> None:
    data = write_separable(tmp_path / "data", train=160)
    recipe = {"epochs": 4, "warmup_epochs": 1.0}
    asked = {"family": "pvt_v2", "data": str(data), "recipe": recipe}
    done = child(tmp_path / "a", **asked, out=str(tmp_path / "one"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "two.json").write_text(json.dumps({**asked, "out": str(tmp_path / "two")}), encoding="utf-8")
    launch = [
        sys.executable,
        "-m",
        "paddle.distributed.launch",
        "--nproc_per_node",
        "2",
        "--log_dir",
        str(tmp_path / "log"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, str(CHILD), str(tmp_path / "two.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = (
        [record["loss"] for record in read_records(tmp_path / name / "metrics.jsonl") if record["kind"] == "step"]
        for name in ("one", "two")
    )
    assert len(one) == len(two) == 40
    np.testing.assert_allclose(two[:20], one[:20], atol=1e-3)


@pytest.mark.slow
def test_every_process_names_the_images_it_cannot_read_and_each_is_counted_once(tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", damaged=4)
    recipe = {"epochs": 3, "batch_size": 24, "crop": "resized"}
    asked = {"family": "pvt_v2", "data": str(data), "recipe": recipe, "on_error": "skip", "out": str(tmp_path / "out")}
    (tmp_path / "two.json").write_text(json.dumps(asked), encoding="utf-8")
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log")]
    command = [sys.executable, *launch, str(CHILD), str(tmp_path / "two.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [r for r in read_records(tmp_path / "out" / "metrics.jsonl") if r["kind"] == "epoch"]
    # An image that both have met in different epochs is one image.
    assert [record["skipped_images"] for record in records] == [4, 4, 4]
    log = (tmp_path / "log" / "workerlog.1").read_text()
    assert "process 1: skipped: " in log


def test_the_trainer_can_be_used_without_a_session(data: Path, tmp_path: Path) -> None:
    from onnxzoo.training.trainer import Job

    entry = toy_entry("pvt_v2")
    train_set, val = open_dataset(data, "train"), open_dataset(data, "val")
    recipe = toy_recipe(epochs=2, batch_size=1000)
    job = Job(spec("pvt_v2"), entry.preprocess, recipe, train_set, val, tmp_path, compiled=False)
    trainer = Trainer(job, Recorder())
    # A set smaller than a batch is one batch.
    assert (trainer.plan.steps, trainer.plan.batch_size) == (1, 96)
    assert trainer.run().best_epoch in (0, 1)
