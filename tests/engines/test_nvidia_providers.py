"""What NVIDIA's providers really take, load, name and say, which the stand-in repeats: see `test_gpu_wheels.py`."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import provider_parsers
import pytest
import test_engines_gpu
from fake_onnxruntime import CUDA, L40S, NO_TENSORRT, RTX, SIGNATURE, TENSORRT, FakeOnnxRuntime
from written_options import ENGINES, written_options

from onnxzoo.engines import create_engine, nvidia, nvidia_loading
from onnxzoo.engines.onnxruntime_failures import rejected
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import NotBuiltError, TensorSpec
from onnxzoo.engines.provider_options import READ_FROM, TYPES, written
from onnxzoo.engines.tensorrt_cache import profile
from onnxzoo.errors import EngineError, EngineUnavailableError

PLANS = ["tensorrt", "tensorrt-rtx"]


@pytest.mark.slow
def test_all_options_that_can_be_written_are_parsed(ort, model_file, tmp_path, monkeypatch):
    """By the stand-in, which raises as the real one does; `test_gpu_wheels.py` gives the same to the real one."""
    (tmp_path / "file").touch()
    options = list(written_options(ort, model_file, tmp_path / "file", monkeypatch))
    for provider in ENGINES:
        there = {name for taken, settings in options if taken == provider for name in settings}
        assert there == TYPES[provider].keys(), "what is in the table is written, and nothing else"
    assert len(options) >= 28


def test_the_table_of_options_is_what_was_recorded():
    assert provider_parsers.RECORDED["read_from"] == dict(READ_FROM)
    for provider, recorded in provider_parsers.OPTIONS.items():
        for name, kind in TYPES[provider].items():
            samples = {
                bool: (True, False),
                int: (0, 3),
                str: ("kSameAsRequested", "HEURISTIC", "x:1x3"),
                Path: (Path("/a b"),),
            }
            texts = [written(provider, {name: sample})[name] for sample in samples[kind]]
            accepted = [provider_parsers.accepts(recorded[name], text) for text in texts]
            assert all(accepted) or (kind is str and any(accepted)), f"{provider}: {name}={texts}"


@pytest.mark.parametrize(
    ("provider", "options", "fault"),
    [
        (TENSORRT, {"trt_fp16_enable": "1"}, "must be a bool"),
        (TENSORRT, {"trt_fp16_enable": 1}, "must be a bool"),
        (TENSORRT, {"device_id": True}, "must be a int"),
        (TENSORRT, {"trt_engine_cache_path": ""}, "must be a Path"),
        (TENSORRT, {"trt_profile_min_shapes": ""}, "must be a str"),
        (TENSORRT, {"trt_layer_norm_fp32_fallback": True}, "is not in the table"),
        (CUDA, {"use_tf32": "0"}, "must be a bool"),
        ("NoSuchExecutionProvider", {"a": "b"}, "is not in the table"),
    ],
)
def test_an_option_of_another_type_is_never_written(provider, options, fault):
    with pytest.raises(ValueError, match=fault):
        written(provider, options)


@pytest.mark.parametrize(
    ("provider", "option"),
    [
        (CUDA, "use_tf32"),
        (TENSORRT, "trt_bf16_enable"),
        (TENSORRT, "trt_engine_cache_path"),
        (RTX, "nv_runtime_cache_path"),
    ],
)
@pytest.mark.parametrize("takes", [None, ["another"]])
def test_an_option_that_the_installed_provider_refuses_is_named(ort, model_file, monkeypatch, provider, option, takes):
    known = dict(provider_parsers.OPTIONS[provider])
    known.pop(option)
    monkeypatch.setitem(provider_parsers.OPTIONS, provider, known if takes is None else {**known, option: takes})
    with pytest.raises(EngineUnavailableError) as caught:
        create_engine(ENGINES[provider], model_file)
    what = "does not know the option" if takes is None else "refuses the value of the option"
    assert str(caught.value) == (
        f"the installed {provider} {what} {option!r}; onnxzoo was written for another version of it: "
        f"pip install '{READ_FROM[provider]}'"
    )


def test_the_plugin_gets_cudas_runtime_from_its_own_folder_before_it_is_registered(ort, model_file):
    create_engine("tensorrt-rtx", model_file)
    assert ort.carried == ["libcudart.so.13"]


@pytest.mark.parametrize(
    ("capability", "taken"),
    [
        ((7, 5), False),
        ((8, 0), False),  # A100
        ((8, 6), True),
        ((8, 7), False),  # Orin
        ((8, 9), True),
        ((9, 0), False),  # H100, H200
        ((10, 0), False),
        ((11, 0), False),
        ((12, 0), True),
        ((12, 1), True),
        ((13, 0), True),
    ],
)
def test_tensorrt_rtx_takes_the_gpus_that_the_plugin_takes(ort, model_file, monkeypatch, capability, taken):
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, name="NVIDIA X", capability=capability))
    if taken:
        assert create_engine("tensorrt-rtx", model_file).info.name == "tensorrt-rtx"
        return
    _no_plugin(monkeypatch)  # whatever it would say
    number = ".".join(map(str, capability))
    with pytest.raises(
        EngineUnavailableError,
        match=rf"does not support cuda:0 NVIDIA X, whose compute capability is {number}: it needs 8\.6, 8\.9, or 12",
    ):
        create_engine("tensorrt-rtx", model_file)
    assert not ort.registered, "before the plugin says it"


@pytest.mark.parametrize("name", PLANS)
def test_the_same_model_under_another_name_is_found_and_its_entry_left_as_it_was(ort, model_file, tmp_path, name):
    (built,) = create_engine(name, model_file).warm()  # type: ignore[attr-defined]
    before, builds = {path: path.read_bytes() for path in built.folder.rglob("*")}, ort.builds
    other = tmp_path / "another name.onnx"
    other.write_bytes(model_file.read_bytes())
    (found,) = create_engine(name, other, EngineOptions(build=False)).warm()  # type: ignore[attr-defined]
    assert (found.folder, found.found, ort.builds) == (built.folder, True, builds)
    assert {path: path.read_bytes() for path in built.folder.rglob("*")} == before
    assert {session.model for session in ort.sessions if set(session.wanted) & {TENSORRT, RTX}} == {
        "virtual_model.onnx"
    }


@pytest.mark.parametrize("name", PLANS)
def test_another_version_of_cudas_runtime_is_another_entry(ort, model_file, monkeypatch, name):
    create_engine(name, model_file)
    monkeypatch.setattr(nvidia_loading, "runtime_version", lambda major: "13.4")
    with pytest.raises(NotBuiltError):
        create_engine(name, model_file, EngineOptions(build=False))


@pytest.mark.parametrize(("prefix", "separator"), [("trt_profile", ","), ("nv_profile", ";")])
def test_profiles_of_several_inputs_are_separated_as_the_provider_reads_them(prefix, separator):
    inputs = {"a": TensorSpec((None, 3), "float32"), "b": TensorSpec((None, None), "float32")}
    assert profile(prefix, inputs, 8) == {
        f"{prefix}_min_shapes": f"a:1x3{separator}b:1x1",
        f"{prefix}_opt_shapes": f"a:8x3{separator}b:8x1",
        f"{prefix}_max_shapes": f"a:8x3{separator}b:8x1",
    }


BUSES = {0: (0, 0x65, 0), 1: (0, 0x0A, 0), 2: (1, 0x0A, 0)}


@pytest.fixture
def three_gpus(ort: FakeOnnxRuntime, monkeypatch: pytest.MonkeyPatch) -> FakeOnnxRuntime:
    """Three GPUs by CUDA's numbers; the plugin lists them in the order of the bus, without the first."""
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, index=index, bus=BUSES[index], of=3))
    ort.buses = ["0000:0a:00.0", "0001:0A:00.0"]
    return ort


