"""Proof on first use of models from the Hub: the recorded outputs come with the model, or the load does without."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run
from found import find_artifact
from hub_server import LoopbackHub
from hub_tiny import MODEL
from quantizing import write_colours

from onnxzoo import load

REPO = "someone/colours"
VECTORS = "conformance.npz"


@pytest.fixture
def colours(loopback: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    """A Hub with the colour classifier and its recorded outputs."""
    loopback.store.add_repo(REPO, write_colours(tmp_path / "colours"))
    return loopback


def test_a_download_brings_what_a_first_load_offline_needs(colours: LoopbackHub) -> None:
    planned = run("download", REPO, "--dry-run", "--json").stdout
    assert run("download", REPO, "--json").exit_code == 0
    assert (find_artifact(REPO, offline=True) / VECTORS).is_file()
    assert run("download", REPO, "--dry-run", "--json").stdout != planned
    colours.log.clear()
    with load(REPO, engine="openvino", offline=True) as model:
        assert model.engine.verified is True
    assert colours.log.all() == []


def test_a_load_brings_the_recorded_outputs_once(colours: LoopbackHub) -> None:
    for requests in (True, False):
        colours.log.clear()
        with load(REPO, engine="openvino") as model:
            assert model.engine.verified is True
            vectors = model.artifact.folder / VECTORS
        assert any(VECTORS in one.path for one in colours.log.all()) is requests
        vectors.unlink(missing_ok=True)  # a later load does not need them


def test_without_verifying_they_are_not_brought(colours: LoopbackHub) -> None:
    with load(REPO, engine="openvino", verify=False) as model:
        assert not (model.artifact.folder / VECTORS).exists()


def test_offline_a_model_that_came_without_them_runs_unverified(
    colours: LoopbackHub, caplog: pytest.LogCaptureFixture
) -> None:
    find_artifact(REPO)  # as versions did that verified nothing
    with load(REPO, engine="openvino", offline=True) as model:
        assert model.engine.verified is False
        assert "conformance.npz of someone/colours@" in model.engine.verification
    assert "the results of openvino are not verified: conformance.npz of someone/colours@" in caplog.text


def test_where_they_cannot_be_fetched_the_model_runs_unverified(
    colours: LoopbackHub, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    colours.fail(VECTORS, times=1000, status=503)
    with load(REPO, engine="openvino") as model:
        assert model.engine.verified is False
        assert model.engine.verification.startswith("not possible: ")
        assert (model.artifact.folder / MODEL).is_file()
    assert "the results of openvino are not verified" in caplog.text
