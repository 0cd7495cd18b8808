"""The limits over HTTP: each is met with its status and a sentence, and the server goes on."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
from oip import ask, binary_images, binary_pixels, infer, pixels
from PIL import Image

from onnxzoo.serving.limits import Limits

SMALL = Limits(
    body_bytes=100_000,
    json_bytes=50_000,
    images=4,
    queue=2,
    header_bytes=4096,
    connections=8,
    held_bytes=150_000,
    pixels=10_000,
)
ONE = np.zeros((1, 3, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def url(start) -> Iterator[str]:
    """A server with small limits."""
    with start(limits=SMALL) as address:
        yield address.http


@pytest.fixture(scope="module")
def hasty(start) -> Iterator[str]:
    """A server that does not wait for slow clients; for these tests only, as on a busy machine every client is slow."""
    with start(limits=Limits(receive_s=0.5, header_s=0.5)) as address:
        yield address.http


@pytest.fixture(autouse=True)
def goes_on(url):
    """Afterwards it still answers, and nothing is in progress."""
    yield
    assert infer(url, "tiny", pixels(ONE)).status == 200
    assert metric(url, "onnxzoo_requests_in_progress") == 1


def metric(url: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", ask(url, "/metrics").body.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def errors(url: str, kind: str) -> float:
    return metric(url, f'onnxzoo_errors_total{{kind="{kind}",protocol="http"}}')


@contextlib.contextmanager
def connection(url: str) -> Iterator[socket.socket]:
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as found:
        yield found


def sent(url: str, *parts: bytes) -> tuple[int, str]:
    """Send these bytes and nothing more; the status and the error of the answer, after which the connection ends."""
    with connection(url) as client:
        for part in parts:
            client.sendall(part)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # by a server that does not read the rest
            while part := client.recv(65536):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_a_body_that_announces_too_much_is_not_read(url):
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100001\r\n\r\n"
    assert sent(url, head) == (413, "a body has at most 100000 bytes; send fewer images")


def test_a_body_that_grows_too_large_is_refused(url):
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (50_001, b"x" * 50_001)
    assert sent(url, head, chunk, chunk)[0] == 413


def test_a_large_body_is_refused_and_its_connection_lives_on(url):
    with connection(url) as client:
        head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
        client.sendall(head + b"x" * 300_000 + b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b""
        while part := client.recv(65536):
            answers += part
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"413", b"200"]


def test_json_that_would_take_much_memory_is_not_parsed(url):
    answer = infer(url, "tiny", b'{"inputs": [' + b"[]," * 20_000)
    assert (answer.status, answer.error) == (
        413,
        "JSON has at most 50000 bytes, got 60012; send binary data",
    )


def test_too_many_images_are_refused(url, jpegs):
    body, length = binary_pixels(np.zeros((5, 3, 32, 32), dtype=np.float32))
    answer = infer(url, "tiny", body, json_length=length)
    assert (answer.status, answer.error) == (413, "a request takes at most 4 images, got 5; send several")
    body, length = binary_images(*[jpegs["red"]] * 5)
    assert infer(url, "tiny", body, json_length=length).status == 413


def test_an_image_of_too_many_pixels_is_refused(url):
    buffer = io.BytesIO()
    Image.new("RGB", (101, 100)).save(buffer, "PNG")
    body, length = binary_images(buffer.getvalue())
    answer = infer(url, "tiny", body, json_length=length)
    assert answer.status == 400
    assert "image_bytes[0]" in answer.error
    assert "10000" in answer.error.replace(",", "")


def test_a_full_queue_refuses_and_does_not_wait(url, gate, aside):
    gate.shut()
    waiting = [aside.submit(infer, url, "tiny", pixels(ONE)) for _ in range(2)]
    while metric(url, "onnxzoo_queue_length") < 2:
        pass
    answer = infer(url, "tiny", pixels(ONE))
    assert (answer.status, answer.error) == (429, "2 requests are waiting or running, the limit is 2; try later")
    gate.open()
    assert [one.result().status for one in waiting] == [200, 200]


def test_bodies_hold_only_so_much_memory_together(url, gate, aside):
    gate.shut()
    body, length = binary_pixels(np.zeros((4, 3, 32, 32), dtype=np.float32), id="x" * 200)
    large = body[:length] + b" " * 40_000 + body[length:]
    waiting = aside.submit(infer, url, "tiny", large, json_length=length + 40_000)
    assert gate.begun.acquire(timeout=20)
    answer = infer(url, "tiny", large, json_length=length + 40_000)
    assert answer.status == 429
    assert "take more than 150000 bytes in all" in answer.error
    gate.open()
    assert waiting.result().status == 200


def test_too_many_connections_are_refused(url):
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connection(url))
        assert sent(url) == (503, "8 connections are open, which is the limit; try later")


@pytest.mark.parametrize(
    "bomb",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * 5000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000,
        b"GET /" + b"x" * 5000,
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"X: y\r\n" * 1000 + b"\r\n",  # complete at once
    ],
)
def test_a_bomb_of_headers_is_refused(url, bomb):
    assert sent(url, bomb) == (431, "the headers have more than 4096 bytes")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX\x00: y\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(url, nonsense):
    assert sent(url, nonsense) == (400, "the connection does not carry valid HTTP/1.1; check the client")


@pytest.mark.parametrize("start_of_request", [b"", b"GET /v2 HT", b"GET /v2 HTTP/1.1\r\nHost: x\r\n"])
def test_slow_headers_end_the_connection(hasty, start_of_request):
    before = errors(hasty, "slow_client")
    assert sent(hasty, start_of_request) == (408, "no complete headers arrived within 0.5 s")
    assert errors(hasty, "slow_client") == before + 1


def test_slow_headers_of_a_second_request_end_the_connection(hasty):
    with connection(hasty) as client:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/hea")
        answers = b""
        while part := client.recv(65536):
            answers += part
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"408"]


def test_a_slow_body_is_refused(hasty):
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{"
    assert sent(hasty, head) == (408, "the body did not arrive within 0.5 s; send less at a time")


def test_a_client_that_does_not_read_is_dropped(hasty):
    before = errors(hasty, "slow_client")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect((urlsplit(hasty).hostname, urlsplit(hasty).port))
        with contextlib.suppress(OSError):
            # The server stops to read, too, until it gives the connection up.
            while True:
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
    assert errors(hasty, "slow_client") == before + 1


def test_a_request_whose_client_has_gone_is_not_run(url, gate, aside):
    gate.shut()
    before = errors(url, "cancelled")
    first = aside.submit(infer, url, "tiny", pixels(ONE))
    assert gate.begun.acquire(timeout=20)
    body = json.dumps(pixels(ONE)).encode()
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connection(url) as client:
        client.sendall(head + body)
        while metric(url, "onnxzoo_queue_length") < 2:
            pass
    while errors(url, "cancelled") == before:
        pass
    metric(url, "onnxzoo_queue_length")  # by the time of its answer the cancelled one has left the engine's queue
    gate.open()
    assert first.result().status == 200
    assert gate.runs == [1]


def test_a_client_that_goes_while_it_sends_is_cancelled(url):
    before = errors(url, "cancelled")
    with connection(url) as client:
        client.sendall(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        while metric(url, "onnxzoo_requests_in_progress") < 2:
            pass
    while errors(url, "cancelled") == before:
        pass


def test_a_body_that_is_slower_than_the_time_of_a_request_is_the_client_s_fault(start):
    with start(limits=Limits(request_s=0.2)) as address:
        head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{"
        assert sent(address.http, head) == (408, "the request did not arrive within 0.2 s")


def test_a_request_that_takes_too_long_is_refused(start, gate):
    with start(limits=Limits(request_s=0.2)) as address:
        gate.shut()
        answer = infer(address.http, "tiny", pixels(ONE))
        gate.open()
    assert (answer.status, answer.error) == (504, "the request took longer than 0.2 s; send fewer images")
