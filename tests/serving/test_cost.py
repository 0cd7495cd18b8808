"""Requests of many tiny values, within the limit of their size, are refused before anything is made of the values."""

from __future__ import annotations

import json
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from oip import ask, binary, infer, pixels

from onnxzoo.artifact.onnx_wire import field_head
from onnxzoo.inference_protocol import BYTES, FP32, GRPC_SERVICE, IMAGES, PIXELS, packed, unpacked
from onnxzoo.serving import cost
from onnxzoo.serving.cost import MAX_FIELDS, SPARE_VALUES, require_few_in_tensors, require_few_values
from onnxzoo.serving.limits import Limits
from onnxzoo.serving.refusals import RequestError
from onnxzoo.serving.sdk import messages
from onnxzoo.serving.server import Address

IMAGES_LIMIT = 4
NUMBERS = IMAGES_LIMIT * 3 * 32 * 32
MANY = NUMBERS + SPARE_VALUES + 2
INFER = f"/{GRPC_SERVICE}/ModelInfer"


@pytest.fixture(scope="module")
def address(start) -> Iterator[Address]:
    with start(limits=Limits(images=IMAGES_LIMIT, header_bytes=4096)) as found:
        yield found


def tensor(**fields: object) -> str:
    return json.dumps({"inputs": [{"name": PIXELS, "shape": [1, 3, 32, 32], "datatype": FP32, **fields}]})


@pytest.mark.parametrize(
    "body",
    [
        tensor(data=[0] * MANY),
        tensor(data=[[0]] * MANY),
        tensor(data=[{}] * MANY),
        tensor(data=[""] * MANY),
        tensor(data=[], shape=[0] * MANY),
        tensor(data=[], parameters={"a": [0] * MANY}),
        json.dumps({"inputs": [{}] * MANY}),
        '{"inputs":' + "[" * MANY,
    ],
    ids=["numbers", "lists", "objects", "texts", "shape", "parameter", "inputs", "depth"],
)
def test_json_of_many_values(address, body):
    answer = infer(address.http, "tiny", body)
    assert answer.status == 413
    assert f"more values than the {NUMBERS} numbers of its largest tensor" in answer.error


def test_the_largest_tensor_passes_flat_and_nested(address):
    images = np.zeros((IMAGES_LIMIT, 3, 32, 32), dtype=np.float32)
    assert infer(address.http, "tiny", pixels(images)).status == 200
    nested = pixels(images)
    nested["inputs"][0]["data"] = images.tolist()
    assert infer(address.http, "tiny", nested).status == 200


def test_elements_beyond_the_shape_are_not_read(address):
    body, length = binary(IMAGES, BYTES, [1], b"\0" * 4 * MANY)
    answer = infer(address.http, "tiny", body, json_length=length)
    assert answer.status == 400
    assert "there are more than 1 elements" in answer.error


def test_headers_that_arrive_at_once_are_counted_too(address):
    answer = ask(address.http, "/v2", headers={"X-Long": "y" * 5000})
    assert answer.status == 431
    assert "the headers have more than 4096 bytes" in answer.error
    assert ask(address.http, "/v2", headers={"X-Short": "y" * 3000}).status == 200


def field(number: int, data: bytes) -> bytes:
    return field_head(number, len(data)) + data


def request(contents: bytes = b"", *, shape: bytes = b"\x01", more: bytes = b"") -> bytes:
    """A ModelInferRequest with one input, whose contents and packed shape are these bytes, with `more` fields."""
    inputs = field(1, IMAGES.encode()) + field(2, BYTES.encode()) + field(3, shape) + field(5, contents)
    return field(1, b"tiny") + field(5, inputs + more)


EMPTY = b""
BOMBS = {
    "elements": (request(field(8, EMPTY) * MANY), "has more than"),
    "parameters": (request(more=field(4, EMPTY) * MANY), f"has more than {MAX_FIELDS} fields"),
    "parameters of an output": (request() + field(6, field(2, EMPTY) * MANY), f"has more than {MAX_FIELDS} fields"),
    "contents": (request(more=field(5, EMPTY) * MANY), f"has more than {MAX_FIELDS} fields"),
    "shape": (request(shape=b"\x01" * MANY), "more values than"),
    "integers": (request(field(3, b"\x01" * MANY)), "more values than"),
    "numbers": (request(field(6, b"\0\0\0\0" * MANY)), "more values than"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_messages_of_many_values(address, name):
    body, message = BOMBS[name]
    messages.ModelInferRequest.FromString(body)  # it is a valid message
    with grpc.insecure_channel(address.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(INFER)(body, timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert message in caught.value.details()


def test_the_largest_message_passes(address):
    images = np.zeros((IMAGES_LIMIT, 3, 32, 32), dtype=np.float32)
    described = {"name": PIXELS, "datatype": FP32, "shape": list(images.shape)}
    with grpc.insecure_channel(address.grpc) as channel:
        for tensors in (
            {"inputs": [described], "raw_input_contents": [images.tobytes()]},
            {"inputs": [{**described, "contents": {"fp32_contents": images.ravel()}}]},
        ):
            message = messages.ModelInferRequest(model_name="tiny", **tensors)
            answer = channel.unary_unary(INFER)(message.SerializeToString(), timeout=20)
            assert messages.ModelInferResponse.FromString(answer).outputs[0].shape[0] == IMAGES_LIMIT


def test_counting_stops_at_the_limit(monkeypatch):
    """The count itself must cost nothing: of millions of fields it reads those that are allowed, and one."""
    read = 0
    original = cost.fields

    def counted(*arguments):
        nonlocal read
        for one in original(*arguments):
            read += 1
            yield one

    monkeypatch.setattr(cost, "fields", counted)
    with pytest.raises(RequestError):
        require_few_in_tensors(field(5, field(4, EMPTY) * 1_000_000), NUMBERS, IMAGES_LIMIT)
    assert read == 1 + MAX_FIELDS + 1


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab", b"\x2a\x01\x0a", b"\x2a\x02\x2a\x05", b"\x0b", b"\0"])
def test_bytes_that_are_no_message(body):
    with pytest.raises(RequestError, match="is not a valid ModelInferRequest"):
        require_few_in_tensors(body, NUMBERS, IMAGES_LIMIT)


def test_only_the_json_of_a_body_counts():
    body = b'{"a":[1,2]}' + b"," * (MANY + 100)
    require_few_values(body, 11, NUMBERS)
    with pytest.raises(RequestError):
        require_few_values(body, len(body), NUMBERS)


@pytest.mark.parametrize("elements", [[], [b""], [b"abc", b"", b"\0" * 300]])
def test_what_is_packed_is_unpacked(elements):
    assert unpacked(packed(elements), len(elements)) == elements


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (packed([b"a", b"b"]), 1, "there are more than 1 elements"),
        (packed([b"a"]), 2, "there are 1 elements, expected 2"),
        (packed([b"abc"])[:-1], 1, "element 0 ends after 7 bytes, and there are 6"),
        (b"\x01\x00", 1, "element 0 ends after"),
        (b"\xff\xff\xff\xff", 1, "element 0 ends after 4294967299 bytes"),
    ],
)
def test_elements_that_do_not_fit(data, count, message):
    with pytest.raises(ValueError, match=message):
        unpacked(data, count)
