"""`make pin-sources`: what the Hub announces goes into models.json, and nothing else there changes."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from importlib import resources
from pathlib import Path

import pytest
from hub_server import LoopbackHub

from onnxzoo.registry import models, parse_models

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import pin_sources

REPOS = {entry.name: entry.source.timm_repo for entry in models().values() if entry.source.timm_repo}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of models.json."""
    path = tmp_path / "models.json"
    path.write_bytes(resources.files("onnxzoo").joinpath("models.json").read_bytes())
    return path


def test_commits_and_hashes_are_written_and_everything_else_stays(loopback: LoopbackHub, file: Path) -> None:
    before = file.read_text()
    for round_number in (1, 2):
        for name, repo in REPOS.items():
            loopback.store.add_repo(repo, {"model.safetensors": f"{name} {round_number}".encode()})
        loopback.log.clear()
        assert pin_sources.main(file) == 0
        assert all(one.method == "HEAD" for one in loopback.log.all())
        found = parse_models(json.loads(file.read_text()))
        for name, repo in REPOS.items():
            source = found[name].source
            assert source.timm_commit == loopback.store.repos[repo].branches["main"].sha
            assert source.timm_sha256 == hashlib.sha256(f"{name} {round_number}".encode()).hexdigest()
        plain = re.sub(r', "timm_commit": "[0-9a-f]{40}", "timm_sha256": "[0-9a-f]{64}"', "", file.read_text())
        assert plain == before


def test_nothing_is_written_when_one_repo_is_missing(
    loopback: LoopbackHub, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    loopback.store.add_repo(REPOS["pvt_v2_b0"], {"model.safetensors": b"weights"})
    assert pin_sources.main(file) == 3
    assert file.read_bytes() == before
    assert "is not on the Hub" in capsys.readouterr().err
