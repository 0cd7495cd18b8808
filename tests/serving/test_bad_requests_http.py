"""Wrong requests over HTTP: a 4xx with one sentence that names the fault, and the server goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oip import Answer, ask, binary, binary_images, binary_pixels, infer, pixels

from onnxzoo.inference_protocol import BYTES, FP32, IMAGES, LOGITS, PIXELS, packed

ONE = np.zeros((1, 3, 32, 32), dtype=np.float32)


def refused(answer: Answer, status: int, text: str) -> None:
    """The answer is an error of one printable line, and no traceback."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["error"]
    assert text in answer.error
    assert answer.error.isprintable()
    assert "Traceback" not in answer.error


@pytest.fixture(autouse=True)
def goes_on(served):
    """Afterwards the server still answers."""
    yield
    assert infer(served.http, "tiny", pixels(ONE)).status == 200


def altered(**fields: object) -> dict[str, object]:
    """A request whose one input has other fields; None leaves one out."""
    tensor = {**pixels(ONE)["inputs"][0], **fields}
    return {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}


TENSORS = {
    "no fields": ({}, "'inputs' must be a list of 1 to 16 objects"),
    "a list": ([], "the request must be a JSON object, got list"),
    "a number": (7, "the request must be a JSON object, got int"),
    "no inputs": ({"inputs": []}, "'inputs' must be a list"),
    "inputs are no objects": ({"inputs": [3]}, "inputs[] must be a JSON object"),
    "another name": (altered(name="image"), "tiny takes one input, pixel_values or image_bytes; got image"),
    "a name that is a number": (altered(name=3), "inputs[].name must be a text"),
    "two inputs at once": (
        {"inputs": [*pixels(ONE)["inputs"], {"name": IMAGES, "datatype": BYTES, "shape": [1], "data": ["a"]}]},
        "takes one input",
    ),
    "the same input twice": ({"inputs": pixels(ONE)["inputs"] * 2}, "takes one input"),
    "seventeen inputs": ({"inputs": pixels(ONE)["inputs"] * 17}, "'inputs' must be a list of 1 to 16"),
    "another type": (altered(datatype="FP16"), "pixel_values has the datatype FP32, got FP16"),
    "doubles": (altered(datatype="FP64"), "has the datatype FP32, got FP64"),
    "a type that does not exist": (altered(datatype="X" * 1000), "has the datatype FP32, got XXX"),
    "no type": (altered(datatype=None), "inputs[].datatype must be a text"),
    "no shape": (altered(shape=None), "the shape of 'pixel_values' must be a list of sizes"),
    "a shape of text": (altered(shape=["1", 3, 32, 32]), "must be a list of sizes"),
    "a negative size": (altered(shape=[-1, 3, 32, 32]), "must be a list of sizes"),
    "a huge size": (altered(shape=[2**62, 3, 32, 32]), "must be a list of sizes"),
    "a size that is true": (altered(shape=[True, 3, 32, 32]), "must be a list of sizes"),
    "three axes": (altered(shape=[3, 32, 32]), "pixel_values has the shape [-1, 3, 32, 32]"),
    "channels last": (altered(shape=[1, 32, 32, 3]), "pixel_values has the shape [-1, 3, 32, 32]"),
    "another image size": (altered(shape=[1, 3, 31, 32]), "pixel_values has the shape [-1, 3, 32, 32]"),
    "no images": (altered(shape=[0, 3, 32, 32], data=[]), "with at least one image"),
    "no data": (altered(data=None), "has neither 'data', a list, nor 'binary_data_size'"),
    "data of text": (altered(data="abc"), "has neither 'data', a list"),
    "too few numbers": (altered(data=[0.0] * 3071), "got data of shape [3071]"),
    "too many numbers": (altered(data=[0.0] * 3073), "got data of shape [3073]"),
    "numbers as texts": (altered(data=["0.5"] * 3072), "must be numbers"),
    "truth values": (altered(data=[True] * 3072), "must be numbers"),
    "nothing among numbers": (altered(data=[0.5] * 3071 + [None]), "must be numbers"),
    "ragged lists": (altered(data=[[1.0], [1.0, 2.0]]), "in lists of equal length"),
    "objects": (altered(data=[{}] * 3072), "must be numbers"),
    "beyond float32": (altered(data=[1e300] * 3072), "contains NaN, infinity, or numbers beyond float32"),
    "beyond any model": (altered(data=[3e38] * 3072), "has values up to 3e+38; send normalised pixels"),
    "deep lists": (altered(data=json.loads("[" * 200 + "]" * 200)), "pixel_values"),
    "parameters in a list": (altered(parameters=[]), "'parameters' of the input 'pixel_values' must be a JSON object"),
    "both forms of data": (altered(parameters={"binary_data_size": 0}), "has both 'data' and 'binary_data_size'"),
    "top_k of text": (pixels(ONE, parameters={"top_k": "5"}), "top_k must be a whole number from 1, got '5'"),
    "top_k of zero": (pixels(ONE, parameters={"top_k": 0}), "top_k must be a whole number from 1"),
    "top_k of true": (pixels(ONE, parameters={"top_k": True}), "top_k must be a whole number from 1"),
    "an unknown output": (pixels(ONE, outputs=[{"name": "boxes"}]), "the output 'boxes' is not one of logits"),
    "an output twice": (pixels(ONE, outputs=[{"name": LOGITS}] * 2), "is requested twice"),
    "no outputs": (pixels(ONE, outputs=[]), "'outputs' must be a list of 1"),
    "binary of text": (
        pixels(ONE, outputs=[{"name": LOGITS, "parameters": {"binary_data": "yes"}}]),
        "binary_data must be true or false",
    ),
    "all binary of a number": (pixels(ONE, parameters={"binary_data_output": 1}), "must be true or false"),
    "an id that is a number": (pixels(ONE, id=3), "id must be a text"),
    "a long id": (pixels(ONE, id="x" * 300), "id must have at most 256 characters"),
    "an image as text": (
        {"inputs": [{"name": IMAGES, "datatype": BYTES, "shape": [1], "data": ["abc"]}]},
        "must be sent as binary data",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_wrong_json_request_is_refused(served, name):
    body, text = TENSORS[name]
    refused(infer(served.http, "tiny", json.dumps(body)), 400, text)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", '{"inputs": [NaN]}', "\x00", '{"id": "\\ud800"}', "[" * 100_000, '{"inputs": [' + "1," * 5],
)
def test_broken_json_is_refused(served, text):
    refused(infer(served.http, "tiny", text), 400, "")


BINARY = {
    "cut off": (
        binary_pixels(ONE)[0][:-1],
        binary_pixels(ONE)[1],
        "announces 12288 bytes of binary data, 12287 are left",
    ),
    "more than announced": (binary_pixels(ONE)[0] + b"x", binary_pixels(ONE)[1], "got 12289"),
    "JSON longer than the body": (b"{}", 3, "announces 3 bytes of JSON, the body has 2"),
    "JSON cut off": (*[binary_pixels(ONE)[0]], 10, "is not valid JSON"),
    "a size that does not fit": (*binary(PIXELS, FP32, [1, 3, 32, 32], b"1234"), "does not fit its shape"),
    "no whole number of values": (*binary(PIXELS, FP32, [1, 3, 32, 32], b"12345"), "does not fit its shape"),
    "NaN": (*binary_pixels(np.full_like(ONE, np.nan)), "contains NaN"),
    "infinity": (*binary_pixels(np.full_like(ONE, np.inf)), "contains NaN, infinity"),
    "text instead of an image": (*binary_images(b"not an image"), "image_bytes[0]"),
    "an empty image": (*binary_images(b""), "image_bytes[0]"),
    "the second is no image": (*binary_images(b"GIF89a", b"x"), "image_bytes["),
    "an element cut off": (*binary(IMAGES, BYTES, [1], packed([b"abc"])[:-1]), "expected a length before each element"),
    "fewer elements than announced": (
        *binary(IMAGES, BYTES, [2], packed([b"abc"])),
        "expected a length before each element",
    ),
    "a length of 4 GB": (*binary(IMAGES, BYTES, [1], b"\xff\xff\xff\xff"), "expected a length before each element"),
    "a length cut off": (*binary(IMAGES, BYTES, [1], b"\x01\x00"), "expected a length before each element"),
    "two axes": (*binary(IMAGES, BYTES, [1, 1], packed([b"abc"])), "image_bytes has the shape [-1]"),
}


@pytest.mark.parametrize("name", BINARY)
def test_a_wrong_binary_request_is_refused(served, name):
    body, length, text = BINARY[name]
    refused(infer(served.http, "tiny", body, json_length=length), 400, text)


@pytest.mark.parametrize("size", [-1, "7", None, 1.5, True, 2**63, 1e300])
def test_a_binary_size_that_is_no_number_of_bytes_is_refused(served, size):
    request = altered(data=None, parameters={"binary_data_size": size})
    refused(infer(served.http, "tiny", request), 400, "bytes of binary data" if size == 2**63 else "binary_data_size")


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 30, "٣", ""])
def test_a_wrong_length_of_json_is_refused(served, length):
    answer = ask(
        served.http,
        "/v2/models/tiny/infer",
        b"{}",
        headers={"inference-header-content-length": length.encode().decode("latin-1")},
    )
    refused(answer, 400, "inference-header-content-length must be a number of bytes")


