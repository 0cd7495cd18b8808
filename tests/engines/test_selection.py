"""`auto`: the order, what overrides it, what was skipped, and that looking costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_onnxruntime import CPU, FakeOnnxRuntime, FakeSession

from onnxzoo import cpu as cpu_module
from onnxzoo.artifact.folder import INPUT_NAME, MODEL_FILES
from onnxzoo.engines import AUTO_ORDER, ENGINES, create_engine, engine_class, nvidia
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import ModelFile, ModelFiles
from onnxzoo.errors import EngineError, EngineUnavailableError, InputError
from onnxzoo.precisions import REQUESTS


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers with and without a GPU."""
    monkeypatch.setattr(nvidia, "driver_fault", lambda: "no NVIDIA driver (a test)")
    monkeypatch.delenv("ONNXZOO_ENGINE", raising=False)


def test_the_order_names_engines_that_there_are():
    assert AUTO_ORDER == ("tensorrt", "cuda", "openvino", "onnxruntime")
    assert set(AUTO_ORDER) <= ENGINES.keys()


@pytest.mark.parametrize("name", ENGINES)
def test_every_entry_is_a_class_like_the_others(name):
    kind = engine_class(name)
    assert "fp32" in kind.FILES
    assert set(kind.FILES) <= set(REQUESTS)
    assert set().union(*kind.FILES.values()) <= MODEL_FILES.keys()
    assert kind.skip_reason(lambda: pytest.fail("the file is not needed here"), EngineOptions()) in (
        None,
        "no NVIDIA driver (a test)",
    )


def test_without_a_gpu_it_is_openvino_and_says_why_in_json(model_file):
    pytest.importorskip("openvino")
    info = create_engine("auto", model_file).info
    assert info.name == "openvino"
    assert info.reason == (
        "auto: the first of tensorrt, cuda, openvino, onnxruntime that works here; skipped tensorrt and cuda: "
        "no NVIDIA driver (a test)"
    )
    document = json.loads(json.dumps(asdict(info)))
    assert document["considered"] == [["tensorrt", "no NVIDIA driver (a test)"], ["cuda", "no NVIDIA driver (a test)"]]


