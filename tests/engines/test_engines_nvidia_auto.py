"""`auto` on a machine with an NVIDIA GPU: what it takes, what it leaves and what it says about that."""

from __future__ import annotations

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from fake_onnxruntime import CPU, CUDA, L40S, TENSORRT
from filelock import FileLock
from tiny import tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import create_engine, nvidia, onnxruntime_library
from onnxzoo.engines.options import EngineOptions


def test_auto_takes_tensorrt_only_where_its_plan_is_built(ort, model_file):
    info = create_engine("auto", model_file).info
    assert info.name == "cuda"
    assert info.considered == (
        (
            "tensorrt",
            "no tensorrt engine was built for this model, GPU and batch size; build it ahead: onnxzoo warmup MODEL "
            "--engine tensorrt --batch-size 8",
        ),
    )
    assert ort.builds == 0
    create_engine("tensorrt", model_file)
    assert create_engine("auto", model_file).info.name == "tensorrt"
    # A larger batch than it was built for: not that plan.
    assert create_engine("auto", model_file, EngineOptions(batch_size=9)).info.name == "cuda"
    assert ort.builds == 1


@pytest.mark.parametrize(("size", "served"), [(None, 16), (2, 4), (4, 4), (5, 16), (16, 16), (17, 32), (33, None)])
def test_auto_takes_the_smallest_plan_that_is_large_enough(ort, model_file, batch, size, served):
    for built in (32, 4, 16):
        create_engine("tensorrt", model_file, EngineOptions(batch_size=built))
    engine = create_engine("auto", model_file, EngineOptions(batch_size=size))
    assert ort.builds == 3
    if served is None:
        assert engine.info.name == "cuda"
        return
    assert (engine.info.name, engine.max_batch) == ("tensorrt", served)
    assert engine.warm()[0].batch_size == served  # type: ignore[attr-defined]
    assert ort.sessions[-1].wanted[TENSORRT]["trt_profile_max_shapes"] == f"pixel_values:{served}x3x32x32"
    for output, expected in tiny_outputs(batch).items():
        np.testing.assert_array_equal(engine.run({INPUT_NAME: batch})[output], expected)


def test_a_larger_plan_of_another_driver_or_precision_or_with_a_strange_manifest_serves_nobody(
    ort, model_file, monkeypatch
):
    create_engine("tensorrt", model_file, EngineOptions(batch_size=32, precision="bf16"))
    (built,) = create_engine("tensorrt", model_file, EngineOptions(batch_size=16)).warm()  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(nvidia, "gpu", lambda index: replace(L40S, driver="590.1"))
        assert create_engine("auto", model_file).info.name == "cuda"
    manifest = json.loads((built.folder / "manifest.json").read_text())
    for strange in ([], [1, 16, "16"], "16", None, [True], [2**80], {"max": 16}):
        manifest["facts"]["profile"] = strange
        (built.folder / "manifest.json").write_text(json.dumps(manifest))
        assert create_engine("auto", model_file).info.name == "cuda"
    for text in ("", "[]", '{"files": {}, "facts": 3}'):
        (built.folder / "manifest.json").write_text(text)
        assert create_engine("auto", model_file).info.name == "cuda"
    assert ort.builds == 2


def test_a_named_tensorrt_is_built_for_the_batch_that_was_asked_for(ort, model_file):
    create_engine("tensorrt", model_file, EngineOptions(batch_size=32))
    assert create_engine("tensorrt", model_file, EngineOptions(batch_size=8)).max_batch == 8
    assert ort.builds == 2


def test_auto_does_not_take_a_plan_of_another_driver(ort, model_file, monkeypatch, caplog):
    create_engine("tensorrt", model_file)
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, driver="590.1"))
    info = create_engine("auto", model_file).info
    assert info.name == "cuda"
    assert "no tensorrt engine was built" in dict(info.considered)["tensorrt"]
    assert ort.builds == 1
    assert not warnings_of(caplog), "a plan that has to be built is nothing to be warned of"