@pytest.mark.parametrize(("index", "bus"), [(1, "0000:0a:00.0"), (2, "0001:0A:00.0")])
def test_tensorrt_rtx_runs_on_the_gpu_that_cuda_gives_this_number(three_gpus, model_file, index, bus):
    engine = create_engine(f"tensorrt-rtx:{index}", model_file)
    assert engine.info.device == f"cuda:{index} NVIDIA L40S"
    (device,) = three_gpus.sessions[-1].options.plugin_devices
    assert device.device.metadata["pci_bus_id"] == bus


def test_a_gpu_that_the_plugin_leaves_out_is_named(three_gpus, model_file):
    with pytest.raises(
        EngineUnavailableError, match="tensorrt-rtx offers 2 of this machine's GPUs, and not cuda:0 NVIDIA L40S"
    ):
        create_engine("tensorrt-rtx:0", model_file)


@pytest.mark.parametrize(("of", "buses", "taken"), [(1, [""], True), (2, [""], False), (2, ["", ""], False)])
def test_a_device_without_a_place_on_the_bus_is_taken_where_there_is_one_gpu(
    ort, model_file, monkeypatch, of, buses, taken
):
    monkeypatch.setattr(nvidia, "gpu", lambda index: replace(L40S, of=of))
    ort.buses = buses
    if taken:
        assert create_engine("tensorrt-rtx", model_file).info.name == "tensorrt-rtx"
    else:
        with pytest.raises(EngineUnavailableError, match="and not cuda:0 NVIDIA L40S"):
            create_engine("tensorrt-rtx", model_file)


def test_all_libraries_of_tensorrts_package_are_loaded_before_a_session_is_opened(ort, model_file, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        nvidia_loading, "load_all", lambda package, major: loaded.append((package, major, len(ort.sessions)))
    )
    create_engine("tensorrt", model_file)
    assert loaded == [("tensorrt_libs", 10, 0)]


def test_the_extra_installs_what_the_engine_asks_for(ort, model_file, monkeypatch):
    _no_tensorrt(monkeypatch)
    with pytest.raises(EngineUnavailableError) as caught:
        create_engine("tensorrt", model_file)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (libraries,) = [each for each in project["optional-dependencies"]["tensorrt"] if "tensorrt" in each]
    assert f"pip install '{libraries}'" in str(caught.value)


def _no_onnxruntime(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "onnxruntime", None)


def _no_plugin(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)


