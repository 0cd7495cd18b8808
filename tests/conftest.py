"""Fixtures that more than one test file uses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import write_artifact

COLOURS = {"black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for every test: none may see or change the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ONNXZOO_CACHE", str(folder))
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A valid artifact folder of the colour classifier."""
    return write_artifact(tmp_path / "tiny")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one plain image per colour: black.png, red.png, green.png, blue.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (48, 40), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def batch() -> np.ndarray:
    """Three different preprocessed images, float32 [3, 3, 32, 32]."""
    return np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The seeded models of `faults.py` by name, each exported once; for tests that need Paddle."""
    from faults import make_zoo

    return functools.cache(lambda name: make_zoo(name, tmp_path_factory.mktemp("zoo")))
