"""What TensorRT and TensorRT-RTX compile: built once, found again, never used for what it was not built for."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_onnxruntime import L40S, PROVIDERS, RTX, TENSORRT

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import create_engine, nvidia, nvidia_loading
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import CachedEngine, ModelFile
from onnxzoo.errors import EngineError, EngineUnavailableError, InputError


@pytest.mark.parametrize(("size", "largest"), [(None, 8), (1, 1), (32, 32)])
@pytest.mark.parametrize(("name", "prefix"), [("tensorrt", "trt_profile"), ("tensorrt-rtx", "nv_profile")])
def test_the_profile_is_explicit_and_both_ends_of_it_run_before_it_counts(
    ort, model_file, batch, size, largest, name, prefix
):
    engine = create_engine(name, model_file, EngineOptions(batch_size=size))
    session = ort.sessions[-1]
    settings = session.wanted[PROVIDERS[name]]
    assert {key: value for key, value in settings.items() if "shapes" in key} == {
        f"{prefix}_min_shapes": "pixel_values:1x3x32x32",
        f"{prefix}_opt_shapes": f"pixel_values:{largest}x3x32x32",
        f"{prefix}_max_shapes": f"pixel_values:{largest}x3x32x32",
    }
    assert engine.max_batch == largest
    ran = [size for session in ort.sessions for size in session.batches]
    assert ran[:2] == [largest, 1]
    with pytest.raises(InputError, match=rf"opened for batches of 1 to {largest}, got {largest + 1}; split them"):
        engine.run({INPUT_NAME: np.zeros((largest + 1, 3, 32, 32), np.float32)})


def test_a_plan_is_built_once_and_found_again(ort, model_file, caplog):
    with caplog.at_level(logging.INFO):
        first = create_engine("tensorrt", model_file)
    assert (
        "building the TensorRT engine of model.onnx in fp32 for batches of 1 to 8 on cuda:0 NVIDIA L40S" in caplog.text
    )
    assert "done after" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        second = create_engine("tensorrt", model_file)
    assert ort.builds == 1
    assert not caplog.records
    assert isinstance(first, CachedEngine)
    (built,), (found,) = first.warm(), second.warm()
    assert (built.batch_size, built.found, found.found) == (8, False, True)
    assert built.folder == found.folder
    facts = json.loads((built.folder / "manifest.json").read_text())["facts"]
    assert facts["model_sha256"] == ModelFile(model_file).digest()
    assert facts | {"model_sha256": ""} == {
        "engine": "tensorrt",
        "model_sha256": "",
        "gpu": "NVIDIA L40S",
        "compute_capability": [8, 9],
        "driver": "580.65.06",
        "library": "TensorRT 10.13.2",
        "cuda_runtime": "13.0",
        "onnxruntime": "1.31.1",
        "precision": "fp32",
        "profile": [1, 8, 8],
        "tf32_override": "0",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"name": "NVIDIA L4"},
        {"capability": (8, 6)},
        {"driver": "590.1"},
        "tensorrt",
        "onnxruntime",
        "model",
        EngineOptions(batch_size=2),
        EngineOptions(precision="bf16"),
    ],
)
def test_a_plan_never_serves_anything_that_it_was_not_built_for(ort, model_file, monkeypatch, change):
    create_engine("tensorrt", model_file)
    options = change if isinstance(change, EngineOptions) else EngineOptions()
    if isinstance(change, dict):
        monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, **change))
    elif change == "tensorrt":
        monkeypatch.setattr(nvidia_loading, "tensorrt_version", lambda name: "10.14.0")
    elif change == "onnxruntime":
        ort.__version__ = "1.32.0"
    elif change == "model":
        model_file.write_bytes(model_file.read_bytes() + b"\0")
    create_engine("tensorrt", model_file, options)
    assert ort.builds == 2


def test_a_damaged_plan_is_built_again(ort, model_file, caplog):
    (built,) = create_engine("tensorrt", model_file).warm()  # type: ignore[attr-defined]
    next(built.folder.glob("*.engine")).write_bytes(b"plam")
    assert create_engine("tensorrt", model_file).info.name == "tensorrt"
    assert ort.builds == 2
    assert "thrown away and built again: TensorrtExecutionProvider_TRTKernel_graph_" in caplog.text
    assert "_sm89.engine was altered" in caplog.text


OUT_OF_MEMORY = "BFCArena: Failed to allocate memory for requested buffer of size 67108864"


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("build", [True, False])
@pytest.mark.parametrize(
    ("message", "kind"), [(OUT_OF_MEMORY, EngineUnavailableError), ("Non-zero status code", EngineError)]
)
def test_a_compiled_model_that_cannot_run_for_a_moment_is_kept(ort, model_file, caplog, name, build, message, kind):
    (built,) = create_engine(name, model_file).warm()  # type: ignore[attr-defined]
    before, builds = {path: path.stat().st_mtime_ns for path in built.folder.rglob("*")}, ort.builds
    ort.fails_at = {1: message}
    with pytest.raises(kind, match=message) as caught:
        create_engine(name, model_file, EngineOptions(build=build))
    assert type(caught.value) is kind
    assert {path: path.stat().st_mtime_ns for path in built.folder.rglob("*")} == before
    ort.fails_at = {}
    assert create_engine(name, model_file).warm()[0].found  # type: ignore[attr-defined]
    assert (ort.builds, caplog.text) == (builds, "")


@pytest.mark.parametrize("damage", [True, False])
def test_without_leave_to_build_nothing_in_the_cache_is_changed(ort, model_file, cache, damage):
    (built,) = create_engine("tensorrt", model_file).warm()  # type: ignore[attr-defined]
    if damage:
        next(built.folder.glob("*.engine")).write_bytes(b"plam")
    else:
        ort.fails = "TensorRT EP could not deserialize engine from cache"
    before = sorted(cache.rglob("*"))
    with pytest.raises(
        EngineUnavailableError if damage else EngineError,
        match="is damaged .* was altered" if damage else "deserialize",
    ):
        create_engine("tensorrt", model_file, EngineOptions(build=False))
    assert sorted(cache.rglob("*")) == before


def test_without_a_cache_folder_it_runs_and_warns(ort, model_file, monkeypatch, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("ONNXZOO_CACHE", str(blocked))
    for name in ("tensorrt", "tensorrt-rtx"):
        engine = create_engine(name, model_file)
        assert "cannot be written" in caplog.text
        with pytest.raises(InputError, match="could not be kept in the cache folder"):
            engine.warm()  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="name another one"):
            create_engine(name, model_file, EngineOptions(cache=blocked / "mine"))
    settings = ort.sessions[0].wanted
    assert all("cache" not in key for session in ort.sessions for key in session.wanted.get(TENSORRT, {})), settings


def test_timing_caches_are_shared_between_builds_but_never_written_in_place(ort, model_file, cache):
    create_engine("tensorrt", model_file)
    create_engine("tensorrt", model_file, EngineOptions(batch_size=2))
    found = list(cache.rglob("*.timing"))
    assert [path.parent.name for path in found] == ["NVIDIA-L40S-8-9-580.65.06-10.13.2"]
    assert found[0].read_bytes() == b"tt"
    used = [session.wanted.get(TENSORRT, {}).get("trt_timing_cache_path") for session in ort.sessions]
    assert all(path is None or not Path(path).is_relative_to(cache) for path in used)


def test_a_timing_cache_that_cannot_be_written_does_not_cost_the_build(ort, model_file, cache, caplog):
    (cache / "engines" / "tensorrt").mkdir(parents=True)
    (cache / "engines" / "tensorrt" / "timing").write_bytes(b"a file where the folder should be")
    (built,) = create_engine("tensorrt", model_file).warm()  # type: ignore[attr-defined]
    assert ort.builds == 1
    assert built.folder.is_dir()
    assert "the next build takes longer" in caplog.text


def test_sessions_of_tensorrt_rtx_work_on_copies_of_the_cache(ort, model_file, cache):
    engine = create_engine("tensorrt-rtx", model_file)
    (built,) = engine.warm()  # type: ignore[attr-defined]
    used = Path(ort.sessions[-1].options.plugin_settings["nv_runtime_cache_path"])
    assert used.is_dir()
    assert not used.is_relative_to(cache)
    assert list(used.glob("runtime_*.cache")), "the session that compiled has ended before"
    (used / "more.cache").write_bytes(b"written when the session ends")
    engine.close()
    assert not used.exists()
    (found,) = create_engine("tensorrt-rtx", model_file).warm()  # type: ignore[attr-defined]
    assert (found.folder, found.found) == (built.folder, True)
    # What the first session wrote when it ended is in the entry, and later ones did not change it.
    assert [path.read_bytes() for path in built.folder.glob("runtime_*.cache")] == [b"kernels"]
    assert ort.registered == [(RTX, "/somewhere/libonnxruntime_providers_nv_tensorrt_rtx.so")]


def test_tensorrt_rtx_runs_without_its_cache_where_that_cannot_be_copied(ort, model_file, monkeypatch, caplog):
    create_engine("tensorrt-rtx", model_file).close()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    assert create_engine("tensorrt-rtx", model_file).info.name == "tensorrt-rtx"
    assert "nv_runtime_cache_path" not in ort.sessions[-1].options.plugin_settings
    assert "cannot be copied ([Errno 28] No space left on device)" in caplog.text