def test_onnxruntime_is_not_even_imported_when_openvino_is_taken(model_file):
    pytest.importorskip("openvino")
    script = (
        "import sys; from pathlib import Path; from onnxzoo.engines import create_engine, nvidia\n"
        "nvidia.driver_fault = lambda: 'no NVIDIA driver'\n"
        "print(create_engine('auto', Path(sys.argv[1])).info.name, 'onnxruntime' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ONNXZOO_ENGINE"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(model_file)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.split() == ["openvino", "False"]


def test_one_engine_may_be_named_in_the_environment(monkeypatch, model_file):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("ONNXZOO_ENGINE", "onnxruntime")
    info = create_engine("auto", model_file).info
    assert (info.name, info.reason) == ("onnxruntime", "auto: the first of ONNXZOO_ENGINE=onnxruntime that works here")


def test_an_order_may_be_named_in_the_environment(monkeypatch, model_file):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("ONNXZOO_ENGINE", " cuda , onnxruntime:cpu,openvino")
    info = create_engine("auto", model_file).info
    assert info.name == "onnxruntime"
    assert [name for name, _ in info.considered] == ["cuda"]
    assert "skipped cuda: cuda cannot run here: no NVIDIA driver (a test); install NVIDIA's driver" in info.reason


@pytest.mark.parametrize("value", ["", " ", "auto"])
def test_an_empty_order_is_the_usual_one(monkeypatch, model_file, value):
    monkeypatch.setenv("ONNXZOO_ENGINE", value)
    assert "auto: the first of tensorrt, cuda, openvino, onnxruntime" in create_engine("auto", model_file).info.reason


@pytest.mark.parametrize(
    ("value", "what"), [("cude", "'cude'"), ("openvino,paddle", "'paddle'"), (",", "','"), ("auto,cuda", "'auto'")]
)
def test_an_unknown_name_in_the_environment_is_an_error_that_names_the_variable(monkeypatch, model_file, value, what):
    monkeypatch.setenv("ONNXZOO_ENGINE", value)
    with pytest.raises(
        InputError, match=f"the environment variable ONNXZOO_ENGINE='{value}' must name .*{what} is not an engine"
    ):
        create_engine("auto", model_file)


def test_the_environment_does_not_touch_an_engine_that_is_named(monkeypatch, model_file):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("ONNXZOO_ENGINE", "nonsense")
    assert create_engine("onnxruntime", model_file).info.name == "onnxruntime"


def test_an_order_of_which_nothing_works_says_all_of_it(monkeypatch, model_file):
    monkeypatch.setenv("ONNXZOO_ENGINE", "cuda,onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        EngineUnavailableError,
        match=r"no engine of ONNXZOO_ENGINE=cuda, onnxruntime can run .*model\.onnx: "
        r"cuda: cuda cannot run here.*; onnxruntime: onnxruntime is not installed",
    ):
        create_engine("auto", model_file)


def test_the_files_of_an_artifact_are_opened_only_where_needed_and_once(vnni, model_file, monkeypatch):
    pytest.importorskip("onnxruntime")
    opened = []

    def open_one(precision: str) -> ModelFile:
        opened.append(precision)
        return ModelFile(model_file, "ab" * 32, precision)

    files = ModelFiles(("fp32", "int8"), open_one, {"int8": {"onnxruntime"}})
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert create_engine("auto", files).info.precision == "fp32"
    assert opened == ["fp32"]
    # The fastest that the artifact has.
    assert create_engine("onnxruntime", files, EngineOptions(precision="auto")).info.precision == "int8"
    assert opened == ["fp32", "int8"]


def test_a_precision_that_nothing_here_has_says_which_there_are(model_file):
    pytest.importorskip("onnxruntime")
    files = ModelFiles(("fp32",), lambda precision: ModelFile(model_file, precision=precision))
    with pytest.raises(
        InputError, match="'onnxruntime' computes in int8 from an ONNX file in int8; the model has fp32"
    ):
        create_engine("onnxruntime", files, EngineOptions(precision="int8"))
    with pytest.raises(InputError, match=r"model\.onnx has fp32"):
        create_engine("onnxruntime", model_file, EngineOptions(precision="fp16"))
    with pytest.raises(InputError, match=r"model\.onnx has int8"):
        create_engine("onnxruntime", ModelFile(model_file, precision="int8"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"precision": "fp64"}, r"'fp64' is not a precision \(there are fp32, auto, fp16, bf16, int8\)"),
        ({"hint": "speed"}, "'speed' is not a performance hint"),
        ({"threads": 0}, "threads must be a whole number from 1, got 0"),
        ({"threads": True}, "threads must be a whole number from 1, got True"),
        ({"threads": 100_000}, "threads must be at most 1024, got 100000"),
        ({"batch_size": 65537}, "batch_size must be at most 65536, got 65537"),
        ({"batch_size": 99999999999999999999}, "batch_size must be at most 65536, got 99999999999999999999"),
        ({"batch_size": -1}, "batch_size must be a whole number from 1, got -1"),
        ({"batch_size": 2.0}, r"batch_size must be a whole number from 1, got 2\.0"),
    ],
)
def test_wrong_options_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        EngineOptions(**wrong)


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch) -> FakeOnnxRuntime:
    fake = FakeOnnxRuntime("CoreMLExecutionProvider", "QNNExecutionProvider")
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


@pytest.mark.parametrize("name", ["CoreMLExecutionProvider", "coreml", "CoreML"])
def test_another_provider_of_onnxruntime_by_name(ort, model_file, name):
    info = create_engine(f"onnxruntime:{name}", model_file).info
    assert (info.name, info.device, info.precision) == ("onnxruntime", "CoreMLExecutionProvider", "fp32")
    # Its older format computes in fp16.
    assert ort.sessions[-1].wanted == {"CoreMLExecutionProvider": {"ModelFormat": "MLProgram"}}
    fast = create_engine(f"onnxruntime:{name}", model_file, EngineOptions(precision="auto")).info
    assert fast.precision == "CoreMLExecutionProvider's choice"


