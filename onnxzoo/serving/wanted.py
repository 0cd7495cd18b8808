"""What a request asks for, checked against the model: images or tensors, and which outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import one_line
from ..inference_protocol import (
    DEFAULT_TOP_K,
    EMBEDDING,
    IMAGES,
    LABEL,
    LOGITS,
    PIXELS,
    SCORE,
    TOP_K,
    ProtocolTensor,
    served_inputs,
    served_outputs,
    unpacked,
)
from ..model import Model
from ..results import Array
from ..text import beginning
from .limits import Limits
from .refusals import Kind, RequestError, invalid
from .sdk import InferInput, InferRequest, to_http_parameters

BINARY_OUTPUT, BINARY_OUTPUTS = "binary_data", "binary_data_output"
"""Parameters: of a requested output, and of a request; whether outputs are returned as binary data over REST."""
CLASSIFICATION = "classification"
"""A parameter of requested outputs, of an extension of the protocol that this server does not have."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that fits its model.

    `images`: encoded ones, or `pixels`: float32 [N, 3, S, S]. `outputs`: names in the order of the answer, and whether
    each is binary. `top_k`: for label and score.
    """

    images: tuple[bytes, ...]
    pixels: Array | None
    outputs: Mapping[str, bool]
    top_k: int

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.images) if self.pixels is None else len(self.pixels)


def wanted(request: InferRequest, model: Model, limits: Limits) -> Wanted:
    """The request, checked. Raises RequestError."""
    known = {one.name: one for one in served_inputs(model.image_size)}
    names = [one.name for one in request.inputs]
    if len(names) != 1 or names[0] not in known:
        listed = ", ".join(map(beginning, names[:4])) or "none"
        raise invalid(f"{model.name} takes one input, {' or '.join(known)}; got {listed}")
    tensor = request.inputs[0]
    _check_type(tensor, known[tensor.name], limits)
    parameters = to_http_parameters(request.parameters) if request.parameters else {}
    outputs = _outputs(request, model, parameters)
    top_k = _top_k(parameters.get(TOP_K, DEFAULT_TOP_K))
    if tensor.name == IMAGES:
        return Wanted(_images(tensor), None, outputs, top_k)
    return Wanted((), _pixels(tensor), outputs, top_k)


def _check_type(tensor: InferInput, spec: ProtocolTensor, limits: Limits) -> None:
    if tensor.datatype != spec.datatype:
        raise invalid(f"{spec.name} has the datatype {spec.datatype}, got {beginning(tensor.datatype)}")
    shape, expected = list(tensor.shape), list(spec.shape)
    fits = len(shape) == len(expected) and all(
        size == want if want > 0 else size > 0 for size, want in zip(shape, expected, strict=True)
    )
    if not fits:
        raise invalid(f"{spec.name} has the shape {expected}, with at least one image; got {beginning(repr(shape))}")
    if shape[0] > limits.images:
        raise RequestError(
            Kind.TOO_LARGE, f"a request takes at most {limits.images} images, got {shape[0]}; send several"
        )


def _images(tensor: InferInput) -> tuple[bytes, ...]:
    raw = raw_data(tensor)
    if raw is not None:
        try:
            return tuple(unpacked(raw, tensor.shape[0]))
        except ValueError as error:
            raise _unfit(tensor, "a length before each element", error) from error
    elements = tensor.data or []
    if not all(isinstance(one, bytes) for one in elements):
        raise invalid(f"{IMAGES} must be sent as binary data (binary_data_size), because JSON cannot hold bytes")
    if len(elements) != tensor.shape[0]:
        raise invalid(f"{IMAGES} has the shape {tensor.shape}, got {len(elements)} elements")
    return tuple(elements)


def _pixels(tensor: InferInput) -> Array:
    values = _listed(tensor) if tensor.data else _decoded(tensor)
    if not np.isfinite(values).all():
        raise invalid(f"{PIXELS} contains NaN, infinity, or numbers beyond float32; send normalised pixels")
    return values


def _listed(tensor: InferInput) -> Array:
    """A tensor from a list, nested or flat."""
    try:
        values = np.array(tensor.data)
    except ValueError as error:  # ragged, or nested too deeply
        raise invalid(f"the data of {PIXELS} must be numbers, flat or in lists of equal length") from error
    if values.dtype.kind not in "iuf":
        raise invalid(f"the data of {PIXELS} must be numbers")
    if values.size != int(np.prod(tensor.shape)) or values.ndim not in (1, len(tensor.shape)):
        raise invalid(f"{PIXELS} has the shape {tensor.shape}, got data of shape {list(values.shape)[:8]}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values.reshape(tensor.shape), dtype=np.float32)


def raw_data(tensor: InferInput) -> bytes | None:
    """The binary data of an input, None for one with values.

    The SDK (0.21) has no other way to it than decoding all of its elements, of which there may be millions.
    """
    raw: bytes | None = tensor._raw_data
    return raw


def _unfit(tensor: InferInput, expected: str, error: ValueError) -> RequestError:
    return invalid(
        f"the data of {tensor.name} does not fit its shape {tensor.shape}, expected {expected}: {one_line(error)}"
    )


def _decoded(tensor: InferInput) -> Any:
    """A tensor from binary data: float32."""
    try:
        return tensor.as_numpy()
    except ValueError as error:
        raise _unfit(tensor, tensor.datatype, error) from error


def _outputs(request: InferRequest, model: Model, parameters: Mapping[str, Any]) -> dict[str, bool]:
    known = [one.name for one in served_outputs(len(model.labels), model.artifact.architecture.num_features)]
    # Over gRPC the protocol answers in the form of the request.
    everything = request.use_binary_outputs if request.from_grpc else parameters.get(BINARY_OUTPUTS, False)
    binary = _flag(BINARY_OUTPUTS, everything)
    if not request.request_outputs:
        names = (LOGITS, EMBEDDING, LABEL, SCORE) if TOP_K in parameters else (LOGITS, EMBEDDING)
        return dict.fromkeys(names, binary)
    outputs = {}
    for one in request.request_outputs:
        if one.name not in known or one.name in outputs:
            fault = "is requested twice" if one.name in outputs else f"is not one of {', '.join(known)}"
            raise invalid(f"the output {beginning(one.name)!r} {fault}")
        if CLASSIFICATION in (one.parameters or {}):
            raise invalid(f"classes of an output are not supported; request {LABEL} and {SCORE} with {TOP_K}")
        own = (one.parameters or {}).get(BINARY_OUTPUT, binary)
        outputs[one.name] = binary if request.from_grpc else _flag(BINARY_OUTPUT, own)
    return outputs


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise invalid(f"the parameter {name} must be true or false, got {beginning(repr(value))}")
    return value


def _top_k(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise invalid(f"the parameter {TOP_K} must be a whole number from 1, got {beginning(repr(value))}")
    return value
