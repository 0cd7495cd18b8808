"""The body of a REST request, checked: the SDK's request, in which binary data stays bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import orjson

from ..errors import one_line
from ..inference_protocol import BYTES, IMAGES, JSON_LENGTH_HEADER
from ..text import beginning
from .refusals import invalid
from .sdk import InferInput, InferRequest, RequestedOutput

MAX_ID = 256
"""Characters of a request's id."""
MAX_TENSORS = 16
MAX_DIMENSIONS = 8
MAX_DIMENSION = 2**31


class RestInferRequest(InferRequest):
    """A request that was read from the bytes of a REST body.

    The SDK (0.21) turns binary data into Python lists, which takes a third of a second for an image of 224 pixels, and
    fails for BYTES that are not UTF-8 text.
    """

    @classmethod
    def from_bytes(cls, req_bytes: bytes, json_length: int, model_name: str) -> Self:
        """The request in a body whose first `json_length` bytes are JSON, which binary tensors follow.

        Raises RequestError in one sentence for a body that does not follow the protocol.
        """
        if json_length > len(req_bytes):
            raise invalid(
                f"the header {JSON_LENGTH_HEADER} announces {json_length} bytes of JSON, the body has {len(req_bytes)}"
            )
        try:
            document = orjson.loads(memoryview(req_bytes)[:json_length])
        except orjson.JSONDecodeError as error:
            raise invalid(f"the request is not valid JSON: {one_line(error)}") from error
        fields = _object("the request", document)
        inputs, end = [], json_length
        for one in _objects("inputs", fields.get("inputs")):
            tensor, end = _tensor(one, req_bytes, end)
            inputs.append(tensor)
        if end != len(req_bytes):
            raise invalid(
                f"the inputs announce {end - json_length} bytes of binary data, got {len(req_bytes) - json_length}"
            )
        outputs = fields.get("outputs")
        return cls(
            model_name=model_name,
            request_id=_id(fields.get("id")),
            infer_inputs=inputs,
            parameters=_parameters("the request", fields),
            request_outputs=None if outputs is None else [_requested(one) for one in _objects("outputs", outputs)],
        )

    @classmethod
    def from_raw(cls, body: bytes, model_name: str, parameters: dict[str, Any]) -> Self:
        """The request for one encoded image, which is the whole body."""
        tensor = InferInput(IMAGES, [1], BYTES)
        tensor.set_data_from_numpy(np.array([body], dtype=np.object_))
        return cls(model_name=model_name, infer_inputs=[tensor], parameters=parameters)


def _tensor(one: dict[str, Any], body: bytes, start: int) -> tuple[InferInput, int]:
    """An input, and where in the body the binary data of the next one begins."""
    name, datatype = _text("inputs[].name", one.get("name")), _text("inputs[].datatype", one.get("datatype"))
    parameters = _parameters(f"the input {beginning(name)!r}", one)
    tensor = InferInput(name, _shape(name, one.get("shape")), datatype, parameters=parameters)
    size = parameters.get("binary_data_size")
    if size is None:
        data = one.get("data")
        if not isinstance(data, list):
            raise invalid(f"the input {beginning(name)!r} has neither 'data', a list, nor 'binary_data_size'")
        tensor.data = data
        return tensor, start
    if "data" in one:
        raise invalid(f"the input {beginning(name)!r} has both 'data' and 'binary_data_size'; send one of them")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise invalid(f"binary_data_size must be a whole number from 0, got {beginning(repr(size))}")
    if size > len(body) - start:
        raise invalid(
            f"the input {beginning(name)!r} announces {size} bytes of binary data, {len(body) - start} are left"
        )
    # The only way to hand over bytes without decoding them: the SDK does so itself, in the constructor of a request.
    InferRequest("", [tensor], raw_inputs=[body[start : start + size]])
    return tensor, start + size


def _requested(one: dict[str, Any]) -> RequestedOutput:
    name = _text("outputs[].name", one.get("name"))
    return RequestedOutput(name, _parameters(f"the output {beginning(name)!r}", one))


def _object(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"{what} must be a JSON object, got {type(value).__name__}")
    return value


def _objects(what: str, value: object) -> Sequence[dict[str, Any]]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TENSORS:
        raise invalid(f"{what!r} must be a list of 1 to {MAX_TENSORS} objects, got {beginning(repr(value))}")
    return [_object(f"{what}[]", one) for one in value]


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise invalid(f"{what} must be a text, got {type(value).__name__}")
    return value


def _id(value: object) -> str | None:
    if value is None:
        return None
    if len(text := _text("id", value)) > MAX_ID:
        raise invalid(f"id must have at most {MAX_ID} characters, got {len(text)}")
    return text


def _parameters(what: str, one: dict[str, Any]) -> dict[str, Any]:
    value = one.get("parameters")
    return {} if value is None else _object(f"'parameters' of {what}", value)


def _shape(name: str, value: object) -> list[int]:
    if (
        not isinstance(value, list)
        or not 0 < len(value) <= MAX_DIMENSIONS
        or not all(type(size) is int and 0 <= size < MAX_DIMENSION for size in value)
    ):
        raise invalid(f"the shape of {beginning(name)!r} must be a list of sizes, got {beginning(repr(value))}")
    return value
