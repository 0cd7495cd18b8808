"""Exporting several models: which are there already, what their processes say, and checkpoints in a folder."""

from __future__ import annotations

import logging
import shutil
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from onnxzoo.exports import many
from onnxzoo.exports.many import Job, Result, already_exported, export_many, find_weights

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import InputError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.registry import find

NAME = "pvt_v2_nano_fashion"
CHECKPOINTS = Path(__file__).parents[2] / "training" / "checkpoints"


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an artifact that ships, as if these tools had made it of the checkpoint beside it."""
    folder = tmp_path / "out"
    shutil.copytree(SHIPPED_DIR / NAME, folder)
    monkeypatch.setattr(many, "tool_versions", lambda: dict(read_artifact(folder).tools))
    return folder


@pytest.fixture(scope="module")
def weights() -> Path:
    (file,) = (path for path in CHECKPOINTS.rglob("*.pdparams") if NAME in str(path))
    return file


def test_what_the_same_tools_made_of_the_same_checkpoint_is_there_already(exported, weights):
    found = already_exported(Job(NAME, weights=weights, out=exported, image_size=32))
    assert found is not None
    assert found.folder == exported


def test_anything_else_is_exported_again(exported, weights, tmp_path, monkeypatch):
    other = tmp_path / "other.pdparams"
    other.write_bytes(b"other weights")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"class of {number}" for number in range(10)), encoding="utf-8")
    again = [
        Job(NAME, weights=other, out=exported),
        Job(NAME, weights=weights, out=tmp_path / "elsewhere"),
        Job(NAME, weights=weights, out=exported, image_size=64),
        Job(NAME, weights=weights, out=exported, labels_file=labels),
        Job("pvt_v2_b0", weights=weights, out=exported),
        # It was made of a file, not of the download.
        Job("pvt_v2_b0", out=exported),
    ]
    assert [already_exported(job) for job in again] == [None] * len(again)
    job = Job(NAME, weights=weights, out=exported)
    monkeypatch.setattr(many, "tool_versions", lambda: {"onnxzoo": "0.0.1"})
    assert already_exported(job) is None


def test_a_damaged_artifact_is_exported_again(exported, weights):
    file = exported / "onnx" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    assert already_exported(Job(NAME, weights=weights, out=exported)) is None


def test_a_checkpoint_is_found_by_the_names_it_may_have(tmp_path):
    entry = find("pvt_v2_b0")
    with pytest.raises(InputError, match=r"expected PVT_V2_B0_pretrained\.pdparams, pvt_v2_b0\.pdparams or pvt_v2"):
        find_weights(entry, tmp_path)
    for name in ("pvt_v2_b0.safetensors", "pvt_v2_b0.pdparams", "PVT_V2_B0_pretrained.pdparams"):
        (tmp_path / name).touch()
        assert find_weights(entry, tmp_path).name == name


class Noted:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def begin(self, *values: object) -> None:
        self.seen.append(("begin", *values))

    def step(self, *values: object) -> None:
        self.seen.append(("step", *values))

    def downloaded(self, *values: object) -> None:
        self.seen.append(("downloaded", *values))


def talk(job: Job, sender: Connection) -> None:
    """What a process says in the course of an export."""
    sender.send(("step", 1, 7, "read the checkpoint"))
    sender.send(("downloaded", 5, None))
    sender.send(("log", "onnxzoo.weights", logging.INFO, "100 % of it"))
    sender.send(Result(job.name, 0.5, error="no" if job.image_size else ""))


@pytest.mark.slow
def test_what_a_process_says_reaches_the_watcher_and_the_log(monkeypatch, caplog):
    monkeypatch.setattr(many, "_work", talk)
    watcher = Noted()
    results = export_many([Job("a", image_size=32), Job("b")], watcher)
    with caplog.at_level(logging.INFO, "onnxzoo"):
        first = next(results)
        assert ("begin", "b", 2, 2) not in watcher.seen, "results come as soon as they are known"
        second = next(results)
    assert (bool(first), first.error, bool(second)) == (False, "no", True)
    told = [("step", 1, 7, "read the checkpoint"), ("downloaded", 5, None)]
    assert watcher.seen == [("begin", "a", 1, 2), *told, ("begin", "b", 2, 2), *told]
    assert [record.getMessage() for record in caplog.records] == ["100 % of it"] * 2