def test_directml_runs_in_one_thread_at_a_time_without_planned_memory(ort, model_file, batch, monkeypatch):
    ort.providers = ["DmlExecutionProvider", "CoreMLExecutionProvider", CPU]
    running: list[int] = []
    most: dict[str, int] = {}

    def slow(self: FakeSession, names: object, feeds: dict[str, object]) -> list[object]:
        running.append(1)
        provider = next(iter(self.opened.wanted))
        most[provider] = max(most.get(provider, 0), len(running))
        time.sleep(0.02)
        running.pop()
        return real(self, names, feeds)

    real = FakeSession.run
    monkeypatch.setattr(FakeSession, "run", slow)
    for name in ("dml", "coreml"):
        engine = create_engine(f"onnxruntime:{name}", model_file)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _, run=engine.run: run({INPUT_NAME: batch}), range(8)))
    assert most["DmlExecutionProvider"] == 1
    assert most["CoreMLExecutionProvider"] > 1
    assert [session.options.enable_mem_pattern for session in ort.sessions] == [False, True]


def test_another_provider_is_held_to_the_same_strictness(ort, model_file):
    ort.nodes = {"CoreMLExecutionProvider": 7, CPU: 3}
    engine = create_engine("onnxruntime:coreml", model_file)
    assert engine.info.nodes == {"CoreMLExecutionProvider": 7, CPU: 3}
    with pytest.raises(EngineUnavailableError, match="of 10 nodes, 3 on CPUExecutionProvider"):
        create_engine("onnxruntime:coreml", model_file, EngineOptions(strict=True))
    ort.nodes = {CPU: 10}
    with pytest.raises(EngineUnavailableError, match="takes none of the graph's 10 nodes"):
        create_engine("onnxruntime:coreml", model_file)
    ort.falls_back = True
    with pytest.raises(EngineUnavailableError, match="CoreMLExecutionProvider did not start"):
        create_engine("onnxruntime:coreml", model_file)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("qnn", InputError, r"QNNExecutionProvider is not known to compute in fp32 exactly; ask for .*'auto'"),
        (
            "dml",
            EngineUnavailableError,
            r"no DmlExecutionProvider here \(it has .*\); .*pip install onnxruntime-directml",
        ),
        ("cuda", InputError, "CUDAExecutionProvider is the engine 'cuda': ask for that"),
        ("TensorrtExecutionProvider", InputError, "is the engine 'tensorrt'"),
        ("coreml2", InputError, "'coreml2' is not a provider of ONNX Runtime; did you mean 'CoreMLExecutionProvider'"),
    ],
)
def test_a_provider_that_cannot_be_had(ort, model_file, name, error, message):
    with pytest.raises(error, match=message):
        create_engine(f"onnxruntime:{name}", model_file)


def test_a_real_provider_that_takes_no_node_is_refused(model_file):
    real = pytest.importorskip("onnxruntime")
    if "AzureExecutionProvider" not in real.get_available_providers():
        pytest.skip("this build has no provider that takes nothing")
    with pytest.raises(EngineUnavailableError, match=r"takes none of the graph's \d+ nodes \(\d+ on CPUExecution"):
        create_engine("onnxruntime:azure", model_file)


def test_onnxruntime_on_the_cpu_reports_its_nodes_and_is_never_too_strict(model_file):
    pytest.importorskip("onnxruntime")
    info = create_engine("onnxruntime", model_file, EngineOptions(strict=True)).info
    assert list(info.nodes) == [CPU]
    assert info.nodes[CPU] >= 3
    assert hash(info) == hash(create_engine("onnxruntime", model_file, EngineOptions(strict=True)).info)


