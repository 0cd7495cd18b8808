"""A training says what is wrong: numbers, images, folders, classes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.training import validation
from onnxzoo.training.images import Damaged
from onnxzoo.training.metrics import read_records
from onnxzoo.training.network import Network
from onnxzoo.training.optimizer import Optimizer
from onnxzoo.training.parallel import Processes
from onnxzoo.training.state import load_state_file
from toy_runs import folder_of_images, spec, train
from toy_training import Recorder, separable, toy_entry, write_idx, write_separable

from onnxzoo.data.layouts import open_dataset
from onnxzoo.errors import DatasetError, TrainingError
from onnxzoo.reference.paddle.build import build_model
from onnxzoo.results import Array

pytestmark = pytest.mark.paddle


# What goes wrong


def test_a_nan_loss_stops_at_its_step(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Network.loss

    def spoiled(self: Network, images: Array, targets: Array, scale: float, kept: Array | None) -> tuple[Any, Array]:
        spoiled.calls += 1  # type: ignore[attr-defined]
        return honest(self, images * (np.nan if spoiled.calls == 9 else 1), targets, scale, kept)  # type: ignore[attr-defined]

    spoiled.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(Network, "loss", spoiled)
    with pytest.raises(TrainingError, match=r"loss is nan at epoch 2, step 3 \(step 9 of the training"):
        train(data, tmp_path)
    assert load_state_file(tmp_path / "state.npz").position.epoch == 1


@pytest.mark.parametrize("save_steps", [0, 1])
def test_weights_that_are_no_numbers_are_never_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_steps: int
) -> None:
    honest, steps = Optimizer.step, []

    def spoiled(self: Optimizer, learning_rate: float) -> None:
        honest(self, learning_rate)
        steps.append(learning_rate)
        if len(steps) == 12:  # the last of the second epoch: its loss was computed before
            parameter = next(iter(self._parameters.values()))
            parameter.set_value(np.full(parameter.shape, np.nan, np.float32))

    monkeypatch.setattr(Optimizer, "step", spoiled)
    with pytest.raises(TrainingError, match=r"weights .* NaN .* epoch 2, step 6; lower --lr .* remove .*state\.npz"):
        train(data, tmp_path, ema=0.0, save_steps=save_steps)
    state = load_state_file(tmp_path / "state.npz")
    assert (state.position.epoch, state.position.step) == (1, 5 if save_steps else 0)
    assert all(np.isfinite(array).all() for array in state.weights.values())
    assert [r["epoch"] for r in read_records(tmp_path / "metrics.jsonl") if r["kind"] == "epoch"] == [1]


def test_a_nan_validation_loss_stops_before_the_weights_are_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation.Validator, "score", lambda _self, _weights: validation.Score(math.nan, 1.0, 1.0, 60))
    with pytest.raises(TrainingError, match="validation loss is nan after epoch 1"):
        train(data, tmp_path)
    assert not list(tmp_path.glob("*.pdparams"))
    assert not [record for record in read_records(tmp_path / "metrics.jsonl") if record["kind"] == "epoch"]


def test_answers_that_are_no_numbers_are_wrong(data: Path) -> None:
    val = open_dataset(data, "val")
    damaged = Damaged("stop", print)
    validator = validation.Validator(val, spec("pvt_v2"), toy_entry("pvt_v2").preprocess, damaged, Processes(), 1)
    weights = {name: value.numpy() for name, value in build_model(spec("pvt_v2")).named_parameters()}
    assert validator.score(weights).top5 == 1.0
    score = validator.score({**weights, "head.bias": np.array([np.nan, 0], np.float32)})
    assert (score.top1, score.top5, score.images) == (0.0, 0.0, 60)
    assert not math.isfinite(score.loss)


@pytest.mark.parametrize("crop", ["shift", "resized"])
def test_damaged_images_are_skipped_counted_and_named(tmp_path: Path, crop: str) -> None:
    data, progress = folder_of_images(tmp_path / "data", damaged=2), Recorder()
    train(data, tmp_path / "o", epochs=2, batch_size=8, crop=crop, on_error="skip", progress=progress, threads=2)
    skipped = [message for message in progress.messages if message.startswith("skipped: ")]
    assert len(skipped) == 2
    assert all(".png is damaged" in message for message in skipped)
    assert progress.records[-1]["skipped_images"] == 2


@pytest.mark.parametrize("crop", ["shift", "resized"])
def test_a_damaged_image_stops_the_training_by_default(tmp_path: Path, crop: str) -> None:
    data = folder_of_images(tmp_path / "data", damaged=1)
    with pytest.raises(DatasetError, match=r"\.png is damaged.*--on-error skip"):
        train(data, tmp_path / "o", epochs=2, batch_size=8, crop=crop)


def test_nowhere_to_write(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="cannot be written"):
        train(data, tmp_path / "file" / "out")


def test_a_failure_to_write_leaves_the_state_before_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(data, tmp_path / "whole", epochs=2)

    class Stops(Recorder):
        def end_epoch(self, record: Mapping[str, Any]) -> None:
            super().end_epoch(record)
            if record["epoch"] == 2:
                monkeypatch.setattr(np, "savez", full)

    def full(*_arguments: Any, **_arrays: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match=r"state\.npz cannot be written: No space left on device; what was saved"):
        train(data, tmp_path / "o", epochs=3, progress=Stops())
    monkeypatch.undo()
    assert load_state_file(tmp_path / "o" / "state.npz").position.epoch == 1
    assert not list((tmp_path / "o").glob(".*tmp"))
    train(data, tmp_path / "o", epochs=3, resume=True)


def test_training_and_validation_must_have_the_same_classes(tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", damaged=0)
    (data / "val" / "dark").rename(data / "val" / "dim")
    with pytest.raises(DatasetError, match="only in training dark, only in validation dim"):
        train(data, tmp_path / "o")


def test_images_trained_on_do_not_validate(tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", damaged=0) / "train"
    with pytest.raises(DatasetError, match=r"no train and val.*--holdout N"):
        train(data, tmp_path / "o")
    train(data, tmp_path / "o", holdout=8, epochs=2, batch_size=8)
    assert json.loads((tmp_path / "o" / "train.json").read_text())["training_images"] == 16


def test_one_class_is_nothing_to_learn(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="only the class 'class 1', but a classifier needs at least 2"):
        train(data, tmp_path / "o", classes=["1"])


def test_names_that_the_data_does_not_give_are_said(tmp_path: Path) -> None:
    data, progress = write_separable(tmp_path / "data", classes=10), Recorder()
    train(data, tmp_path / "o", epochs=2, progress=progress)
    assert any(
        "names no classes" in message and "fashion_mnist (T-shirt/top, " in message for message in progress.messages
    )
    (data / "labels.txt").write_text("\n".join(f"digit {number}" for number in range(10)))
    progress = Recorder()
    train(data, tmp_path / "digits", epochs=2, progress=progress)
    assert not progress.messages
    assert (tmp_path / "digits" / "labels.txt").read_text().startswith("0 digit 0\n")


def test_one_list_is_trained_on_with_images_held_out(tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", damaged=0)
    lines = [f"{file.relative_to(data)} {int(file.parent.name == 'bright')}" for file in data.rglob("*.png")]
    (data / "all.txt").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DatasetError, match="is one list; give the folder"):
        train(data / "all.txt", tmp_path / "o")
    outcome = train(data / "all.txt", tmp_path / "o", holdout=8, epochs=2, batch_size=8)
    assert json.loads((tmp_path / "o" / "train.json").read_text())["validation_images"] == 8
    assert outcome.best.exists()


def test_idx_data_that_does_not_fit_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", *separable(8, 2, 0))
    with pytest.raises(DatasetError, match="has no split 'val'"):
        train(tmp_path, tmp_path / "o")
