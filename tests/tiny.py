"""A tiny artifact: a classifier of four colours, small enough to check every number by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.files import sha256_of
from onnxzoo.results import Array

SIZE = 32
COLOURS = {"black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
LABELS = ("black", "red", "green", "blue")
FEATURES = 3
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# The 1x1 convolution undoes the normalisation, so that the embedding is the mean colour in [0, 1].
CONV_WEIGHT = np.diag(STD).astype(np.float32).reshape(3, 3, 1, 1)
CONV_BIAS = np.array(MEAN, dtype=np.float32)
# Black is what has no colour at all.
HEAD_WEIGHT = np.array([[0, 0, 0], [8, -4, -4], [-4, 8, -4], [-4, -4, 8]], dtype=np.float32)
HEAD_BIAS = np.array([2, 0, 0, 0], dtype=np.float32)


def tiny_embedding(batch: Array) -> Array:
    """What the graph's embedding is, in numpy: float32 [N, 3, 32, 32] -> [N, 3]."""
    mean: Array = (batch * CONV_WEIGHT.reshape(3, 3).diagonal()[:, None, None] + CONV_BIAS[:, None, None]).mean((2, 3))
    return mean


def tiny_logits(batch: Array) -> Array:
    """What the graph's logits are, in numpy: float32 [N, 3, 32, 32] -> [N, 4]."""
    logits: Array = tiny_embedding(batch) @ HEAD_WEIGHT.T + HEAD_BIAS
    return logits


def tiny_outputs(batch: Array) -> dict[str, Array]:
    """Both outputs by name, as an engine returns them."""
    return {"logits": tiny_logits(batch), "embedding": tiny_embedding(batch)}


def tiny_graph(batch: str | int = "batch", input_name: str = INPUT_NAME) -> onnx.ModelProto:
    """input [batch, 3, 32, 32] -> conv 1x1, mean over space = embedding [batch, 3] -> gemm = logits [batch, 4]."""
    nodes = [
        helper.make_node("Conv", [input_name, "conv_weight", "conv_bias"], ["colours"]),
        helper.make_node("ReduceMean", ["colours"], ["embedding"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["embedding", "head_weight", "head_bias"], ["logits"], transB=1),
    ]
    constants = {
        "conv_weight": CONV_WEIGHT,
        "conv_bias": CONV_BIAS,
        "head_weight": HEAD_WEIGHT,
        "head_bias": HEAD_BIAS,
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(LABELS)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, FEATURES]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tiny_attention() -> onnx.ModelProto:
    """A graph of the same inputs and outputs, of the operators that Transformers are exported with."""
    tokens, width = 16, FEATURES
    sizes = {"axis": -1, "epsilon": 1e-5}
    nodes = [
        helper.make_node("Conv", [INPUT_NAME, "patch", "patch_bias"], ["map"], strides=[8, 8]),
        helper.make_node("Reshape", ["map", "as_rows"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["tokens", "scale", "shift"], ["normed"], **sizes),
        helper.make_node("MatMul", ["normed", "projection"], ["projected"]),
        helper.make_node("Split", ["projected", "thirds"], ["query", "key", "value"], axis=2),
        helper.make_node("Transpose", ["key"], ["key_rows"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["query", "key_rows"], ["products"]),
        helper.make_node("Gather", ["table", "places"], ["bias"], axis=0),
        helper.make_node("Add", ["products", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["attention"], axis=-1),
        helper.make_node("MatMul", ["attention", "value"], ["mixed"]),
        helper.make_node("Div", ["mixed", "root"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Mul", ["mixed", "erf"], ["gelu"]),
        helper.make_node("Max", ["gelu", "least"], ["bounded"]),
        helper.make_node("ReduceMean", ["bounded"], ["embedding"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["embedding", "head_weight", "head_bias"], ["logits"], transB=1),
    ]
    random = np.random.default_rng(0)
    constants = {
        "patch": random.standard_normal((width, 3, 8, 8)).astype(np.float32),
        "patch_bias": CONV_BIAS,
        "as_rows": np.array([0, width, tokens]),
        "scale": np.ones(width, np.float32),
        "shift": np.zeros(width, np.float32),
        "projection": random.standard_normal((width, 3 * width)).astype(np.float32),
        "thirds": np.array([width] * 3),
        "table": random.standard_normal((31, 1)).astype(np.float32).repeat(tokens, 1),
        "places": np.arange(tokens),
        "root": np.array(2**0.5, np.float32),
        "least": np.array(-10, np.float32),
        "head_weight": HEAD_WEIGHT,
        "head_bias": HEAD_BIAS,
    }
    graph = helper.make_graph(
        nodes,
        "attention",
        tiny_graph().graph.input,
        tiny_graph().graph.output,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_artifact(
    folder: Path, *, model: onnx.ModelProto | None = None, name: str = "tiny", changes: Mapping[str, Any] | None = None
) -> Path:
    """Write a whole artifact folder; `changes` replaces top-level keys of its config.json (None removes one)."""
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes((model or tiny_graph()).SerializeToString())
    (folder / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    precisions = {"onnx/model.onnx": "fp32", "preprocessor_config.json": None}
    files = {}
    for path, precision in precisions.items():
        file = folder / path
        files[path] = {"sha256": sha256_of(file), "bytes": file.stat().st_size, "precision": precision}
    config: dict[str, Any] = {
        "schema_version": 1,
        "name": name,
        "model_type": "pvt_v2",
        "architecture": {
            "embed_dims": [2, FEATURES],
            "depths": [1, 1],
            "num_heads": [1, 1],
            "sr_ratios": [2, 1],
            "mlp_ratios": [2, 2],
            "linear": False,
            "drop_path_rate": 0.0,
        },
        "image_size": SIZE,
        "id2label": {str(i): label for i, label in enumerate(LABELS)},
        "preprocess": {
            "resize_size": 36,
            "crop_size": SIZE,
            "interpolation": "bicubic",
            "mean": list(MEAN),
            "std": list(STD),
        },
        "source": {"url": "https://example.org/tiny.pdparams", "sha256": "0" * 64, "framework": "paddle"},
        "tools": {"onnx": onnx.__version__},
        "files": files,
    }
    for key, value in (changes or {}).items():
        if value is None:
            del config[key]
        else:
            config[key] = value
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
