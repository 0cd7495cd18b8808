"""Wrong requests over gRPC: a status of the client's fault with one sentence, and the server goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from onnxzoo.inference_protocol import BYTES, FP32, GRPC_SERVICE, IMAGES, LOGITS, PIXELS, packed
from onnxzoo.serving.sdk import messages

Call = Callable[..., Any]
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def channel(served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.grpc) as channel:
        yield channel


@pytest.fixture
def call(channel) -> Iterator[Call]:
    """Calls a method with a message or with bytes; afterwards the server still answers."""

    def calling(method: str, request: Any) -> bytes:
        content = request if isinstance(request, bytes) else request.SerializeToString()
        answer: bytes = channel.unary_unary(f"/{GRPC_SERVICE}/{method}")(content, timeout=20)
        return answer

    yield calling
    calling("ModelInfer", wanted())


def refused(call: Call, request: Any, text: str, code: grpc.StatusCode = INVALID, method: str = "ModelInfer") -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(method, request)
    assert caught.value.code() is code, caught.value.details()
    assert text in caught.value.details()
    assert caught.value.details().isprintable()


def wanted(raw: bytes | None = None, **fields: Any) -> Any:
    """A right request for one image of zeros, with these fields of its one input instead."""
    content = np.zeros((1, 3, 32, 32), dtype=np.float32).tobytes() if raw is None else raw
    tensor = {"name": PIXELS, "datatype": FP32, "shape": [1, 3, 32, 32], **fields}
    return messages.ModelInferRequest(model_name="tiny", inputs=[tensor], raw_input_contents=[content])


def changed(**fields: Any) -> Any:
    """A right request with these fields instead."""
    request = wanted()
    request.MergeFrom(messages.ModelInferRequest(**fields))
    return request


REQUESTS = {
    "no message at all": (b"", "unknown model ''", NOT_FOUND),
    "no protobuf": (b"\xff" * 100, "the message of 100 bytes is not a valid message", INVALID),
    "an unknown model": (messages.ModelInferRequest(model_name="none"), "unknown model 'none'", NOT_FOUND),
    "an unknown version": (changed(model_version="2"), "tiny has only the version 1, got '2'", NOT_FOUND),
    "no inputs": (messages.ModelInferRequest(model_name="tiny"), "tiny takes one input", INVALID),
    "another name": (wanted(name="image"), "got image", INVALID),
    "another type": (wanted(datatype="INT8"), "has the datatype FP32, got INT8", INVALID),
    "a type that does not exist": (wanted(datatype="COMPLEX"), "invalid content type", INVALID),
    "another shape": (wanted(shape=[1, 3, 32]), "pixel_values has the shape", INVALID),
    "a negative size": (wanted(shape=[-1, 3, 32, 32]), "pixel_values has the shape", INVALID),
    "no images": (wanted(b"", shape=[0, 3, 32, 32]), "with at least one image", INVALID),
    "too few bytes": (wanted(b"1234"), "does not fit its shape", INVALID),
    "no whole values": (wanted(b"12345"), "does not fit its shape", INVALID),
    "two inputs": (changed(inputs=[{"name": IMAGES}], raw_input_contents=[b""]), "content type", INVALID),
    "more data than inputs": (changed(raw_input_contents=[b""]), "the number of inputs (1) does not match", INVALID),
    "an unknown output": (changed(outputs=[{"name": "boxes"}]), "'boxes' is not one of", INVALID),
    "an output twice": (changed(outputs=[{"name": LOGITS}] * 2), "is requested twice", INVALID),
    "top_k of text": (changed(parameters={"top_k": {"string_param": "5"}}), "top_k must be a whole number", INVALID),
    "top_k of minus one": (changed(parameters={"top_k": {"int64_param": -1}}), "top_k must be a whole number", INVALID),
    "a long id": (changed(id="x" * 300), "at most 256 characters", INVALID),
    "NaN": (wanted(np.full((1, 3, 32, 32), np.nan, np.float32).tobytes()), "contains NaN", INVALID),
    "no image": (wanted(packed([b"no image"]), name=IMAGES, datatype=BYTES, shape=[1]), "image_bytes[0]", INVALID),
    "an element cut off": (
        wanted(b"\x09\x00\x00\x00abc", name=IMAGES, datatype=BYTES, shape=[1]),
        "expected a length before each element",
        INVALID,
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_wrong_request_is_refused(call, name):
    request, text, code = REQUESTS[name]
    refused(call, request, text, code)


def test_typed_contents_are_taken_too(call, served, tensors):
    tensor = {"name": PIXELS, "datatype": FP32, "shape": [3, 3, 32, 32], "contents": {"fp32_contents": tensors.ravel()}}
    answer = messages.ModelInferResponse.FromString(
        call("ModelInfer", messages.ModelInferRequest(model_name="tiny", inputs=[tensor], id="seven"))
    )
    logits = np.array(answer.outputs[0].contents.fp32_contents, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(logits, served.model.logits(tensors))
    assert answer.id == "seven"


def test_both_forms_of_data_are_refused(call):
    request = wanted(contents={"fp32_contents": [1.0]})
    refused(call, request, "contents field must not be specified when using raw_input_contents")


def test_bytes_in_typed_contents_are_taken_too(call, served, jpegs):
    tensor = {"name": IMAGES, "datatype": BYTES, "shape": [1], "contents": {"bytes_contents": [jpegs["blue"]]}}
    request = messages.ModelInferRequest(model_name="tiny", inputs=[tensor], parameters={"top_k": {"int64_param": 1}})
    answer = messages.ModelInferResponse.FromString(call("ModelInfer", request))
    outputs = {one.name: one.contents for one in answer.outputs}
    assert outputs["label"].bytes_contents == [b"blue"]
    assert outputs["score"].fp64_contents[0] == served.model.predict(jpegs["blue"]).score


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
def test_a_model_that_is_not_there_has_no_metadata(call, method):
    kind = getattr(messages, f"{method}Request")
    refused(call, kind(name="none"), "unknown model 'none'", NOT_FOUND, method)
    refused(call, kind(name="tiny", version="3"), "has only the version 1", NOT_FOUND, method)


@pytest.mark.parametrize("method", ["RepositoryModelUnload", "RepositoryModelLoad", "ModelStreamInfer", "Nonsense"])
def test_no_client_can_unload_a_model(call, method):
    refused(call, b"", "", grpc.StatusCode.UNIMPLEMENTED, method)
