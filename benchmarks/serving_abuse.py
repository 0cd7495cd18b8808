"""What a server answers to abuse, request by request.

    python benchmarks/serving_abuse.py [MODEL]

Every line is sent to a fresh `onnxzoo serve` with its default limits, after which it must still answer a right request.
Exit code 1 if an answer blames the server, if there is none, or if its log has a traceback.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc
import numpy as np
from cold_start import PHOTO
from PIL import Image
from serving_process import Running, onnxzoo_serve

import onnxzoo
from onnxzoo.artifact.onnx_wire import field_head
from onnxzoo.inference_protocol import BYTES, FP32, GRPC_SERVICE, IMAGES, JSON_LENGTH_HEADER, PIXELS, packed

SECONDS = 40.0
HTTP, GRPC = "HTTP", "gRPC"
INFER = f"/{GRPC_SERVICE}/ModelInfer"
MIB = 2**20
MODEL = "pvt_v2_nano_fashion"
MEMORY_MIB = 2048
"""Resident memory that the server may take at the end."""


@dataclass(frozen=True)
class Row:
    """A request, and what came back: a status, and the error in it."""

    request: str
    protocol: str
    status: str
    text: str


class Abuser:
    """Sends requests to one server of one model."""

    def __init__(self, server: Running, model: str, size: int) -> None:
        self._server, self._model, self._size = server, model, size
        self._path = f"/v2/models/{model}/infer".encode()

    def raw(self, *parts: bytes) -> tuple[str, str]:
        """Send these bytes; the status and the error of what comes back before the connection ends."""
        answer = b""
        try:
            with self._connection() as client:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    for part in parts:
                        client.sendall(part)
                with contextlib.suppress(ConnectionResetError):
                    while part := client.recv(65536):
                        answer += part
        except TimeoutError:
            return "no answer", ""
        return told(answer)

    def http(
        self, body: bytes, *, length: int | None = None, headers: bytes = b"", method: bytes = b"POST"
    ) -> tuple[str, str]:
        """An inference request with this body."""
        own = b"" if length is None else b"%s: %d\r\n" % (JSON_LENGTH_HEADER.encode(), length)
        return self.raw(
            b"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s%sContent-Length: %d\r\n\r\n"
            % (method, self._path, own, headers, len(body)),
            body,
        )

    def post(self, path: bytes) -> tuple[str, str]:
        """An empty request to another path."""
        return self.raw(b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % path)

    def binary(self, name: str, datatype: str, shape: list[int], data: bytes) -> tuple[str, str]:
        """An inference request with one binary input."""
        tensor = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        return self.http(head + data, length=len(head))

    def images(self, *images: bytes) -> tuple[str, str]:
        """An inference request with encoded images."""
        return self.binary(IMAGES, BYTES, [len(images)], packed(images))

    def grpc(self, request: bytes, **options: object) -> tuple[str, str]:
        """An inference request over gRPC."""
        with grpc.insecure_channel(self._server.grpc) as channel:
            try:
                channel.unary_unary(INFER)(request, **{"timeout": SECONDS, **options})
            except grpc.RpcError as error:
                return error.code().name, error.details()
        return "OK", ""

    def slow_grpc(self) -> tuple[str, str]:
        """A call that sends no message."""
        ended = threading.Event()

        def nothing() -> Iterator[bytes]:
            ended.wait(SECONDS)
            yield b""

        with grpc.insecure_channel(self._server.grpc) as channel:
            try:
                channel.stream_unary(INFER)(nothing(), timeout=SECONDS)
            except grpc.RpcError as error:
                return error.code().name, error.details()
            finally:
                ended.set()
        return "OK", ""

    def many(self, count: int, one: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        """The statuses of this many at the same time, and the error of one of them."""
        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(lambda _: one(), range(count)))
        statuses = Counter(status for status, _ in found)
        return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())), max(
            (text for _, text in found), key=len
        )

    def connections(self, count: int) -> tuple[str, str]:
        """What one more client gets than may be connected."""
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(self._connection())
            return self.raw()

    def gone(self, count: int) -> tuple[str, str]:
        """Clients that send a request and go before its answer."""
        body = packed([PHOTO.read_bytes()])
        tensor = {"name": IMAGES, "datatype": BYTES, "shape": [1], "parameters": {"binary_data_size": len(body)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        for _ in range(count):
            with self._connection() as client:
                client.sendall(
                    b"POST %s HTTP/1.1\r\nHost: x\r\n%s: %d\r\nContent-Length: %d\r\n\r\n"
                    % (self._path, JSON_LENGTH_HEADER.encode(), len(head), len(head + body))
                    + head
                    + body
                )
        time.sleep(0.5)
        metrics = self.get(b"/metrics")
        served = re.search(r'^onnxzoo_errors_total{kind="cancelled",protocol="http"} (\S+)', metrics, re.MULTILINE)
        return f"{float(served[1]) if served else 0:.0f} of {count} cancelled", ""

    def get(self, path: bytes) -> str:
        """The body of an answer."""
        answer = b""
        with self._connection() as client:
            client.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
            while part := client.recv(65536):
                answer += part
        return answer.partition(b"\r\n\r\n")[2].decode()

    def rows(self) -> Iterator[Row]:
        """Every request, and what came back."""
        zeros = np.zeros((1, 3, self._size, self._size), dtype=np.float32)
        shape, data = list(zeros.shape), zeros.tobytes()
        photo = PHOTO.read_bytes()
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % self._path
        http: list[tuple[str, tuple[str, str]]] = [
            ("a right request", self.binary(PIXELS, FP32, shape, data)),
            ("a body of 65 MiB, announced", self.raw(head + b"Content-Length: %d\r\n\r\n" % (65 * MIB))),
            ("a body of 65 MiB, sent", self.http(b"x" * 65 * MIB)),
            (
                "chunks without end",
                self.raw(head + b"Transfer-Encoding: chunked\r\n\r\n", *[b"100000\r\n%s\r\n" % (b"x" * MIB)] * 70),
            ),
            ("JSON of 100,000 brackets", self.http(b"[" * 100_000)),
            ("60 MiB of empty lists", self.http(b'{"inputs": [' + b"[]," * (20 * MIB))),
            ("15 MiB of empty lists, 32 times", self.many(32, lambda: self.http(b'{"inputs": [' + b"[]," * (5 * MIB)))),
            ("JSON cut off", self.http(b'{"inputs": [')),
            ("33 images", self.images(*[photo] * 33)),
            ("an image of 20,000 x 20,000 pixels in 400 kB", self.images(bomb(20_000))),
            ("a PNG that decompresses to other sizes than it says", self.images(lying_png())),
            ("text instead of an image", self.images(b"not an image")),
            ("half a photo", self.images(photo[: len(photo) // 2])),
            ("an SVG", self.images(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
            ("NaN", self.binary(PIXELS, FP32, shape, np.full_like(zeros, np.nan).tobytes())),
            ("3e38 in every value", self.binary(PIXELS, FP32, shape, np.full_like(zeros, 3e38).tobytes())),
            ("half the data", self.binary(PIXELS, FP32, shape, data[: len(data) // 2])),
            ("a shape of 2^62 images", self.binary(PIXELS, FP32, [2**62, *shape[1:]], data)),
            ("an unknown input", self.binary("image", FP32, shape, data)),
            ("another type", self.binary(PIXELS, "INT64", shape, data)),
            ("an unknown model", self.post(b"/v2/models/x/infer")),
            ("unloading the model", self.post(b"/v2/repository/models/%s/unload" % self._model.encode())),
            ("a compressed body", self.http(zlib.compress(b"x" * MIB), headers=b"Content-Encoding: deflate\r\n")),
            ("DELETE", self.http(b"", method=b"DELETE")),
            ("a header of 1 MiB", self.raw(b"GET / HTTP/1.1\r\nX: " + b"x" * MIB)),
            ("10,000 headers", self.raw(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)),
            ("two lengths", self.raw(head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n")),
            ("TLS to a port without it", self.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
            ("nothing at all", self.raw()),
            ("half of the headers, then nothing", self.raw(b"GET / HTTP/1.1\r\nHo")),
            ("half of the body, then nothing", self.raw(head + b"Content-Length: 100\r\n\r\n{")),
            ("513 connections", self.connections(512)),
            ("200 photos at the same time", self.many(200, lambda: self.images(photo))),
            ("50 clients that go before the answer", self.gone(50)),
        ]
        yield from (Row(name, HTTP, *found) for name, found in http)
        over_grpc: list[tuple[str, tuple[str, str]]] = [
            ("a right request", self.grpc(message(self._model, shape, data))),
            ("a message of 65 MiB", self.grpc(b"x" * 65 * MIB)),
            ("no protobuf", self.grpc(b"\xff" * 1000)),
            ("60 MiB of empty inputs", self.grpc(b"\x2a\x00" * (30 * MIB))),
            (
                "3 MiB of empty parameters, 32 times",
                self.many(32, lambda: self.grpc(field(5, b"\x22\x00" * (3 * MIB // 2)))),
            ),
            ("nothing in the message", self.grpc(b"")),
            ("NaN", self.grpc(message(self._model, shape, np.full_like(zeros, np.nan).tobytes()))),
            ("half the data", self.grpc(message(self._model, shape, data[: len(data) // 2]))),
            ("an unknown model", self.grpc(message("x", shape, data))),
            ("metadata of 100 kB", self.grpc(b"", metadata=[("x", "y" * 100_000)])),
            ("a compressed message", self.grpc(message(self._model, shape, data), compression=grpc.Compression.Gzip)),
            ("a call without a message", self.slow_grpc()),
            (
                "200 photos at the same time",
                self.many(200, lambda: self.grpc(message(self._model, [1], packed([photo]), IMAGES, BYTES))),
            ),
        ]
        yield from (Row(name, GRPC, *found) for name, found in over_grpc)
        yield Row("a right request, at the end", HTTP, *self.binary(PIXELS, FP32, shape, data))

    def _connection(self) -> socket.socket:
        where = urlsplit(self._server.http)
        return socket.create_connection((where.hostname, where.port), timeout=SECONDS)


def told(answer: bytes) -> tuple[str, str]:
    """The status of an answer, and the error in it."""
    if not answer:
        return "closed", ""
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 2"):
        return head.split()[1].decode(), ""
    return head.split()[1].decode(), json.loads(body)["error"]


def message(model: str, shape: list[int], data: bytes, name: str = PIXELS, datatype: str = FP32) -> bytes:
    """A request over gRPC."""
    from onnxzoo.serving.sdk import messages

    tensor = {"name": name, "datatype": datatype, "shape": shape}
    content: bytes = messages.ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[data]
    ).SerializeToString()
    return content


def field(number: int, content: bytes) -> bytes:
    """A field of a message."""
    return field_head(number, len(content)) + content


def bomb(side: int) -> bytes:
    """A black PNG of side x side pixels."""
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def lying_png() -> bytes:
    """A PNG of 16 x 16 pixels whose header says 8000 x 8000."""
    small = bomb(16)
    header = small[12:16] + (8000).to_bytes(4, "big") * 2 + small[24:29]
    return small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]


def abuse(model: str) -> list[Row]:
    """Every request to a server of this model, and what came back."""
    with onnxzoo.load(model, verify=False) as loaded:
        name, size = loaded.name, loaded.image_size
    with onnxzoo_serve([model]) as server:
        found = list(Abuser(server, name, size).rows())
        found.append(Row("memory of the server at its peak", "", f"{server.peak_mib():.0f} MiB", ""))
        found.append(Row("memory of the server at the end", "", f"{server.rss_mib():.0f} MiB", ""))
        log = server.log.read_text()
        found.append(Row("tracebacks in its log", "", str(log.count("Traceback")), ""))
        if server.rss_mib() > MEMORY_MIB:
            found.append(Row("memory", "", "no answer", f"more than {MEMORY_MIB} MiB"))
    return found


def main() -> int:
    """Print the table."""
    rows = abuse(sys.argv[1] if len(sys.argv) > 1 else MODEL)
    for row in rows:
        print(f"{row.protocol:<5} {row.request:<52} {row.status:<28} {row.text}")
    faults = [row for row in rows if re.search(r"\b(500|INTERNAL|UNKNOWN|no answer)\b", row.status)]
    faults += [row for row in rows if row.request == "tracebacks in its log" and row.status != "0"]
    print(f"{len(rows)} rows, {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
