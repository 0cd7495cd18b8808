"""The real onnxruntime-gpu, CUDA's libraries and the plugin of TensorRT-RTX, on a machine without a GPU.

`make test-gpu-wheels` installs them and runs this. What no package brings is a stub: the driver, which cannot start
CUDA, and TensorRT, which PyPI does not have. So every session fails, at the latest when it starts CUDA; options are
parsed before that, by the real parsers. Every question is a process of its own that does not see a CUDA of the system.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any

import pytest
from fake_onnxruntime import CUDA, L40S, RTX, TENSORRT
from provider_parsers import OPTIONS, RECORDED, accepts
from stub_libraries import compiled, stub_driver, stub_tensorrt
from written_options import written_options

from onnxzoo.engines import nvidia

pytestmark = [
    pytest.mark.gpu_wheels,
    pytest.mark.skipif(sys.platform != "linux", reason="shared libraries of Linux"),
]

CHILD = Path(__file__).with_name("gpu_wheels_child.py")
# What a session says that got as far as starting CUDA: all options were accepted.
STARTS_CUDA = re.compile(r"CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version")
SAMPLES = ("0", "1", "7", "True", "true", "False", "false", "", "some text", "kSameAsRequested", "kNextPowerOfTwo")
SAMPLES += ("DEFAULT", "EXHAUSTIVE", "HEURISTIC", "pixel_values:1x3x32x32")


def _folder(package: str) -> Path:
    spec = util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.fail(f"{package} is not installed: run make test-gpu-wheels")
    return Path(spec.origin).parent


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """A driver of CUDA 13 that describes a GPU and cannot start it, and TensorRT without a builder."""
    folder = tmp_path_factory.mktemp("stubs")
    capi, rtx = _folder("onnxruntime") / "capi", _folder("onnxruntime_ep_nv_tensorrt_rtx")
    users = [capi / "libonnxruntime_providers_cuda.so", capi / "libonnxruntime_providers_tensorrt.so"]
    users += sorted(rtx.glob("*.so"))
    driver = stub_driver(folder, *users, cuda=13000)
    tensorrt = stub_tensorrt(folder, capi / "libonnxruntime_providers_tensorrt.so")
    return {"driver": [str(path) for path in driver], "tensorrt": [str(path) for path in tensorrt]}


@pytest.fixture
def ask(tmp_path: Path, model_file: Path):
    """Put a question to a child without a system's CUDA; its answer, and that it printed nothing else."""

    def asked(question: str, variables: dict[str, str] | None = None, **details: Any) -> Any:
        file = tmp_path / "details.json"
        file.write_text(json.dumps({"model": str(model_file), **details}))
        command = [*without_system_cuda(), sys.executable, "-P", str(CHILD), question, str(file)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("LD_", "CUDA_"))}
        environment |= {"FAKE_CUINIT": "35", **(variables or {})}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stderr == "", "ONNX Runtime's logger is not quiet"
        return json.loads(done.stdout.splitlines()[-1])

    return asked


def without_system_cuda() -> list[str]:
    """The loader without its cache: a CUDA that is installed here is not on its path, the system's own folders are."""
    loader = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}[platform.machine()]
    return [loader, "--inhibit-cache"]


def pretended(tmp_path: Path, stubs: dict[str, list[str]], **changes: Any) -> dict[str, Any]:
    """Details for a machine on which the driver describes a GPU."""
    (tmp_path / "dev").mkdir(exist_ok=True)
    (tmp_path / "dev" / "nvidia0").touch()
    gpu = dataclasses.asdict(dataclasses.replace(L40S, **changes))
    return {"driver": stubs["driver"], "dev": str(tmp_path / "dev"), "gpu": gpu}


def test_these_are_the_packages_that_the_options_were_read_from():
    for package in RECORDED["read_from"].values():
        name, _, version = package.partition("==")
        assert metadata.version(name) == version, "record the options anew: tests/data/provider_options.json"


