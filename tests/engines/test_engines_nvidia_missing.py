"""What an NVIDIA GPU needs and is not there: packages, libraries, drivers, devices."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest
from fake_onnxruntime import CPU, GPU_ENGINES, L40S, FakeOnnxRuntime

from onnxzoo.engines import create_engine, nvidia, nvidia_loading, onnxruntime_library
from onnxzoo.engines.onnxruntime_tensorrt import needed_major
from onnxzoo.errors import EngineUnavailableError, InputError


def test_onnxruntime_without_cuda_is_named_as_the_wrong_package(ort, model_file, monkeypatch):
    ort.providers = [CPU]
    monkeypatch.setattr(onnxruntime_library, "installed_packages", lambda: {"onnxruntime": "1.31.1"})
    with pytest.raises(
        EngineUnavailableError,
        match=r"onnxruntime 1\.31\.1 has no CUDAExecutionProvider \(it has CPUExecutionProvider\); "
        r"pip uninstall -y onnxruntime && pip install 'onnxzoo\[gpu\]'",
    ):
        create_engine("cuda", model_file)


def test_both_packages_at_once_are_named_as_the_fault_that_they_are(ort, model_file, monkeypatch):
    ort.providers = [CPU]
    both = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.0"}
    monkeypatch.setattr(onnxruntime_library, "installed_packages", lambda: both)
    with pytest.raises(
        EngineUnavailableError,
        match=r"onnxruntime 1\.31\.1 and onnxruntime-gpu 1\.31\.0 are both installed and overwrite each other's files"
        r".*; pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxzoo\[gpu\]'",
    ):
        create_engine("cuda", model_file)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_missing_library_is_named_with_the_systems_message(ort, model_file, monkeypatch, name):
    message = "libcudnn.so.9: cannot open shared object file: No such file or directory"
    monkeypatch.setattr(nvidia_loading, "missing", lambda names: {n: message for n in names if "cudnn" in n})
    with pytest.raises(
        EngineUnavailableError, match=rf"CUDA 13\.0 and cuDNN 9 did not load \({message}\): pip install"
    ):
        create_engine(name, model_file)
    assert not ort.sessions


def test_an_old_driver_is_named_with_the_one_that_is_needed(ort, model_file, monkeypatch):
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, driver="550.54.14", cuda=(12, 4)))
    for name in GPU_ENGINES:
        with pytest.raises(
            EngineUnavailableError, match=r"550\.54\.14 is too old: .* up to 12\.4, CUDA 13 .*driver 580"
        ):
            create_engine(name, model_file)
    ort.cuda_version = "12.8"
    assert create_engine("cuda", model_file).info.name == "cuda"


@pytest.mark.parametrize("others", [[], ["libnvinfer.so.11"]])
def test_the_wrong_tensorrt_is_named(ort, model_file, monkeypatch, others):
    message = "libnvinfer.so.10: cannot open shared object file"
    monkeypatch.setattr(nvidia_loading, "missing", lambda names: {n: message for n in names if n == "libnvinfer.so.10"})
    monkeypatch.setattr(nvidia_loading, "other_versions", lambda stem: others)
    only = "; only libnvinfer.so.11 is here" if others else ""
    with pytest.raises(EngineUnavailableError) as caught:
        create_engine("tensorrt", model_file)
    assert str(caught.value) == (
        f"TensorRT 10 is needed and did not load ({message}){only}: pip install 'tensorrt-cu13-libs>=10,<11' (PyPI "
        "has an installer only, which fetches the libraries from NVIDIA's own package index)"
    )


def test_the_version_of_tensorrt_is_read_from_the_provider(tmp_path):
    module = ModuleType("onnxruntime")
    module.__file__ = str(tmp_path / "__init__.py")
    assert needed_major(module) == 10
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_tensorrt.so").write_bytes(b"\0libnvinfer.so.12\0libc.so.6\0")
    assert needed_major(module) == 12


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda ort, patch: patch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None),
            "is not installed: pip",
        ),
        (lambda ort, patch: setattr(ort, "fails", "Failed to load library x"), "did not load: Failed to load library"),
        (lambda ort, patch: setattr(ort, "buses", []), "finds no GPU that it supports"),
        (
            lambda ort, patch: patch.delattr(FakeOnnxRuntime, "register_execution_provider_library"),
            "too old for plugins",
        ),
        (
            lambda ort, patch: patch.setattr(nvidia_loading, "load_carried", lambda library, name: f"{name}: gone"),
            r"did not load: .*libcudart\.so\.13: cannot open shared object file; libcudart\.so\.13: gone; reinstall",
        ),
    ],
)
def test_what_tensorrt_rtx_lacks_is_named(ort, model_file, monkeypatch, break_it, message):
    break_it(ort, monkeypatch)
    with pytest.raises(EngineUnavailableError, match=message):
        create_engine("tensorrt-rtx", model_file)


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_a_device_is_a_number_that_exists(ort, model_file, monkeypatch, name):
    with pytest.raises(InputError, match=f"{name}:first: the device must be a GPU's number"):
        create_engine(f"{name}:first", model_file)
    assert create_engine(f"{name}:0", model_file).info.device == "cuda:0 NVIDIA L40S"
