"""Compares the constants of a low-precision ONNX file with those of its original fp32 file, by name.

Outputs are a weak test in low precision: half of the single faults of a small int8 model stay within its noise (zeroed
shift masks, tables of position biases, biases). Constants are a strict one: floats must be equal, or rounded to the
narrower float, and quantised values must be within half a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..precisions import PRECISIONS
from .graph_probes import QUANTIZED
from .onnx_file import reading
from .parameters import ParameterCheck

Values = npt.NDArray[Any]

# Largest relative error of rounding to this type, and below, the smallest number that converters keep.
ROUNDING: Mapping[str, float] = {"float64": 2.0**-24} | {
    one.dtype: one.rounding for one in PRECISIONS.values() if one.rounding is not None
}
SMALLEST: Mapping[str, float] = {one.dtype: one.smallest for one in PRECISIONS.values()}
HALF_STEP = 0.501
# A wider step would accept any value; at least 7 bits and a sign are in use, for values on either side of zero.
FEWEST_STEPS = 60
# Two products of uint8 and such weights fit into 16 bits: 2 * 255 * 64 = 32640.
SEVEN_BITS = 64
SMALL_INTEGERS = 8
"""Integer constants of up to this many values, such as shapes, may be missing; longer ones are indices."""


def check_low_precision(model_file: Path, exact_file: Path) -> ParameterCheck:
    """Compare the constants of an fp16, bf16 or int8 file with those of the same model's fp32 file.

    Quantised constants have ONNX Runtime's names: NAME_quantized, with NAME_scale and NAME_zero_point. Single numbers
    and shapes may be missing; all other constants must be present and used.

    Raises MissingDependencyError without onnx, ValidationError if a file cannot be read.
    """
    exact, _ = _constants(exact_file)
    found, graph = _constants(model_file)
    used = {name for node in graph.node for name in node.input}
    axes = {
        node.input[0]: next((int(a.i) for a in node.attribute if a.name == "axis"), 1)
        for node in graph.node
        if node.op_type == "DequantizeLinear"
    }
    problems, saturating, equal = [], [], 0
    for name, wanted in exact.items():
        stored = next((each for each in (name, name + QUANTIZED) if each in found and each in used), "")
        if not stored:
            if wanted.size > (1 if wanted.dtype.kind == "f" else SMALL_INTEGERS):
                problems.append(f"{name} is not in {model_file.name}, or nothing uses it")
            continue
        if found[stored].dtype == np.int8 and np.abs(found[stored].astype(np.int16)).max(initial=0) > SEVEN_BITS:
            saturating.append(name)
        if stored == name:
            problem = _float_problem(wanted, found[name])
        else:
            problem = _quantized_problem(name, wanted, found, axes.get(stored))
        if problem:
            problems.append(f"{name}: {problem}")
        else:
            equal += 1
    return ParameterCheck(equal, (), (), tuple(problems), tuple(saturating))


def _constants(path: Path) -> tuple[dict[str, Values], Any]:
    with reading(path, "constants") as onnx:
        graph = onnx.load(str(path), load_external_data=False).graph
        values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                values |= {str(node.output[0]): onnx.numpy_helper.to_array(node.attribute[0].t)}
    return values, graph


def _float_problem(wanted: Values, found: Values) -> str:
    if found.shape != wanted.shape:
        return f"the shape is {list(found.shape)}, expected {list(wanted.shape)}"
    kind = found.dtype.name
    limit = ROUNDING.get(kind, 0.0) * np.abs(wanted.astype(np.float64)) + SMALLEST.get(kind, 0.0)
    return _differences(wanted, found, limit, f"from what {kind} makes of the fp32 file's")


def _quantized_problem(name: str, wanted: Values, found: Mapping[str, Values], axis: int | None) -> str:
    quantized = found[name + QUANTIZED]
    if quantized.shape != wanted.shape:
        return f"the shape is {list(quantized.shape)}, expected {list(wanted.shape)}"
    scale = next((found[each] for each in (f"{name}{QUANTIZED}_scale", f"{name}_scale") if each in found), None)
    if scale is None:
        return f"there is no {name}_scale for it"
    zero = next(
        (found[each] for each in (f"{name}{QUANTIZED}_zero_point", f"{name}_zero_point") if each in found),
        np.zeros_like(scale),
    )
    if scale.size > 1:
        # An operator without an axis, such as MatMulInteger, has one scale per column.
        place = (wanted.ndim - 1 if axis is None else axis) if wanted.ndim > 1 else 0
        if scale.shape != (wanted.shape[place],):
            return f"there are {scale.size} scales for the shape {list(wanted.shape)} along axis {place}"
        shape = [-1 if each == place else 1 for each in range(wanted.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape if zero.size > 1 else ())
        largest = np.abs(wanted).max(axis=tuple(each for each in range(wanted.ndim) if each != place), keepdims=True)
    else:
        scale, zero, largest = scale.reshape(()), zero.reshape(()), np.abs(wanted).max()
    step = scale.astype(np.float64)
    # An int32 bias has the step of the products to which it is added.
    fine = (largest == 0) | (step * FEWEST_STEPS <= largest) | (quantized.dtype.itemsize > 1)
    if not (fine & (step > 0)).all():
        return f"a step of up to {step.max():.3g} is too wide for values of up to {largest.max():.3g}"
    values = (quantized.astype(np.float64) - zero.astype(np.float64)) * step
    limit = HALF_STEP * step + 1e-6 * np.abs(wanted)
    return _differences(wanted, values, limit, "by more than half a step from the fp32 file's")


def _differences(wanted: Values, found: Values, limit: Values, what: str) -> str:
    # Negated, so that NaN counts as different.
    expected, actual = wanted.astype(np.float64), found.astype(np.float64)
    bad = ~(np.abs(actual - expected) <= limit)
    if not bad.any():
        return ""
    distance = np.where(bad, np.nan_to_num(np.abs(actual - expected), nan=np.inf), 0)
    place = np.unravel_index(int(distance.argmax()), distance.shape)
    where = f", most at {[int(index) for index in place]}" if place else ""
    values = f"{actual[place]:.7g}, expected {expected[place]:.7g}"
    return f"{int(bad.sum())} of {bad.size} values differ {what}{where}: {values}"