def test_the_real_parsers_accept_all_options_that_can_be_written(ask, ort, model_file, stubs, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    every = list(written_options(ort, model_file, tmp_path / "file", monkeypatch))
    parsed = [(provider, settings) for provider, settings in every if provider != RTX]
    said = ask("parse", options=parsed, **stubs)
    for (provider, settings), words in zip(parsed, said, strict=True):
        print(provider, json.dumps(settings), "->", (STARTS_CUDA.search(words) or ["REFUSED"])[0])
        assert STARTS_CUDA.search(words), f"{provider} {settings}: {words}"
    assert {provider for provider, _ in parsed} == {CUDA, TENSORRT}


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_what_was_recorded_of_the_options_is_what_the_real_parsers_do(ask, stubs, provider):
    """Each value for each option alone; a device's number is looked up in CUDA, which does not start."""
    asked = [(name, value) for name in OPTIONS[provider] for value in SAMPLES if name != "device_id"]
    asked += [("device_id", value) for value in ("0", "1", "some text")]
    said = ask("parse", options=[(provider, {name: value}) for name, value in asked], **stubs)
    wrong = [
        (name, value, words[-200:])
        for (name, value), words in zip(asked, said, strict=True)
        if accepts(OPTIONS[provider][name], value) != bool(STARTS_CUDA.search(words))
    ]
    assert not wrong


def test_the_plugins_options_are_named_in_its_header():
    """They are parsed for a device only, and there is none."""
    header = (_folder("onnxruntime_ep_nv_tensorrt_rtx") / "tensorrt_rtx_provider_options.h").read_text()
    named = {
        name: kind
        for kind, name in re.findall(
            r"/// @par Type\n/// (\w+)\n(?:///.*\n)*constexpr const char\* \w+ =\s*\"(\w+)\"", header
        )
    }
    kinds = {"Boolean": ["0", "1"], "Integer": "number", "String": "text"}
    assert {name: kinds[named[name]] for name in OPTIONS[RTX]} == OPTIONS[RTX]


def test_the_parsers_refuse_in_the_words_that_are_looked_for(ask, stubs):
    options = [
        (CUDA, {"nonsense": "1"}),
        (TENSORRT, {"nonsense": "1"}),
        (TENSORRT, {"trt_fp16_enable": "1"}),
        (CUDA, {"use_tf32": "x"}),
    ]
    said = ask("parse", options=options, **stubs)
    assert 'Unknown provider option: "nonsense"' in said[0]
    assert "Invalid TensorRT EP option: nonsense" in said[1]
    assert "The value for the key 'trt_fp16_enable' should be 'True' or 'False'" in said[2]
    assert 'Failed to parse provider option "use_tf32"' in said[3]
    (words,) = ask("parse", options=[(TENSORRT, {})], driver=stubs["driver"])
    assert "Please install TensorRT libraries" in words


def test_the_messages_that_are_looked_for_are_in_the_libraries():
    capi, rtx = _folder("onnxruntime") / "capi", _folder("onnxruntime_ep_nv_tensorrt_rtx")
    tensorrt = (capi / "libonnxruntime_providers_tensorrt.so").read_bytes()
    for message in (
        b"TensorRT EP failed to create engine from network", b"TensorRT EP execution context enqueue failed",
        b"TensorRT EP could not build execution context", b"TensorRT EP failed to create context",
        b"TensorRT EP Failed to Build Engine", b"User needs to provide all the dynamic shape inputs",
        b"TensorRT EP could not deserialize engine from cache", b"Model name is ",
    ):  # fmt: skip
        assert message in tensorrt, message
    plugin = (rtx / "libonnxruntime_providers_nv_tensorrt_rtx.so").read_bytes()
    for message in (
        b"NvTensorRTRTX EP does not support GPU with Compute Capability ",
        b". Supported compute capabilities are 8.6, 8.9, and 12.0 or newer.",
        b"Failed to allocate device memory of size ", b'Unknown provider option: "',
    ):  # fmt: skip
        assert message in plugin, message


def test_cudas_libraries_are_found_in_their_packages(ask, stubs):
    found = ask("libraries", driver=stubs["driver"])
    assert found["missing"] == {}
    assert found["optional"] == {}
    assert re.fullmatch(r"13\.\d+", found["runtime"])


def test_the_plugin_registers_with_the_runtime_library_from_its_own_folder(ask, stubs):
    found = ask("plugin", driver=stubs["driver"], carried=True)
    print(found)
    assert found["fault"] is None
    assert any(name.startswith("libcudart.so.13.") for name in found["libraries"])
    assert found["in use"].startswith("libtensorrt"), "it multiplies with its own library"
    assert RTX not in found["devices"], "there is no GPU"


def test_without_it_the_plugin_does_not_load(ask, stubs):
    found = ask("plugin", driver=stubs["driver"], carried=False)
    assert "libcudart.so.13: cannot open shared object file" in found["fault"]


def test_without_a_driver_every_engine_says_so(ask):
    if nvidia.driver_fault() is None:
        pytest.skip("there is a GPU")
    for name, words in ask("engines", engines=["cuda", "tensorrt", "tensorrt-rtx"]).items():
        print(words)
        assert words.startswith(f"EngineUnavailableError: {name} cannot run here: no NVIDIA")


def test_with_a_gpu_that_does_not_start_every_engine_says_what_is_missing(ask, stubs, tmp_path):
    details = pretended(tmp_path, stubs)
    # Each in a process of its own: what the first one loads, the second cannot turn TF32 off in.
    said = {name: ask("engines", engines=[name], **details)[name] for name in ("cuda", "tensorrt", "tensorrt-rtx")}
    print(*said.values(), sep="\n")
    start = "does not work here: CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"
    assert said["cuda"] == f"EngineUnavailableError: {CUDA} {start}"
    assert re.match(
        r"EngineUnavailableError: TensorRT 10 is needed and did not load \(libnvinfer\.so\.10: cannot open shared "
        r"object file: No such file or directory; libnvonnxparser\.so\.10: .*\): "
        r"pip install 'tensorrt-cu13-libs>=10,<11' \(PyPI has an installer only",
        said["tensorrt"],
    )
    assert "finds no GPU that it supports: it needs compute capability 8.6, 8.9, or 12.0" in said["tensorrt-rtx"]
    # The stub is loaded before the engine is asked for, which would be too late to turn TF32 off.
    off = {nvidia.TF32_VARIABLE: "0"}
    with_tensorrt = ask("engines", variables=off, engines=["tensorrt"], tensorrt=stubs["tensorrt"], **details)
    assert with_tensorrt["tensorrt"] == f"EngineUnavailableError: {TENSORRT} {start}"


def test_tensorrt_that_does_not_fit_the_provider_is_named_with_the_systems_message(ask, stubs, tmp_path):
    """ONNX Runtime says only that TensorRT should be installed, which it is."""
    poor = compiled(
        "int getInferLibVersion(void) { return 101601; }",
        tmp_path / "libnvinfer.so.10",
        flags=["-Wl,-soname,libnvinfer.so.10"],
    )
    said = ask(
        "engines",
        variables={nvidia.TF32_VARIABLE: "0"},
        engines=["tensorrt"],
        **{**pretended(tmp_path, stubs), "tensorrt": [str(poor), stubs["tensorrt"][1]]},
    )
    assert re.fullmatch(
        rf"EngineUnavailableError: {TENSORRT} does not work here: Please install TensorRT libraries "
        r"\(.*libonnxruntime_providers_tensorrt\.so: undefined symbol: \w+\)",
        said["tensorrt"],
    )


def test_an_h100_is_refused_by_tensorrt_rtx_before_its_plugin_is_loaded(ask, stubs, tmp_path):
    said = ask("engines", engines=["tensorrt-rtx"], **pretended(tmp_path, stubs, name="NVIDIA H100", capability=(9, 0)))
    assert "tensorrt-rtx does not support cuda:0 NVIDIA H100, whose compute capability is 9.0" in said["tensorrt-rtx"]
