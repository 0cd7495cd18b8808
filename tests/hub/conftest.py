"""Fixtures of the tests of the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_publishing import NAME
from hub_server import WRITE_TOKEN, LoopbackHub
from hub_tiny import REPO, two_precisions
from recorded import copy


@pytest.fixture
def hub(loopback: LoopbackHub, tiny: Path) -> LoopbackHub:
    """The loopback Hub with the tiny artifact as someone/tiny."""
    loopback.store.add_repo(REPO, tiny)
    return loopback


@pytest.fixture
def with_int8(loopback: LoopbackHub, tmp_path: Path) -> Path:
    """someone/two, of which `auto` takes the int8 file; its folder."""
    folder = two_precisions(tmp_path / "two", "int8")
    loopback.store.add_repo("someone/two", folder)
    return folder


@pytest.fixture
def token(loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub, and a token that may write."""
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A validated artifact, to be published."""
    return copy(NAME, tmp_path / "artifact")
