"""CUDA, TensorRT and TensorRT-RTX up to the call of the provider: a fake onnxruntime and a pretended GPU."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from fake_onnxruntime import COREML, CPU, CUDA, GPU_ENGINES, PROVIDERS, TENSORRT, FakeSession
from tiny import tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import create_engine
from onnxzoo.engines.options import EngineOptions
from onnxzoo.errors import EngineError, EngineUnavailableError


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


def test_nodes_left_to_cuda_do_not_count_as_split_onto_the_cpu(ort, model_file, caplog):
    ort.nodes = {TENSORRT: 8, CUDA: 2}
    assert create_engine("tensorrt", model_file, EngineOptions(strict=True)).info.nodes == {TENSORRT: 8, CUDA: 2}
    assert create_engine("tensorrt", model_file).info.reason == "requested"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
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
def test_hardware_and_model_failures_are_distinguished(ort, model_file, name, message, kind):
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


def test_cuda_runs_no_more_at_a_time_than_was_expected(ort, model_file):
    assert create_engine("cuda", model_file).max_batch == 8
    assert create_engine("cuda", model_file, EngineOptions(batch_size=32)).max_batch == 32


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_threads_and_quiet_logs_reach_the_session(ort, model_file, name):
    create_engine(name, model_file, EngineOptions(threads=3))
    options = ort.sessions[-1].options
    assert (options.intra_op_num_threads, options.log_severity_level) == (3, 3)
    assert options.entries["session.force_spinning_stop"] == "1"