def _no_tensorrt(patch: pytest.MonkeyPatch) -> None:
    gone = "{}: cannot open shared object file: No such file or directory"
    patch.setattr(nvidia_loading, "missing", lambda names: {n: gone.format(n) for n in names if "libnv" in n})


def _h100(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nvidia, "gpu", lambda index: replace(L40S, name="NVIDIA H100", capability=(9, 0)))


def _broken_tensorrt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nvidia_loading, "missing", lambda names: {n: f"{n}: file too short" for n in names if "libnv" in n})


def _old_driver(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nvidia, "gpu", lambda index: replace(L40S, cuda=(12, 4)))


@pytest.mark.parametrize(
    ("name", "break_it", "absent"),
    [
        ("cuda", _no_onnxruntime, True),
        ("tensorrt", _no_onnxruntime, True),
        ("tensorrt", _no_tensorrt, True),
        ("tensorrt-rtx", _no_plugin, True),
        ("tensorrt-rtx", _h100, True),
        ("tensorrt", _broken_tensorrt, False),
        ("cuda", _old_driver, False),
    ],
)
def test_tests_on_a_gpu_skip_what_is_absent_and_fail_for_what_is_broken(
    ort, model_file, monkeypatch, name, break_it, absent
):
    break_it(monkeypatch)
    with pytest.raises(EngineUnavailableError) as caught:
        create_engine(name, model_file)
    assert bool(test_engines_gpu.ABSENT.search(str(caught.value))) == absent, caught.value


HARDWARE = [
    SIGNATURE
    + "RegisterTensorRTPluginsAsCustomOps(PySessionOptions&, const onnxruntime::ProviderOptions&)"
    + NO_TENSORRT,
    "Some::Signature TensorRT EP failed to create engine from network for fused node: TRTKernel_0",
    "[ONNXRuntimeError] : 11 : EP_FAIL : TensorRT EP execution context enqueue failed.",
    "TensorRT EP could not build execution context for fused node: TRTKernel_0",
    "TensorRT EP failed to create context.",
    "TensorRT EP Failed to Build Engine.",
    "NvTensorRTRTX EP does not support GPU with Compute Capability 9.0. Supported compute capabilities are 8.6",
    "Failed to allocate device memory of size 12",
]


@pytest.mark.parametrize("message", HARDWARE)
def test_what_tensorrt_cannot_do_here_is_not_blamed_on_the_model(message):
    error = rejected(TENSORRT, "onnxruntime cannot load m.onnx", RuntimeError(message))
    assert type(error) is EngineUnavailableError
    said = str(error)
    assert said.startswith(f"{TENSORRT} does not work here: ")
    assert "Signature" not in said
    assert "onnxruntime_src" not in said
    assert said.removeprefix(f"{TENSORRT} does not work here: ") in message


@pytest.mark.parametrize(
    "message",
    [
        "TensorRT EP could not deserialize engine from cache: /a",
        "Type Error: Type parameter (T) of Optype (Conv) bound",
    ],
)
def test_what_is_the_models_or_the_caches_fault_stays_so(message):
    assert type(rejected(TENSORRT, "cannot load", RuntimeError(message))) is EngineError


def test_tensorrt_libraries_that_do_not_load_are_named_by_the_engine(ort, model_file):
    ort.tensorrt = False
    with pytest.raises(EngineUnavailableError, match=r"does not work here: Please install TensorRT libraries$"):
        create_engine("tensorrt", model_file)


@pytest.mark.parametrize("inputs", ["", "/Transpose_4_output_0,/Range_output_0"])
def test_a_part_of_a_graph_with_other_dynamic_inputs_is_named(ort, model_file, inputs):
    ort.fails = (
        "[ONNXRuntimeError] : 11 : EP_FAIL : User needs to provide all the dynamic shape inputs with associated "
        "profiles if they want to explicitly set profiles through provider options.\nPlease note that main graph could "
        "be partitioned into TRT/CUDA/CPU subgraphs, in this case, user also needs to provide shape profiles for the "
        "TRT subgraph's input if it's dynamic shape input.\n"
        + (f"Following input(s) has no associated shape profiles provided: {inputs}" if inputs else "")
    )
    with pytest.raises(EngineError) as caught:
        create_engine("tensorrt", model_file)
    named = f" ({inputs})" if inputs else ""
    assert str(caught.value) == (
        f"onnxruntime cannot load {model_file}: {TENSORRT} takes only parts of this model, and one of them has inputs "
        f"of a dynamic shape, for which there is no profile{named}; use the engine 'cuda'"
    )


@pytest.mark.parametrize("name", [*ENGINES.values(), "onnxruntime"])
@pytest.mark.parametrize("fails", [False, True])
def test_onnxruntimes_logger_is_quiet_while_a_session_is_opened_and_as_before_afterwards(ort, model_file, name, fails):
    """The stand-in raises where it would print."""
    if fails and name != "onnxruntime":
        ort.fails = "CUDA failure 2: out of memory"
        with pytest.raises(EngineUnavailableError):
            create_engine(name, model_file)
    else:
        create_engine(name, model_file)
    assert ort.severity == 2