def test_auto_does_not_build_in_the_place_of_a_damaged_plan(ort, model_file):
    (built,) = create_engine("tensorrt", model_file).warm()  # type: ignore[attr-defined]
    next(built.folder.glob("*.engine")).write_bytes(b"plam")
    assert create_engine("auto", model_file).info.name == "cuda"
    assert ort.builds == 1


def test_auto_does_not_wait_for_another_process_that_builds(ort, model_file, cache):
    (built,) = create_engine("tensorrt", model_file).warm()  # type: ignore[attr-defined]
    another = next(built.folder.parent.glob("*.lock"))
    shutil.copytree(built.folder, built.folder.parent / "of another driver")
    shutil.rmtree(built.folder)
    with ThreadPoolExecutor(1) as pool, FileLock(another):
        # In a thread, so that waiting is an error and does not hang the test.
        info = pool.submit(lambda: create_engine("auto", model_file).info).result(timeout=5)
    assert info.name == "cuda"
    assert ort.builds == 1


def test_auto_goes_on_to_the_cpu_when_the_gpu_does_not_really_work(ort, model_file):
    ort.fails_at = {1: "CUDNN_STATUS_EXECUTION_FAILED"}
    pytest.importorskip("openvino")
    info = create_engine("auto", model_file).info
    assert (info.name, info.device) == ("openvino", "CPU")
    assert "CUDNN_STATUS_EXECUTION_FAILED" in dict(info.considered)["cuda"]
    assert "CUDNN_STATUS_EXECUTION_FAILED" in info.reason


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_auto_says_that_it_leaves_a_gpu_that_is_here(ort, model_file, monkeypatch, caplog):
    pytest.importorskip("openvino")
    ort.providers = [CPU]
    monkeypatch.setattr(onnxruntime_library, "installed_packages", lambda: {"onnxruntime": "1.31.1"})
    assert create_engine("auto", model_file).info.name == "openvino"
    (warning,) = warnings_of(caplog)
    assert warning.startswith("a GPU is here but cuda cannot be used: onnxruntime 1.31.1 has no CUDAExecutionProvider")
    assert warning.endswith("&& pip install 'onnxzoo[gpu]'; running on openvino")


def test_auto_says_that_a_plan_which_is_there_is_not_used(ort, model_file, caplog):
    create_engine("tensorrt", model_file)
    caplog.clear()
    ort.nodes = {CUDA: 10}
    assert create_engine("auto", model_file).info.name == "cuda"
    assert warnings_of(caplog) == [
        "a GPU is here but tensorrt cannot be used: TensorrtExecutionProvider takes none of the graph's 10 nodes (10 "
        "on CUDAExecutionProvider); running on cuda"
    ]


@pytest.mark.parametrize("hidden", ["", "-1", None])
def test_auto_warns_of_no_gpu_that_is_not_to_be_used(ort, model_file, monkeypatch, caplog, hidden):
    pytest.importorskip("openvino")
    ort.fails_at = {1: "CUDA failure 100: no CUDA-capable device is detected"}
    monkeypatch.setenv("ONNXZOO_ENGINE", "cuda:0,openvino")
    if hidden is None:
        monkeypatch.setattr(nvidia, "require_driver", lambda engine: None)
        monkeypatch.setattr(nvidia, "driver_fault", lambda: "no NVIDIA driver")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert create_engine("auto", model_file).info.name == "openvino"
    assert not warnings_of(caplog)
    monkeypatch.setattr(nvidia, "driver_fault", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert create_engine("auto", model_file).info.name == "openvino"
    assert len(warnings_of(caplog)) == 1


def test_an_order_named_by_the_user_builds(ort, model_file, monkeypatch):
    monkeypatch.setenv("ONNXZOO_ENGINE", "tensorrt, cuda")
    info = create_engine("auto", model_file).info
    assert info.name == "tensorrt"
    assert info.reason == "auto: the first of ONNXZOO_ENGINE=tensorrt, cuda that works here"
