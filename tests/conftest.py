"""Fixtures that more than one test file uses."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_onnxruntime import CUDA, L40S, TENSORRT, FakeOnnxRuntime
from hub_server import LoopbackHub
from PIL import Image
from tiny import COLOURS, write_artifact

from onnxzoo.cpu import cpu
from onnxzoo.engines import auto_precision, nvidia, nvidia_loading, onnxruntime_library

# No test reaches out or sees the user's own cache of the Hub, not even one that forgets the fixture `loopback`.
# huggingface_hub reads these when it is imported.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": tempfile.mkdtemp(prefix="onnxzoo-no-hub-")}
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
# Nor does a library that a test imports by itself (see onnxzoo.engines.telemetry).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def pytest_report_header() -> list[str]:
    """What the tests run on: engines choose other kernels on other processors."""
    return [f"CPU: {cpu()}"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first: of several processes none begins one when the others have nothing left."""
    long = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("paddle")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for every test: none may see or change the user's own, nor what other processes left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ONNXZOO_CACHE", str(folder))
    monkeypatch.delenv("ONNXZOO_NAMESPACE", raising=False)
    return folder


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """The package's log as in a new process: the command line makes it write to stderr, for the rest of the process.

    Put back before the test, too: fixtures of a module, which come before this one, may have called it.
    """
    log = logging.getLogger("onnxzoo")
    log.setLevel(logging.NOTSET)
    log.handlers.clear()
    yield
    log.setLevel(logging.NOTSET)
    log.handlers.clear()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A valid artifact folder of the colour classifier."""
    return write_artifact(tmp_path / "tiny")


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU on which int8 is faster than fp32, as `precision="auto"` sees it."""
    found = replace(cpu(), instruction_sets=("avx2", "avx512_vnni"))
    monkeypatch.setattr(auto_precision, "cpu", lambda: found)


@pytest.fixture
def model_file(tiny: Path) -> Path:
    """The ONNX file of the colour classifier."""
    return tiny / "onnx" / "model.onnx"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a driver, a GPU and all libraries."""
    monkeypatch.setattr(nvidia, "driver_fault", lambda: None)
    monkeypatch.setattr(nvidia, "gpu", lambda index=0: replace(L40S, index=index))
    monkeypatch.setattr(nvidia_loading, "missing", lambda names: {})
    monkeypatch.setattr(nvidia_loading, "load_all", lambda package, major: None)
    monkeypatch.setattr(nvidia_loading, "tensorrt_version", lambda name: "10.13.2")
    monkeypatch.setattr(nvidia_loading, "runtime_version", lambda major: "13.0")
    monkeypatch.setattr(nvidia, "cuda_is_loaded", lambda: None)
    monkeypatch.setenv(nvidia.TF32_VARIABLE, "")  # so that it is put back after the test
    monkeypatch.setattr(onnxruntime_library, "installed_packages", lambda: {"onnxruntime-gpu": "1.31.1"})


@pytest.fixture
def ort(gpu: None, monkeypatch: pytest.MonkeyPatch) -> FakeOnnxRuntime:
    """An onnxruntime and a plugin of TensorRT-RTX on that machine, which are stand-ins."""
    fake = FakeOnnxRuntime(TENSORRT, CUDA)
    plugin = types.ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
    plugin.__version__ = "0.5.0"  # type: ignore[attr-defined]
    plugin.get_library_path = lambda: "/somewhere/libonnxruntime_providers_nv_tensorrt_rtx.so"  # type: ignore[attr-defined]
    monkeypatch.setattr(nvidia_loading, "load_carried", lambda library, name: fake.carried.append(name))
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", plugin)
    return fake


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one plain image per colour: black.png, red.png, green.png, blue.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (48, 40), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark takes milliseconds for each sample, and multiplies small matrices."""
    from onnxzoo.bench import products, run, timing

    monkeypatch.setattr(timing, "WARM_MS", 1.0)
    monkeypatch.setattr(run, "SAMPLE_S", 0.002)
    monkeypatch.setattr(products, "SIDE", 32)


@pytest.fixture
def batch() -> np.ndarray:
    """Three different preprocessed images, float32 [3, 3, 32, 32]."""
    return np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """A Hub on loopback that huggingface_hub uses in this process and, by the environment, in its children.

    huggingface_hub reads the environment once, when it is imported: what it made of it is replaced, too.
    There is no token; set HF_TOKEN to `hub_server.WRITE_TOKEN` or READ_TOKEN to have one.
    """
    from huggingface_hub import constants, hf_api

    hub = LoopbackHub()
    home = tmp_path_factory.mktemp("hf_home")
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {**hub.environment, "HF_HOME": str(home)}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
    yield hub
    hub.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that huggingface_hub and onnxzoo.hub would have waited before they tried again; they do not wait."""
    from huggingface_hub import file_download
    from huggingface_hub.utils import _http

    from onnxzoo.hub import client

    waited: list[float] = []
    clock = types.SimpleNamespace(**{**vars(time), "sleep": waited.append})
    monkeypatch.setattr(_http, "time", clock)
    monkeypatch.setattr(file_download, "time", clock)
    monkeypatch.setattr(client, "time", clock)
    return waited


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The seeded models of `faults.py` by name, each exported once; for tests that need Paddle."""
    from faults import make_zoo

    return functools.cache(lambda name: make_zoo(name, tmp_path_factory.mktemp("zoo")))
