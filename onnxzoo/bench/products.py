"""Matrix products as ONNX files: what an engine makes of one is the limit that its models are measured against.

    fp32   MatMul                                     fp16   Cast, MatMul, Cast
    int8   QuantizeLinear, DequantizeLinear, MatMul   as `onnxzoo quantize` writes it: uint8 times 7 bits, fp32 out

Written without the onnx package. The field numbers are those of onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artifact.folder import INPUT_NAME
from ..artifact.onnx_wire import encoded_varint, field_head
from ..precisions import FP16, FP32, INT8

SIDE = 1024
FLOP = 2 * SIDE**3
"""Of one product: 2.1 GFLOP, 10 ms on two cores that give 200 GFLOP/s. Of larger ones CPUs do not do more a second."""
FILES = (FP32, FP16, INT8)
"""The precisions that there is a file for."""
OUTPUT = "product"

IR_VERSION, OPSET = 8, 17
FLOAT, UINT8, HALF = 1, 2, 10
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.uint8): UINT8, np.dtype(np.int8): 3, np.dtype(np.float16): HALF}
WEIGHT_MOST = 63
"""Of 7-bit weights."""


def product_input() -> npt.NDArray[np.float32]:
    """The left matrix, as a batch of one: float32 [1, SIDE, SIDE], standard normal numbers, seeded."""
    return np.random.default_rng(0).standard_normal((1, SIDE, SIDE)).astype(np.float32)


def write_product(path: Path, precision: str) -> None:
    """Write the ONNX file of one of FILES: INPUT_NAME, float32 [N, SIDE, SIDE], times a constant gives OUTPUT."""
    numbers = np.random.default_rng(1).standard_normal((SIDE, SIDE)).astype(np.float32)
    if precision == INT8:
        scales = np.abs(numbers).max(axis=0) / WEIGHT_MOST
        constants: dict[str, npt.NDArray[Any]] = {
            "step": np.array(8 / 255, np.float32),
            "middle": np.array(128, np.uint8),
            "weight": np.round(numbers / scales).astype(np.int8),
            "weight_steps": scales.astype(np.float32),
            "weight_middles": np.zeros(SIDE, np.int8),
        }
        nodes = [
            _node("QuantizeLinear", [INPUT_NAME, "step", "middle"], "quantized"),
            _node("DequantizeLinear", ["quantized", "step", "middle"], "left"),
            _node("DequantizeLinear", ["weight", "weight_steps", "weight_middles"], "right", axis=1),
            _node("MatMul", ["left", "right"], OUTPUT),
        ]
    elif precision == FP16:
        constants = {"weight": numbers.astype(np.float16)}
        nodes = [
            _node("Cast", [INPUT_NAME], "left", to=HALF),
            _node("MatMul", ["left", "weight"], "half"),
            _node("Cast", ["half"], OUTPUT, to=FLOAT),
        ]
    else:
        constants = {"weight": numbers}
        nodes = [_node("MatMul", [INPUT_NAME, "weight"], OUTPUT)]
    graph = b"".join(
        [
            *(_message(1, node) for node in nodes),
            _text(2, f"product in {precision}"),
            *(_message(5, _tensor(name, array)) for name, array in constants.items()),
            _message(11, _value(INPUT_NAME)),
            _message(12, _value(OUTPUT)),
        ]
    )
    path.write_bytes(_number(1, IR_VERSION) + _message(7, graph) + _message(8, _number(2, OPSET)))


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    parts = [*(_text(1, name) for name in inputs), _text(2, output), _text(4, kind)]
    for name, value in attributes.items():
        parts.append(_message(5, _text(1, name) + _number(3, value) + _number(20, 2)))  # of the type INT
    return b"".join(parts)


def _tensor(name: str, array: npt.NDArray[Any]) -> bytes:
    sizes = b"".join(_number(1, size) for size in array.shape)
    return sizes + _number(2, _TYPES[array.dtype]) + _text(8, name) + _message(9, array.tobytes())


def _value(name: str) -> bytes:
    """A float32 input or output [batch, SIDE, SIDE]."""
    side = _message(1, _number(1, SIDE))
    shape = _message(1, _text(2, "batch")) + side + side
    return _text(1, name) + _message(2, _message(1, _number(1, FLOAT) + _message(2, shape)))


def _number(field: int, value: int) -> bytes:
    return encoded_varint(field << 3) + encoded_varint(value)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, content: bytes) -> bytes:
    return field_head(field, len(content)) + content
