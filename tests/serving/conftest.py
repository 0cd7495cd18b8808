"""A server of two models in a thread of this process, once per session."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate import Gate
from PIL import Image
from tiny import COLOURS, LABELS, write_artifact

# Not "kserve": its messages and those of Triton's client have the same names, and the module keeps them apart.
pytest.importorskip("onnxzoo.serving.sdk", exc_type=ImportError)

import onnxzoo
from onnxzoo.serving.server import Address, background
from onnxzoo.serving.settings import Settings


@dataclass(frozen=True)
class Served:
    """A running server, and the models that it serves, in this process."""

    http: str
    grpc: str
    model: onnxzoo.Model


Start = Callable[..., AbstractContextManager[Address]]


@pytest.fixture(scope="session")
def served_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The artifacts of two models: the colour classifier, and the same one with its labels in the opposite order."""
    folder = tmp_path_factory.mktemp("served")
    other = {str(index): label for index, label in enumerate(reversed(LABELS))}
    return (
        write_artifact(folder / "tiny"),
        write_artifact(folder / "other", name="other", changes={"id2label": other}),
    )


@pytest.fixture(scope="session")
def start(served_folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts a server on free ports; its arguments are those of Settings."""

    @contextmanager
    def starting(*folders: Path, **settings: Any) -> Iterator[Address]:
        models = tuple(map(str, folders or served_folders))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ONNXZOO_CACHE", str(tmp_path_factory.mktemp("server-cache")))
            with background(Settings(models, **{"http_port": 0, "grpc_port": 0, **settings})) as address:
                yield address

    return starting


@pytest.fixture(scope="session")
def served(start: Start, served_folders: tuple[Path, Path]) -> Iterator[Served]:
    with start() as address, onnxzoo.load(served_folders[0], verify=False) as model:
        yield Served(address.http, address.grpc, model)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """All models of this process run when the gate is open, as it is at first."""
    found = Gate(onnxzoo.Model.outputs)
    monkeypatch.setattr(onnxzoo.Model, "outputs", lambda model, batch: found(model, batch))
    yield found
    found.open()


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Threads for clients that wait."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture(scope="session")
def tensors() -> np.ndarray:
    """Three preprocessed images, float32 [3, 3, 32, 32]."""
    return np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="session")
def jpegs() -> dict[str, bytes]:
    """An encoded image per colour; JPEG is not valid UTF-8."""
    encoded = {}
    for name, colour in COLOURS.items():
        buffer = io.BytesIO()
        Image.new("RGB", (48, 40), colour).save(buffer, "JPEG")
        encoded[name] = buffer.getvalue()
    return encoded
