"""The project's own checks of an exported graph, which do not rely on the converters reporting errors."""

from __future__ import annotations

from typing import Any

import onnx

from ..artifact.folder import INPUT_NAME, OUTPUT_NAMES
from ..errors import ExportError
from ..families import ModelSpec
from .passes.interface import BATCH

FLOAT = onnx.TensorProto.FLOAT


def check_graph(model: Any, spec: ModelSpec, opset: int) -> None:
    """Raise ExportError unless `model` is a valid ONNX file of exactly the artifact's form.

    The model must be accepted by onnx's checker and strict shape inference, use only standard operators of opset
    `opset`, and have no data outside the file. It must have one input `pixel_values` float32 [batch, 3, S, S], and
    outputs `logits` float32 [batch, classes] and `embedding` float32 [batch, features], with `batch` as their only
    free dimension.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"the exported graph is not valid ONNX: {str(error).splitlines()[0]}", log=str(error)
        ) from None
    opsets = {(imported.domain or "ai.onnx"): imported.version for imported in model.opset_import}
    if opsets != {"ai.onnx": opset}:
        raise ExportError(f"the exported graph uses the operator sets {opsets}, expected only ai.onnx {opset}")
    if foreign := sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")}):
        raise ExportError(f"the exported graph uses non-standard operators: {foreign}")
    outside = [tensor.name for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ExportError(
            f"the exported graph stores {len(outside)} tensors outside its file, the first is {outside[0]!r}"
        )
    size, features = spec.image_size, spec.architecture.num_features
    _require_values("inputs", model.graph.input, {INPUT_NAME: [BATCH, 3, size, size]})
    logits, embedding = OUTPUT_NAMES
    expected: dict[str, list[int | str]] = {logits: [BATCH, spec.num_classes], embedding: [BATCH, features]}
    _require_values("outputs", model.graph.output, expected)
    # The shapes that inference derives from the input must not contradict the declared ones.
    _require_values("inferred outputs", inferred.graph.output, expected)


def _require_values(what: str, values: Any, expected: dict[str, list[int | str]]) -> None:
    found = {value.name: _shape(value) for value in values}
    if found != expected:
        raise ExportError(f"the exported graph has the {what} {found}, expected {expected}")
    for value in values:
        if value.type.tensor_type.elem_type != FLOAT:
            raise ExportError(f"{what}: {value.name!r} is not float32")


def _shape(value: Any) -> list[int | str]:
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim
    ]
