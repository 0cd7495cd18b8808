"""CUDA, TensorRT and TensorRT-RTX up to the call of the provider: a fake onnxruntime and a pretended GPU."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fake_onnxruntime import COREML, CPU, CUDA, L40S, RTX, TENSORRT, FakeOnnxRuntime, FakeSession
from filelock import FileLock
from tiny import tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import create_engine, nvidia, nvidia_libraries, onnxruntime_session
from onnxzoo.engines.onnxruntime_tensorrt import needed_major
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import CachedEngine, ModelFile, ModelFiles
from onnxzoo.errors import EngineError, EngineUnavailableError, InputError

GPU_ENGINES = ["cuda", "tensorrt", "tensorrt-rtx"]
PROVIDERS = {"cuda": CUDA, "tensorrt": TENSORRT, "tensorrt-rtx": RTX}


def files(tiny: Path, *precisions: str) -> ModelFiles:
    """The tiny model, said to be there in these precisions."""
    path = tiny / "onnx" / "model.onnx"
    return ModelFiles(precisions, lambda precision: ModelFile(path, precision=precision))


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_runs_where_it_was_asked_to_and_says_so(ort, model_file, batch, name):
    with_engine = create_engine(name, model_file)
    info = with_engine.info
    assert (info.name, info.device, info.precision, info.reason) == (name, "cuda:0 NVIDIA L40S", "fp32", "requested")
    assert info.nodes == {PROVIDERS[name]: 10}
    assert info.version.startswith({"cuda": "1.31.1", "tensorrt": "10.13.2", "tensorrt-rtx": "0.5.0"}[name])
    outputs = with_engine.run({INPUT_NAME: batch})
    for output, expected in tiny_outputs(batch).items():
        np.testing.assert_array_equal(outputs[output], expected)
    assert ort.sessions[-1].batches[-1] == 3
    assert ort.sessions[-1].bound == len(ort.sessions[-1].batches), "every run is bound"
    with_engine.close()
    with_engine.close()
    with pytest.raises(EngineError, match=f"the {name} engine is closed"):
        with_engine.run({INPUT_NAME: batch})


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_a_session_that_came_up_on_the_cpu_is_refused(ort, model_file, name):
    ort.falls_back = True
    with pytest.raises(EngineUnavailableError, match=f"{PROVIDERS[name]} did not start: onnxruntime would run on CPU"):
        create_engine(name, model_file)


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_a_graph_of_which_nothing_runs_there_is_refused(ort, model_file, name):
    ort.nodes = {CPU: 10}
    with pytest.raises(EngineUnavailableError, match=f"{PROVIDERS[name]} takes none of the graph's 10 nodes"):
        create_engine(name, model_file)


@pytest.mark.parametrize("name", [*GPU_ENGINES, "onnxruntime:coreml"])
@pytest.mark.parametrize("strict", [False, True])
def test_an_onnxruntime_that_cannot_tell_where_nodes_run_is_refused(ort, model_file, monkeypatch, name, strict):
    monkeypatch.delattr(FakeSession, "get_provider_graph_assignment_info")
    ort.__version__ = "1.23.2"
    ort.providers = [TENSORRT, CUDA, COREML, CPU]
    with pytest.raises(
        EngineUnavailableError, match=r"onnxruntime 1\.23\.2 cannot tell .*expected 1\.24 or newer: pip"
    ) as caught:
        create_engine(name, model_file, EngineOptions(strict=strict))
    assert "'onnxruntime-gpu>=1.24'" in str(caught.value)
    assert create_engine("onnxruntime", model_file, EngineOptions(strict=strict)).info.nodes == {}


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_a_split_graph_is_reported_and_refused_when_strict(ort, model_file, caplog, name):
    ort.nodes = {PROVIDERS[name]: 8, CPU: 2}
    info = create_engine(name, model_file).info
    assert info.nodes == {PROVIDERS[name]: 8, CPU: 2}
    split = f"{PROVIDERS[name]} does not take the whole graph: of 10 nodes, 2 on {CPU}"
    assert info.reason == f"requested; {split}"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{split}, which is slower; the option strict refuses this"
    ] * len(
        [session for session in ort.sessions if PROVIDERS[name] in session.wanted or session.options.plugin_devices]
    )
    with pytest.raises(EngineUnavailableError, match=r"does not take the whole graph: of 10 nodes, 2 on CPUExec"):
        create_engine(name, model_file, EngineOptions(strict=True, batch_size=4))
    ort.nodes = {PROVIDERS[name]: 10}
    assert create_engine(name, model_file, EngineOptions(strict=True, batch_size=4)).info.name == name


def test_what_tensorrt_leaves_to_cuda_is_no_split_onto_the_cpu(ort, model_file, caplog):
    ort.nodes = {TENSORRT: 8, CUDA: 2}
    assert create_engine("tensorrt", model_file, EngineOptions(strict=True)).info.nodes == {TENSORRT: 8, CUDA: 2}
    assert create_engine("tensorrt", model_file).info.reason == "requested"
    assert not caplog.records
    assert list(ort.sessions[-1].wanted) == [TENSORRT, CUDA]
    assert ort.sessions[-1].wanted[CUDA]["use_tf32"] == "0"


@pytest.mark.parametrize("name", GPU_ENGINES)
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("CUDA failure 100: no CUDA-capable device is detected ; GPU=0", EngineUnavailableError),
        ("CUDNN_STATUS_NOT_INITIALIZED", EngineUnavailableError),
        (
            "BFCArena::AllocateRawInternal(size_t) Failed to allocate memory for requested buffer of size 7",
            EngineUnavailableError,
        ),
        ("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED, out of memory", EngineUnavailableError),
        ("Cuda Runtime (out of memory)", EngineUnavailableError),
        ("kOUT_OF_MEMORY", EngineUnavailableError),
        ("CUDA error: no kernel image is available for execution on the device", EngineUnavailableError),
        ("Type Error: Type parameter (T) of Optype (Conv) bound to different types", EngineError),
    ],
)
def test_failures_of_the_hardware_are_told_from_those_of_the_model(ort, model_file, name, message, kind):
    ort.fails_at = {1: message}
    with pytest.raises(kind) as caught:
        create_engine(name, model_file)
    assert type(caught.value) is kind
    assert message.partition(" ;")[0] in str(caught.value)
    ort.fails_at, ort.fails = {}, message
    with pytest.raises(kind):
        create_engine(name, model_file)


def test_a_message_of_cudas_is_freed_from_its_c_plus_plus(ort, model_file):
    # What onnxruntime-gpu 1.31.1 said with a driver that was none.
    ort.fails = (
        "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 std::conditional_t<THRW, void, Status> "
        "onnxruntime::CudaCall(ERRTYPE, const char*) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure 36: API "
        "call is not supported in the installed CUDA driver ; GPU=-1 ; hostname=vm ; file=/x.cc ; line=3 ; expr=y; \n\n"
    )
    with pytest.raises(EngineUnavailableError) as caught:
        create_engine("cuda", model_file)
    assert str(caught.value) == (
        "CUDAExecutionProvider does not work here: CUDA failure 36: API call is not supported in the installed CUDA "
        "driver"
    )


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


@pytest.mark.parametrize("name", ["cuda", "tensorrt-rtx"])
def test_fp16_needs_an_fp16_file(ort, tiny, name):
    for precision in ("auto", "fp16"):
        engine = create_engine(name, files(tiny, "fp32", "fp16"), EngineOptions(precision=precision))
        assert engine.info.precision == "fp16"
    with pytest.raises(InputError, match=r"computes in fp16 from an ONNX file in fp16; the model has fp32, int8"):
        create_engine(name, files(tiny, "fp32", "int8"), EngineOptions(precision="fp16"))
    for precision in ("bf16", "int8"):
        with pytest.raises(InputError, match=rf"'{name}' has no precision '{precision}' \(it has fp32, auto, fp16\)"):
            create_engine(name, files(tiny, "fp32", "int8"), EngineOptions(precision=precision))


@pytest.mark.parametrize(
    ("asked", "there", "flags", "stated"),
    [
        ("fp32", ["fp32"], set(), "fp32"),
        ("auto", ["fp32"], {"trt_fp16_enable"}, "fp16"),
        ("fp16", ["fp32", "fp16"], {"trt_fp16_enable"}, "fp16"),
        ("bf16", ["fp32"], {"trt_bf16_enable"}, "bf16"),
        ("int8", ["fp32", "int8"], {"trt_int8_enable"}, "int8"),
    ],
)
def test_precisions_of_tensorrt(ort, tiny, asked, there, flags, stated):
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
        lambda patch: patch.setattr(nvidia_libraries, "missing", lambda names: dict.fromkeys(names, "gone"))
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
    monkeypatch.setattr(nvidia_libraries, "missing", lambda names: loaded.extend(names) or {})
    monkeypatch.setattr(nvidia, "cuda_is_loaded", lambda: loaded[0] if loaded else None)
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, driver="590.1"))
    info = create_engine("auto", model_file, EngineOptions()).info
    assert info.name == "cuda"
    assert os.environ[nvidia.TF32_VARIABLE] == ""


def test_a_refused_tensorrt_can_be_asked_for_again_when_its_libraries_are_loaded(ort, model_file, monkeypatch):
    loaded: list[str] = []
    monkeypatch.setattr(nvidia_libraries, "missing", lambda names: loaded.extend(names) or {})
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


@pytest.mark.parametrize(("size", "largest"), [(None, 8), (1, 1), (32, 32)])
@pytest.mark.parametrize(("name", "prefix"), [("tensorrt", "trt_profile"), ("tensorrt-rtx", "nv_profile")])
def test_the_profile_is_explicit_and_both_ends_of_it_run_before_it_counts(
    ort, model_file, batch, size, largest, name, prefix
):
    engine = create_engine(name, model_file, EngineOptions(batch_size=size))
    session = ort.sessions[-1]
    settings = session.wanted[PROVIDERS[name]]
    assert {key: value for key, value in settings.items() if "shapes" in key} == {
        f"{prefix}_min_shapes": "image:1x3x32x32",
        f"{prefix}_opt_shapes": f"image:{largest}x3x32x32",
        f"{prefix}_max_shapes": f"image:{largest}x3x32x32",
    }
    assert engine.max_batch == largest
    ran = [size for session in ort.sessions for size in session.batches]
    assert ran[:2] == [largest, 1]
    with pytest.raises(InputError, match=rf"opened for batches of 1 to {largest}, got {largest + 1}: split them"):
        engine.run({INPUT_NAME: np.zeros((largest + 1, 3, 32, 32), np.float32)})


def test_cuda_runs_no_more_at_a_time_than_was_expected(ort, model_file):
    assert create_engine("cuda", model_file).max_batch == 8
    assert create_engine("cuda", model_file, EngineOptions(batch_size=32)).max_batch == 32


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
        EngineOptions(precision="fp16"),
    ],
)
def test_a_plan_never_serves_anything_that_it_was_not_built_for(ort, model_file, monkeypatch, change):
    create_engine("tensorrt", model_file)
    options = change if isinstance(change, EngineOptions) else EngineOptions()
    if isinstance(change, dict):
        monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, **change))
    elif change == "tensorrt":
        monkeypatch.setattr(nvidia_libraries, "tensorrt_version", lambda name: "10.14.0")
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
    assert ort.sessions[-1].wanted[TENSORRT]["trt_profile_max_shapes"] == f"image:{served}x3x32x32"
    for output, expected in tiny_outputs(batch).items():
        np.testing.assert_array_equal(engine.run({INPUT_NAME: batch})[output], expected)


def test_a_larger_plan_of_another_driver_or_precision_or_with_a_strange_manifest_serves_nobody(
    ort, model_file, monkeypatch
):
    create_engine("tensorrt", model_file, EngineOptions(batch_size=32, precision="fp16"))
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
    monkeypatch.setattr(onnxruntime_session, "installed_packages", lambda: {"onnxruntime": "1.31.1"})
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


def test_onnxruntime_without_cuda_is_named_as_the_wrong_package(ort, model_file, monkeypatch):
    ort.providers = [CPU]
    monkeypatch.setattr(onnxruntime_session, "installed_packages", lambda: {"onnxruntime": "1.31.1"})
    with pytest.raises(
        EngineUnavailableError,
        match=r"onnxruntime 1\.31\.1 has no CUDAExecutionProvider \(it has CPUExecutionProvider\); "
        r"pip uninstall -y onnxruntime && pip install 'onnxzoo\[gpu\]'",
    ):
        create_engine("cuda", model_file)


def test_both_packages_at_once_are_named_as_the_fault_that_they_are(ort, model_file, monkeypatch):
    ort.providers = [CPU]
    both = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.0"}
    monkeypatch.setattr(onnxruntime_session, "installed_packages", lambda: both)
    with pytest.raises(
        EngineUnavailableError,
        match=r"onnxruntime 1\.31\.1 and onnxruntime-gpu 1\.31\.0 are both installed and overwrite each other's files"
        r".*; pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxzoo\[gpu\]'",
    ):
        create_engine("cuda", model_file)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_missing_library_is_named_with_the_systems_message(ort, model_file, monkeypatch, name):
    message = "libcudnn.so.9: cannot open shared object file: No such file or directory"
    monkeypatch.setattr(nvidia_libraries, "missing", lambda names: {n: message for n in names if "cudnn" in n})
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
    monkeypatch.setattr(
        nvidia_libraries, "missing", lambda names: {n: message for n in names if n == "libnvinfer.so.10"}
    )
    monkeypatch.setattr(nvidia_libraries, "other_versions", lambda stem: others)
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
            lambda ort, patch: patch.setattr(nvidia_libraries, "load_carried", lambda library, name: f"{name}: gone"),
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


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_threads_and_quiet_logs_reach_the_session(ort, model_file, name):
    create_engine(name, model_file, EngineOptions(threads=3))
    options = ort.sessions[-1].options
    assert (options.intra_op_num_threads, options.log_severity_level) == (3, 3)
    assert options.entries["session.force_spinning_stop"] == "1"