def test_threads_are_those_asked_for(model_file):
    pytest.importorskip("onnxruntime")
    if sys.platform != "linux":
        pytest.skip("counts threads in /proc")
    count = len(list(Path("/proc/self/task").iterdir()))
    with_threads = create_engine("onnxruntime", model_file, EngineOptions(threads=5))
    assert len(list(Path("/proc/self/task").iterdir())) - count == 4, "the caller's is the fifth"
    with_threads.close()


def test_bf16_on_the_cpu_is_refused_where_there_are_no_kernels_for_it(ort, model_file, monkeypatch):
    from onnxzoo.engines import onnxruntime as module

    monkeypatch.setattr(module, "arm_bf16", lambda: False)
    with pytest.raises(InputError, match=r"has no precision 'bf16' on CPUExecutionProvider of this machine"):
        create_engine("onnxruntime", model_file, EngineOptions(precision="bf16"))
    monkeypatch.setattr(module, "arm_bf16", lambda: True)
    assert create_engine("onnxruntime", model_file, EngineOptions(precision="bf16")).info.precision == "bf16"
    assert ort.sessions[-1].options.entries["mlas.enable_gemm_fastmath_arm64_bfloat16"] == "1"
    create_engine("onnxruntime", model_file)
    assert "mlas.enable_gemm_fastmath_arm64_bfloat16" not in ort.sessions[-1].options.entries


def test_arm_processors_tell_of_bf16(tmp_path, monkeypatch):
    import platform

    from onnxzoo.engines.onnxruntime import arm_bf16

    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu_module, "CPUINFO", file)
    monkeypatch.setattr(sys, "platform", "linux")

    def found(features: str, machine: str) -> bool:
        file.write_text(f"Features\t: {features}\n")
        monkeypatch.setattr(platform, "machine", lambda: machine)
        cpu_module._description.cache_clear()
        return arm_bf16()

    assert found("fp asimd i8mm bf16 sve", "aarch64")
    assert not found("fp asimd", "aarch64")
    assert not found("fp asimd i8mm bf16 sve", "x86_64")
    file.unlink()
    cpu_module._description.cache_clear()
    assert not arm_bf16()
    monkeypatch.undo()
    cpu_module._description.cache_clear()


def test_an_emptied_onnxruntime_is_named(model_file, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime").mkdir()
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(EngineUnavailableError, match="onnxruntime is installed but empty; reinstall it"):
        create_engine("onnxruntime", model_file)
    sys.modules.pop("onnxruntime", None)


def test_a_model_that_onnxruntime_rejects_is_the_models_fault(tmp_path):
    pytest.importorskip("onnxruntime")
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model at all")
    with pytest.raises(EngineError, match=r"onnxruntime cannot load .*model\.onnx") as caught:
        create_engine("onnxruntime", broken)
    assert not isinstance(caught.value, EngineUnavailableError)


def test_the_command_line_shows_what_the_engines_log():
    """A cache folder that cannot be written, progress of a build: lines on stderr, results alone on stdout."""
    script = (
        "import logging, sys; from onnxzoo import cli; from onnxzoo.engines import compiled_models, progress\n"
        "def command(self, ctx):\n"
        "    with progress.announced('building x'): compiled_models.logger.warning('no\\nspace')\n"
        "cli.LazyGroup.invoke = command; cli.main(['list'])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert lines[0] == "onnxzoo: building x: this may take minutes, once"
    assert lines[1] == "onnxzoo: warning: no\\nspace"
    assert lines[2].startswith("onnxzoo: building x: done after 0.")
    assert done.stdout == ""


def test_what_quantize_does_not_make_is_not_advised(tmp_path):
    only = ModelFiles(("int8",), lambda precision: ModelFile(tmp_path / "model.onnx", precision=precision))
    with pytest.raises(InputError, match=r"the model has no fp32 file \(it has int8\)$"):
        create_engine("auto", only)
