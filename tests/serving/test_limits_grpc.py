"""The limits over gRPC: each is met with its status, and the server goes on."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from oip import ask
from PIL import Image

from onnxzoo.inference_protocol import BYTES, FP32, GRPC_SERVICE, IMAGES, PIXELS, packed
from onnxzoo.serving.limits import Limits
from onnxzoo.serving.sdk import messages
from onnxzoo.serving.server import Address

SMALL = Limits(
    body_bytes=100_000,
    message_bytes=50_000,
    images=4,
    queue=2,
    header_bytes=4096,
    held_bytes=150_000,
    pixels=10_000,
)
INFER = f"/{GRPC_SERVICE}/ModelInfer"
INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(scope="module")
def address(start) -> Iterator[Address]:
    """A server with small limits."""
    with start(limits=SMALL) as found:
        yield found


@pytest.fixture
def channel(address) -> Iterator[grpc.Channel]:
    """A channel to it; afterwards the server still answers."""
    with grpc.insecure_channel(address.grpc) as found:
        yield found
        found.unary_unary(INFER)(request(), timeout=20)


def request(images: int = 1, **fields: object) -> bytes:
    raw = np.zeros((images, 3, 32, 32), dtype=np.float32).tobytes()
    tensor = {"name": PIXELS, "datatype": FP32, "shape": [images, 3, 32, 32]}
    message = messages.ModelInferRequest(model_name="tiny", inputs=[tensor], raw_input_contents=[raw], **fields)
    content: bytes = message.SerializeToString()
    return content


def status(call: object, *arguments: object, **options: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **{"timeout": 20, **options})  # type: ignore[operator]
    return caught.value.code(), caught.value.details()


def test_a_large_message_is_refused(channel):
    code, text = status(channel.unary_unary(INFER), b"x" * 100_001)
    assert code is EXHAUSTED
    assert "100001 vs. 100000" in text


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (
            b"\x2a\xe0\xd4\x03" + b"\x22\x00" * 30_000,
            EXHAUSTED,
            "a message without its raw data has at most 50000 bytes",
        ),
        (b"\x2a\x00" * 257, INVALID, "a message has at most 256 fields at its top"),
        (b"\x2a\x05\x00", INVALID, "the message of 3 bytes is not a valid message of the protocol"),
    ],
)
def test_a_message_that_would_take_much_memory_is_not_parsed(channel, message, code, text):
    found = status(channel.unary_unary(INFER), message)
    assert found[0] is code
    assert text in found[1]


def test_too_many_images_are_refused(channel):
    code, text = status(channel.unary_unary(INFER), request(5))
    assert (code, text) == (EXHAUSTED, "a request takes at most 4 images, got 5; send several")


def test_an_image_of_too_many_pixels_is_refused(channel):
    buffer = io.BytesIO()
    Image.new("RGB", (101, 100)).save(buffer, "PNG")
    tensor = {"name": IMAGES, "datatype": BYTES, "shape": [1]}
    message = messages.ModelInferRequest(
        model_name="tiny", inputs=[tensor], raw_input_contents=[packed([buffer.getvalue()])]
    )
    code, text = status(channel.unary_unary(INFER), message.SerializeToString())
    assert code is INVALID
    assert "image_bytes[0]" in text


def test_a_bomb_of_headers_is_refused(channel):
    code, _ = status(channel.unary_unary(INFER), request(), metadata=[("x", "y" * 5000)])
    assert code is EXHAUSTED


def test_a_compressed_message_is_refused(channel):
    code, _ = status(channel.unary_unary(INFER), request(), compression=grpc.Compression.Gzip)
    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_a_slow_message_is_refused(start):
    ended = threading.Event()

    def never() -> Iterator[bytes]:
        ended.wait(20)
        yield b""

    with start(limits=Limits(receive_s=0.1)) as hasty, grpc.insecure_channel(hasty.grpc) as channel:
        found = status(channel.stream_unary(INFER), never())
        ended.set()
    assert found == (DEADLINE, "no message arrived within 0.1 s; send less at a time")


def test_a_call_without_a_message_is_refused(channel):
    code, text = status(channel.stream_unary(INFER), iter(()))
    assert (code, text) == (INVALID, "the call has no message; expected one")


def queue(address: Address) -> float:
    return metric(address, "onnxzoo_queue_length")


def metric(address: Address, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", ask(address.http, "/metrics").body.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_full_queue_refuses_and_does_not_wait(channel, address, gate):
    gate.shut()
    call = channel.unary_unary(INFER)
    waiting = [call.future(request(), timeout=20) for _ in range(2)]
    while queue(address) < 2:
        pass
    code, text = status(call, request())
    assert (code, text) == (EXHAUSTED, "2 requests are waiting or running, the limit is 2; try later")
    gate.open()
    assert all(one.result() for one in waiting)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_request_whose_client_has_gone_is_not_run(channel, address, gate, how):
    cancelled = 'onnxzoo_errors_total{kind="cancelled",protocol="grpc"}'
    gate.shut()
    before = metric(address, cancelled)
    call = channel.unary_unary(INFER)
    first = call.future(request(), timeout=20)
    assert gate.begun.acquire(timeout=20)
    second = call.future(request(), timeout=20 if how == "cancel" else 0.3)
    if how == "cancel":
        while queue(address) < 2:
            pass
        second.cancel()
    while metric(address, cancelled) == before:
        pass
    metric(address, cancelled)  # by the time of its answer the cancelled one has left the engine's queue
    gate.open()
    assert first.result()
    assert gate.runs == [1]


def test_a_request_that_takes_too_long_is_refused(start, gate):
    with start(limits=Limits(request_s=0.2)) as address, grpc.insecure_channel(address.grpc) as channel:
        gate.shut()
        found = status(channel.unary_unary(INFER), request())
        gate.open()
    assert found == (DEADLINE, "the request took longer than 0.2 s; send fewer images")
