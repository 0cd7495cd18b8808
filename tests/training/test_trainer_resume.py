"""A training repeats itself, and one that was killed goes on as if it had not been."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.training import validation
from onnxzoo.training.metrics import read_records
from onnxzoo.training.state import load_state_file
from toy_runs import assert_same, child, folder_of_images, train
from toy_training import Recorder, toy_entry

from onnxzoo.errors import DatasetError, TrainingError
from onnxzoo.weights.checkpoint import read_checkpoint

pytestmark = pytest.mark.paddle


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
    with pytest.raises(TrainingError, match=r"training run to resume: .*recipe lr was 0.003, now 0.001"):
        train(data, tmp_path, epochs=2, lr=1e-3, resume=True)
    with pytest.raises(TrainingError, match="contains a training run"):
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
        with pytest.raises(TrainingError, match=r"state\.npz cannot be read.*to start again, remove it"):
            train(data, tmp_path, epochs=2, resume=True)


def test_a_wrong_resume_changes_nothing(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, epochs=2)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(TrainingError, match="differ from those of the training run to resume"):
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
