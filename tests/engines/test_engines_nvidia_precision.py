"""The arithmetic of NVIDIA GPUs: TF32 off for fp32, files and flags of the other precisions."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fake_onnxruntime import CPU, CUDA, L40S, TENSORRT

from onnxzoo.engines import create_engine, nvidia, nvidia_loading
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import ModelFile, ModelFiles
from onnxzoo.errors import EngineUnavailableError, InputError


def files(tiny: Path, *precisions: str) -> ModelFiles:
    """The tiny model, said to be there in these precisions."""
    path = tiny / "onnx" / "model.onnx"
    return ModelFiles(precisions, lambda precision: ModelFile(path, precision=precision))


def test_fp32_on_cuda_has_no_tf32_and_auto_says_that_it_has(ort, model_file, monkeypatch):
    assert create_engine("cuda", model_file).info.precision == "fp32"
    assert ort.sessions[-1].wanted[CUDA] == {
        "device_id": "0",
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    fast = EngineOptions(precision="auto")
    assert create_engine("cuda:1", model_file, fast).info.precision == "tf32"
    assert ort.sessions[-1].wanted[CUDA]["use_tf32"] == "1"
    assert ort.sessions[-1].wanted[CUDA]["device_id"] == "1"
    monkeypatch.setenv(nvidia.TF32_VARIABLE, "0")
    assert create_engine("cuda", model_file, fast).info.precision == "fp32"
    monkeypatch.setenv(nvidia.TF32_VARIABLE, "")
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, capability=(7, 5)))
    assert create_engine("cuda", model_file, fast).info.precision == "fp32"


@pytest.mark.parametrize("name", ["cuda", "tensorrt-rtx", "tensorrt"])
def test_fp16_needs_an_fp16_file(ort, tiny, name):
    for precision in ("auto", "fp16"):
        engine = create_engine(name, files(tiny, "fp32", "fp16"), EngineOptions(precision=precision))
        assert engine.info.precision == "fp16"
    with pytest.raises(InputError, match=r"computes in fp16 from an ONNX file in fp16; the model has fp32, int8"):
        create_engine(name, files(tiny, "fp32", "int8"), EngineOptions(precision="fp16"))
    for precision in ("bf16", "int8") if name != "tensorrt" else ():
        with pytest.raises(InputError, match=rf"'{name}' has no precision '{precision}' \(it has fp32, auto, fp16\)"):
            create_engine(name, files(tiny, "fp32", "int8"), EngineOptions(precision=precision))


@pytest.mark.parametrize(
    ("asked", "there", "flags", "stated"),
    [
        ("fp32", ["fp32"], set(), "fp32"),
        ("auto", ["fp32"], set(), "tf32"),
        ("auto", ["fp32", "fp16"], set(), "fp16"),
        ("fp16", ["fp32", "fp16"], set(), "fp16"),
        ("bf16", ["fp32"], {"trt_bf16_enable"}, "bf16"),
        ("int8", ["fp32", "int8"], set(), "int8"),
    ],
)
def test_precisions_of_tensorrt_come_from_the_file_and_bf16_from_a_flag(ort, tiny, asked, there, flags, stated):
    engine = create_engine("tensorrt", files(tiny, *there), EngineOptions(precision=asked))
    assert engine.info.precision == stated
    settings = ort.sessions[-1].wanted[TENSORRT]
    assert {name for name, value in settings.items() if value == "True" and "cache" not in name} == flags
    assert {"trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable"} <= settings.keys(), "none is left to a default"


def test_bf16_needs_a_gpu_that_has_it(ort, model_file, monkeypatch):
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, name="Tesla T4", capability=(7, 5)))
    with pytest.raises(EngineUnavailableError, match=r"Tesla T4 has no bf16: .* 8\.0"):
        create_engine("tensorrt", model_file, EngineOptions(precision="bf16"))


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_fp32_turns_tf32_off_before_cuda_starts_or_refuses(ort, model_file, monkeypatch, name):
    create_engine(name, model_file)
    assert os.environ[nvidia.TF32_VARIABLE] == "0"
    monkeypatch.setenv(nvidia.TF32_VARIABLE, "1")
    monkeypatch.setattr(nvidia, "cuda_is_loaded", lambda: "libcublas.so.13")
    with pytest.raises(EngineUnavailableError, match=r"libcublas.so.13 was loaded before.*NVIDIA_TF32_OVERRIDE=0 bef"):
        create_engine(name, model_file)
    monkeypatch.setenv(nvidia.TF32_VARIABLE, "0")
    assert create_engine(name, model_file).info.precision == "fp32"


REFUSALS = {
    "a missing library": (
        lambda patch: patch.setattr(nvidia_loading, "missing", lambda names: dict.fromkeys(names, "gone"))
    ),
    "the wrong package": lambda patch: patch.setattr(sys.modules["onnxruntime"], "providers", [CPU]),
    "an old driver": lambda patch: patch.setattr(nvidia, "gpu", lambda index: replace(L40S, cuda=(11, 0))),
    "no package": lambda patch: patch.setitem(sys.modules, "onnxruntime", None),
    "a session that fails": lambda patch: patch.setattr(sys.modules["onnxruntime"], "fails", "CUDA failure 2"),
}


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("before", [None, "1", "0"])
def test_a_refused_tensorrt_leaves_the_process_as_it_was(ort, model_file, monkeypatch, name, refusal, before):
    if (name, refusal) in {("tensorrt-rtx", "a missing library"), ("tensorrt-rtx", "the wrong package")}:
        pytest.skip("it brings its own")
    if before is None:
        monkeypatch.delenv(nvidia.TF32_VARIABLE)
    else:
        monkeypatch.setenv(nvidia.TF32_VARIABLE, before)
    with monkeypatch.context() as patch:
        REFUSALS[refusal](patch)
        with pytest.raises(EngineUnavailableError):
            create_engine(name, model_file)
    assert os.environ.get(nvidia.TF32_VARIABLE) == before
    # What succeeds keeps it, whoever is refused afterwards.
    create_engine(name, model_file)
    REFUSALS[refusal](monkeypatch)
    with pytest.raises(EngineUnavailableError):
        create_engine(name, model_file)
    assert os.environ[nvidia.TF32_VARIABLE] == "0"


def test_a_tensorrt_that_auto_passes_over_leaves_the_process_as_it_was(ort, model_file, monkeypatch):
    create_engine("tensorrt", model_file)
    monkeypatch.setenv(nvidia.TF32_VARIABLE, "")
    loaded: list[str] = []
    monkeypatch.setattr(nvidia_loading, "missing", lambda names: loaded.extend(names) or {})
    monkeypatch.setattr(nvidia, "cuda_is_loaded", lambda: loaded[0] if loaded else None)
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, driver="590.1"))
    info = create_engine("auto", model_file, EngineOptions()).info
    assert info.name == "cuda"
    assert os.environ[nvidia.TF32_VARIABLE] == ""


def test_a_refused_tensorrt_can_be_asked_for_again_when_its_libraries_are_loaded(ort, model_file, monkeypatch):
    loaded: list[str] = []
    monkeypatch.setattr(nvidia_loading, "missing", lambda names: loaded.extend(names) or {})
    monkeypatch.setattr(nvidia, "cuda_is_loaded", lambda: loaded[0] if loaded else None)
    ort.fails = "CUDA failure 2: out of memory"
    with pytest.raises(EngineUnavailableError, match="out of memory"):
        create_engine("tensorrt", model_file)
    ort.fails = ""
    assert create_engine("tensorrt", model_file).info.precision == "fp32"


def test_one_that_is_refused_leaves_tf32_off_for_another_that_is_being_opened(ort, model_file, monkeypatch):
    monkeypatch.delenv(nvidia.TF32_VARIABLE)
    with nvidia.without_tf32("tensorrt"):
        with pytest.raises(EngineUnavailableError), nvidia.without_tf32("tensorrt"):
            raise EngineUnavailableError
        assert nvidia.tf32_is_off()
    assert nvidia.tf32_is_off()


def test_precision_auto_leaves_the_process_alone(ort, model_file, monkeypatch):
    monkeypatch.delenv(nvidia.TF32_VARIABLE)
    create_engine("tensorrt", model_file, EngineOptions(precision="auto"))
    assert not nvidia.tf32_is_off()
