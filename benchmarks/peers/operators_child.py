"""Profiles one model in one engine, as a process of operators.py.

    python operators_child.py {onnxruntime,openvino} MODEL.onnx BATCH THREADS SECONDS

Prints a JSON list of [name, type, names of the fused layers, fastest run in ms], with an entry for each operation of
the engine's graph.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import EngineOptions
from onnxzoo.engines.onnxruntime_library import import_onnxruntime, session_options
from onnxzoo.engines.openvino_device import CPU, Device
from onnxzoo.engines.openvino_module import import_openvino

Operation = tuple[str, str, str, float]
KERNEL = "_kernel_time"


def onnxruntime_operations(model: str, batch: int, options: EngineOptions, seconds: float) -> Iterator[Operation]:
    """The results of ONNX Runtime's profiler."""
    onnxruntime = import_onnxruntime("")
    chosen = session_options(onnxruntime, options)
    chosen.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        chosen.profile_file_prefix = os.path.join(folder, "profile")  # noqa: PTH118 - it wants text
        session = onnxruntime.InferenceSession(model, chosen, providers=["CPUExecutionProvider"])
        feeds = {INPUT_NAME: pixels([batch, *session.get_inputs()[0].shape[1:]])}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times, types = defaultdict(list), {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            name = event["name"].removesuffix(KERNEL)
            times[name].append(event["dur"] / 1000)
            types[name] = event["args"]["op_name"]
    for name, found in times.items():
        yield name, types[name], name, min(found)


def openvino_operations(model: str, batch: int, options: EngineOptions, seconds: float) -> Iterator[Operation]:
    """The results of OpenVINO's performance counters."""
    openvino = import_openvino()
    device = Device.find(openvino.Core(), CPU)
    graph = device.core.read_model(model)
    shape = [batch, *(side.get_length() for side in list(graph.inputs[0].partial_shape)[1:])]
    graph.reshape({graph.inputs[0]: shape})
    settings = {**device.settings(options, options.precision), "PERF_COUNT": True}
    compiled = device.core.compile_model(graph, CPU, settings)
    within: dict[str, Any] = {}
    for node in compiled.get_runtime_model().get_ops():
        notes = node.get_rt_info()
        if "originalLayersNames" in notes:
            within[node.get_friendly_name()] = notes["originalLayersNames"].astype(str)
    request, given = compiled.create_infer_request(), pixels(shape)
    times, types = defaultdict(list), {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        request.infer([given])
        for operation in request.profiling_info:
            if operation.status == openvino.ProfilingInfo.Status.EXECUTED:
                times[operation.node_name].append(operation.real_time.total_seconds() * 1000)
                types[operation.node_name] = operation.node_type
    for name, found in times.items():
        yield name, types[name], within.get(name, name), min(found)


def pixels(shape: Sequence[int]) -> Any:
    """Standard normal numbers."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def main(engine: str, model: str, batch: str, threads: str, seconds: str) -> None:
    """Profile and print."""
    profiled = {"onnxruntime": onnxruntime_operations, "openvino": openvino_operations}[engine]
    options = EngineOptions(threads=int(threads))
    print(json.dumps(list(profiled(model, int(batch), options, float(seconds)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
