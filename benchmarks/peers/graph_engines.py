"""Runs an ONNX file in an engine as a contender of a timing (see onnxzoo/bench/children).

    python graph_engines.py {onnxruntime,openvino,openvino-static} MODEL.onnx IMAGE.npy OUT.npy THREADS

The graph must have one input and the logits as its first output. The options are those of onnxzoo's engines: fp32
arithmetic, lowest latency; `openvino-static` fixes the batch before it compiles. Only the number of threads is set.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from onnxzoo.bench.children.serve import serve
from onnxzoo.engines.onnxruntime_library import import_onnxruntime
from onnxzoo.engines.openvino_module import import_openvino


def onnxruntime_session(model: str, image: np.ndarray, threads: int) -> Callable[[], Any]:
    """The graph in an ONNX Runtime session on the CPU, whose threads stop spinning when a run ends."""
    onnxruntime = import_onnxruntime("")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs = [node.name for node in session.get_outputs()]
    feeds = {session.get_inputs()[0].name: image}
    return lambda: session.run(outputs, feeds)[0]


def openvino_request(model: str, image: np.ndarray, threads: int, static: bool) -> Callable[[], Any]:
    """The graph compiled by OpenVINO for the CPU."""
    core = import_openvino().Core()
    graph = core.read_model(model)
    if static:
        graph.reshape({graph.inputs[0]: list(image.shape)})
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    return lambda: request.infer([image])[0]


def main(engine: str, model: str, image_file: str, out: str, threads: str) -> None:
    """Load the graph and serve."""
    image = np.load(image_file)
    loads = {
        "onnxruntime": lambda: onnxruntime_session(model, image, int(threads)),
        "openvino": lambda: openvino_request(model, image, int(threads), static=False),
        "openvino-static": lambda: openvino_request(model, image, int(threads), static=True),
    }
    serve(loads[engine], out)


if __name__ == "__main__":
    main(*sys.argv[1:])