@pytest.mark.parametrize(
    "query", ["top_k=0", "top_k=x", "top_k=-1", "top_k=" + "9" * 20, "topk=2", "top_k=2&x=", "top_k=1&" * 20]
)
def test_a_wrong_top_k_for_raw_data_is_refused(served, jpegs, query):
    headers = {"inference-header-content-length": "0"}
    refused(ask(served.http, f"/v2/models/tiny/infer?{query}", jpegs["red"], headers=headers), 400, "top_k")


@pytest.mark.parametrize(
    ("path", "method", "status", "text"),
    [
        ("/v2/models/none/infer", "POST", 404, "unknown model 'none'; this server has tiny, other"),
        ("/v2/models/none", "GET", 404, "unknown model 'none'"),
        ("/v2/models/none/ready", "GET", 404, "unknown model 'none'"),
        ("/v2/models/tiny/versions/2/infer", "POST", 404, "tiny has only the version 1, got '2'"),
        ("/v2/models/tiny/versions/1", "DELETE", 405, "takes GET, got DELETE"),
        ("/v2/models/tiny/infer", "GET", 405, "takes POST, got GET"),
        ("/v2/models/tiny/infer", "PATCH", 405, "takes POST"),
        ("/v2/models/tiny/generate", "POST", 404, "unknown path '/v2/models/tiny/generate'"),
        ("/v1/models/tiny:predict", "POST", 404, "unknown path"),
        ("/v2/repository/models/tiny/unload", "POST", 404, "unknown path"),
        ("/v2/models//infer", "POST", 404, "unknown path"),
        ("/v2/models/..%2f..%2fetc/infer", "POST", 404, "unknown path"),
        ("/v2/models/%00%ff%1b[2J/infer", "POST", 404, "unknown model"),
        ("/" + "a" * 5000, "GET", 404, "unknown path"),
        ("/docs", "GET", 404, "unknown path"),
        ("/metrics", "POST", 405, "takes GET"),
        ("/v2/health/ready", "POST", 405, "takes GET"),
    ],
)
def test_what_is_not_there_is_refused(served, path, method, status, text):
    refused(ask(served.http, path, b"{}" if method == "POST" else None, method=method), status, text)


def test_a_compressed_body_is_refused(served):
    answer = infer(served.http, "tiny", pixels(ONE), **{"content-encoding": "gzip"})
    refused(answer, 415, "compressed bodies are not supported")
