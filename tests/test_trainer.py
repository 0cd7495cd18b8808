"""Training: it learns, it repeats itself, it survives being killed, and it says what is wrong."""

from __future__ import annotations

import dataclasses
import json
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

from onnxzoo.training.data import open_dataset
from onnxzoo.training.ema import Ema
from onnxzoo.training.images import Damaged, KeptImages, ReadImages, evaluation_crops
from onnxzoo.training.metrics import read_records
from onnxzoo.training.network import DenseDepthwiseConv, Network
from onnxzoo.training.optimizer import Optimizer
from onnxzoo.training.session import Request, preprocess_at, run
from onnxzoo.training.state import load_state_file
from onnxzoo.training.trainer import Outcome, Trainer
from PIL import Image
from toy_training import SIDE, Recorder, separable, toy_entry, toy_recipe, write_idx, write_separable

from onnxzoo.errors import DatasetError, TrainingError
from onnxzoo.reference.build import ModelSpec, build_model, load_state
from onnxzoo.reference.checkpoint import read_checkpoint
from onnxzoo.reference.engine import PaddleEngine
from onnxzoo.reference.pvt_v2 import DepthwiseConv
from onnxzoo.results import Array

pytestmark = pytest.mark.paddle

CHILD = Path(__file__).parent / "toy_training.py"
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
    engine = PaddleEngine(spec("swinv2"), checkpoint.state)
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
    engine = PaddleEngine(spec("pvt_v2"), read_checkpoint(tmp_path / "last.pdparams", entry).state)
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
    (tmp_path / "state.npz").write_bytes((tmp_path / "state.npz").read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"state\.npz cannot be read"):
        train(data, tmp_path, epochs=2, resume=True)


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
