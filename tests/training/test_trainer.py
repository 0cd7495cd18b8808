"""Training: it learns, it repeats itself, it survives being killed, and it says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

paddle = pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.training import validation
from onnxzoo.training.ema import Ema
from onnxzoo.training.images import Damaged, KeptImages, ReadImages, evaluation_crops
from onnxzoo.training.metrics import read_records
from onnxzoo.training.network import DenseDepthwiseConv, Network
from onnxzoo.training.optimizer import Optimizer
from onnxzoo.training.parallel import Processes
from onnxzoo.training.session import Request, preprocess_at, run
from onnxzoo.training.state import load_state_file, save_weights
from onnxzoo.training.trainer import Outcome, Trainer
from PIL import Image
from toy_training import SIDE, Recorder, separable, toy_entry, toy_recipe, write_idx, write_separable

from onnxzoo.data.layouts import open_dataset
from onnxzoo.errors import CheckpointError, DatasetError, TrainingError
from onnxzoo.families import ModelSpec, at_image_size
from onnxzoo.reference.paddle.build import build_model, load_state
from onnxzoo.reference.paddle.engine import PaddleEngine
from onnxzoo.reference.paddle.pvt_v2 import DepthwiseConv
from onnxzoo.registry import architecture_from_dict
from onnxzoo.results import Array
from onnxzoo.weights.checkpoint import read_checkpoint

pytestmark = pytest.mark.paddle

CHILD = Path(__file__).parents[1] / "toy_training.py"
FAMILIES = ("pvt_v2", "swinv2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_separable(tmp_path_factory.mktemp("separable"))


def train(data: Path, out: Path, family: str = "pvt_v2", *, resume: bool = False, **changes: Any) -> Outcome:
    """Train in this process; `changes` are fields of the request or of the recipe."""
    fields = {field.name for field in dataclasses.fields(Request)}
    asked = {key: changes.pop(key) for key in list(changes) if key in fields}
    entry = asked.pop("entry", toy_entry(family))
    progress = changes.pop("progress", None) or Recorder()
    request = Request(entry=entry, data=data, out=out, recipe=toy_recipe(**changes), **asked)
    return run(request, progress, resume=resume)


def child(folder: Path, **asked: Any) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own with one thread."""
    folder.mkdir(exist_ok=True)
    request = folder / "request.json"
    request.write_text(json.dumps(asked), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CHILD), str(request)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def assert_same(a: Mapping[str, Array], b: Mapping[str, Array]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def spec(family: str, classes: int = 2) -> ModelSpec:
    return ModelSpec(toy_entry(family).architecture, SIDE, classes)


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
    assert engine.run({"image": np.zeros((1, 3, SIDE, SIDE), np.float32)})["logits"].shape == (1, 2)
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
    top1 = (engine.run({"image": images})["logits"].argmax(1) == val.labels).mean()
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
    assert preprocess_at(toy_entry("swinv2"), 24).crop_size == 24


# Repeating and resuming


def test_the_same_seed_gives_the_same_weights_another_seed_others(data: Path, tmp_path: Path) -> None:
    states = [
        read_checkpoint(train(data, tmp_path / str(number), epochs=2, seed=seed).last, toy_entry("pvt_v2")).state
        for number, seed in enumerate((5, 5, 6))
    ]
    assert_same(states[0], states[1])
    assert any(states[0][name].tobytes() != states[2][name].tobytes() for name in states[0])


@pytest.mark.parametrize(("family", "save_steps"), [("pvt_v2", 0), ("swinv2", 4)])
def test_killed_in_the_middle_of_an_epoch_and_resumed_it_ends_the_same(
    data: Path, tmp_path: Path, family: str, save_steps: int
) -> None:
    asked = {"family": family, "data": str(data), "save_steps": save_steps}
    done = child(tmp_path / "a", **asked, out=str(tmp_path / "unbroken"))
    assert done.returncode == 0, done.stderr
    # Six steps an epoch: step 11 is in the middle of the second one.
    killed = child(tmp_path / "b", **asked, out=str(tmp_path / "broken"), kill_at=11)
    assert killed.returncode == -signal.SIGKILL
    position = load_state_file(tmp_path / "broken" / "state.npz").position
    assert (position.epoch, position.step) == (1, save_steps)
    done = child(tmp_path / "c", **asked, out=str(tmp_path / "broken"), resume=True)
    assert done.returncode == 0, done.stderr
    one, other = (load_state_file(tmp_path / name / "state.npz") for name in ("unbroken", "broken"))
    assert_same(one.weights, other.weights)
    assert_same(one.ema, other.ema)
    assert_same(one.optimizer, other.optimizer)
    assert one.position == other.position
    for name in ("best.pdparams", "last.pdparams"):
        assert (tmp_path / "unbroken" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    losses = [
        [r.get("loss", r.get("val_loss")) for r in read_records(tmp_path / name / "metrics.jsonl")]
        for name in ("unbroken", "broken")
    ]
    assert losses[0] == losses[1]


def test_resuming_another_training_is_refused(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, epochs=2)
    with pytest.raises(TrainingError, match=r"another training.*recipe lr was 0.003, now 0.001"):
        train(data, tmp_path, epochs=2, lr=1e-3, resume=True)
    with pytest.raises(TrainingError, match="has a training in it"):
        train(data, tmp_path, epochs=2)


def test_resuming_a_finished_training_changes_nothing(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, epochs=2)
    before = (tmp_path / "state.npz").read_bytes()
    outcome = train(data, tmp_path, epochs=2, resume=True)
    assert (tmp_path / "state.npz").read_bytes() == before
    assert outcome.best_top1 == load_state_file(tmp_path / "state.npz").position.best_top1


def test_resuming_from_a_damaged_state_says_so(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, epochs=2)
    whole = (tmp_path / "state.npz").read_bytes()
    for length in (1000, 0):
        (tmp_path / "state.npz").write_bytes(whole[:length])
        with pytest.raises(TrainingError, match=r"state\.npz cannot be read.*to start anew, remove it"):
            train(data, tmp_path, epochs=2, resume=True)


def test_a_wrong_resume_changes_nothing(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, epochs=2)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(TrainingError, match="another training"):
        train(data, tmp_path, "swinv2", epochs=2, classes=["1", "0"], resume=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_killed_before_the_first_state_nothing_is_recorded_twice(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert child(tmp_path / "a", family="pvt_v2", data=str(data), out=str(out), kill_at=3).returncode == -signal.SIGKILL
    assert len(read_records(out / "metrics.jsonl")) == 3
    names = ("state.npz", "best.pdparams", "last.pdparams", "metrics.jsonl")
    leftovers = [out / f".{name}.0123456789ab.tmp" for name in names]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    (out / ".notes.tmp").write_text("the user's own")
    train(data, out, epochs=2, log_steps=1)
    steps = [record["step"] for record in read_records(out / "metrics.jsonl") if record["kind"] == "step"]
    assert steps == list(range(1, 13))
    assert [file.name for file in out.glob(".*")] == [".notes.tmp"]


def test_what_stops_a_validation_does_not_cost_its_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder_of_images(tmp_path / "data", damaged=0)
    monkeypatch.setattr(validation, "MAX_KEPT_BYTES", 0)
    train(data, tmp_path / "unbroken", epochs=2, batch_size=8, log_steps=1)
    image = sorted((data / "val").rglob("*.png"))[0]
    whole = image.read_bytes()
    image.write_bytes(whole[:60])
    with pytest.raises(DatasetError, match="is damaged"):
        train(data, tmp_path / "broken", epochs=2, batch_size=8, log_steps=1)
    position = load_state_file(tmp_path / "broken" / "state.npz").position
    assert (position.epoch, position.step) == (0, 3)
    image.write_bytes(whole)
    progress = Recorder()
    train(data, tmp_path / "broken", epochs=2, batch_size=8, log_steps=1, resume=True, progress=progress)
    assert progress.messages == ["resumed at epoch 1, its validation"]
    one, other = (load_state_file(tmp_path / name / "state.npz") for name in ("unbroken", "broken"))
    assert_same(one.weights, other.weights)
    assert_same(one.optimizer, other.optimizer)
    assert one.position == other.position
    kinds = [
        [
            (r["kind"], r["step"], r.get("loss", r.get("val_loss")))
            for r in read_records(tmp_path / name / "metrics.jsonl")
        ]
        for name in ("unbroken", "broken")
    ]
    assert kinds[0] == kinds[1]


# What goes wrong


def test_a_loss_that_is_no_number_stops_at_its_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_validation_loss_that_is_no_number_stops_before_the_weights_are_written(
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


def folder_of_images(root: Path, *, damaged: int) -> Path:
    for split, count in (("train", 24), ("val", 8)):
        images, labels = separable(count, 2, 3)
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            folder = root / split / ("dark", "bright")[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    for file in sorted((root / "train").rglob("*.png"))[:damaged]:
        file.write_bytes(file.read_bytes()[:60])
    return root


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
    with pytest.raises(DatasetError, match="only the class 'class 1', but a classifier tells at least 2 apart"):
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


# Parts


def test_weight_decay_leaves_norms_biases_and_position_biases_alone() -> None:
    network = Network(spec("swinv2"), toy_recipe(), compiled=False)
    optimizer = Optimizer(network.parameters, toy_recipe(weight_decay=0.5, clip_norm=0.0))
    before = network.state()
    # Adam's own step is zero where the gradient is: what moves is decayed.
    for parameter in network.parameters.values():
        (parameter.sum() * 0.0).backward()
    optimizer.step(0.1)
    after = network.state()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert "layers.0.blocks.0.attn.qkv.weight" in moved
    assert "patch_embed.proj.weight" in moved
    assert not any("norm" in n or "bias" in n or "logit_scale" in n or "cpb_mlp" in n for n in moved)
    np.testing.assert_allclose(after["head.weight"], before["head.weight"] * (1 - 0.1 * 0.5), rtol=1e-6)


def test_the_average_of_the_weights_against_its_definition() -> None:
    layer = paddle.nn.Linear(1, 1)
    parameters = dict(layer.named_parameters())
    ema = Ema(parameters, 0.9)
    expected = {name: value.numpy().copy() for name, value in parameters.items()}
    for step in range(120):
        layer.weight.set_value(np.full((1, 1), step, np.float32))
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected["weight"] = decay * expected["weight"] + (1 - decay) * step
    np.testing.assert_allclose(ema.state()["weight"], expected["weight"], rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_under_training_is_the_reference(family: str, compiled: bool) -> None:
    recipe = toy_recipe(drop_path=0.0)
    network = Network(spec(family), recipe, compiled=compiled)
    if family == "pvt_v2":
        assert any(isinstance(layer, DenseDepthwiseConv) for layer in network.model.sublayers())
    reference = build_model(spec(family), drop_path_rate=0.0)
    load_state(reference, network.state())
    images = np.random.default_rng(0).standard_normal((3, 3, SIDE, SIDE)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    loss, logits = network.loss(images, targets, 1 / 3, None)
    loss.backward()
    expected = reference(paddle.to_tensor(images))
    np.testing.assert_allclose(logits, expected.numpy(), atol=2e-6)
    expected_loss = paddle.nn.functional.cross_entropy(expected, paddle.to_tensor(targets), soft_label=True)
    expected_loss.backward()
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-5)
    for name, parameter in reference.named_parameters():
        np.testing.assert_allclose(network.parameters[name].grad.numpy(), parameter.grad.numpy(), atol=2e-6)


@pytest.mark.parametrize("side", [1, 2, 5])
def test_the_dense_depthwise_convolution_is_the_convolution(side: int) -> None:
    layer = DepthwiseConv(6, side)
    tokens = paddle.randn([2, side * side, 6])
    np.testing.assert_allclose(DenseDepthwiseConv(layer, side)(tokens).numpy(), layer(tokens).numpy(), atol=1e-5)


def test_stochastic_depth_keeps_the_expectation_and_shards_alike() -> None:
    network = Network(spec("pvt_v2"), toy_recipe(drop_path=0.5), compiled=False)
    kept = network.draw_depths(0, 0, 4000)
    assert kept is not None
    assert kept.shape[1:] == (4000, 1, 1)
    # Rates of the three blocks 0, 0.25 and 0.5, twice each: attention and MLP; the first block has none.
    assert len(kept) == 2
    np.testing.assert_allclose(kept.mean(axis=(1, 2, 3)), 1.0, atol=0.06)
    assert set(np.unique(kept[1]).tolist()) == {0.0, 2.0}


def test_images_kept_in_memory_get_the_pixels_of_evaluation(data: Path) -> None:
    dataset, crop = open_dataset(data, "train"), toy_entry("pvt_v2").preprocess
    damaged = Damaged("stop", print)
    pixels, readable = evaluation_crops(dataset, crop, damaged, threads=2)
    still = toy_recipe(shift=0, flip=0.0, erase=0.0)
    from onnxzoo.image import preprocess

    for source in (KeptImages(pixels, readable, still, crop), ReadImages(dataset, still, crop, damaged, 1)):
        images, _ = source.load(np.array([3, 1]), epoch=0)
        np.testing.assert_array_equal(images[0], preprocess(dataset.image(3), crop))
        np.testing.assert_array_equal(images[1], preprocess(dataset.image(1), crop))


def test_an_image_gets_the_same_augmentation_in_any_batch(data: Path) -> None:
    dataset, crop = open_dataset(data, "train"), toy_entry("pvt_v2").preprocess
    damaged = Damaged("stop", print)
    kept = KeptImages(*evaluation_crops(dataset, crop, damaged, 1), toy_recipe(), crop)
    read = ReadImages(dataset, toy_recipe(crop="resized", rand_layers=2), crop, damaged, 2)
    for source in (kept, read):
        together, _ = source.load(np.arange(20), epoch=1)
        alone, _ = source.load(np.array([7]), epoch=1)
        later, _ = source.load(np.array([7]), epoch=2)
        assert np.array_equal(together[7], alone[0])
        assert not np.array_equal(later[0], alone[0])


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


def test_idx_data_that_does_not_fit_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", *separable(8, 2, 0))
    with pytest.raises(DatasetError, match="has no split 'val'"):
        train(tmp_path, tmp_path / "o")
