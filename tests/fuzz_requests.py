"""Mutants of requests to a server, over HTTP and gRPC, and what comes back.

    python tests/fuzz_requests.py [--count N] [--seed S]

A mutant may be served or refused. A fault is an answer that blames the server (500, INTERNAL, UNKNOWN), an error that
is not one printable line, no answer within 20 seconds, or a server that does not answer a right request afterwards.
Faults are printed with the token that makes them again; exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np
from fuzz_mutators import BLIND, mutate_json
from oip import binary_images, binary_pixels, pixels
from PIL import Image
from tiny import write_artifact

from onnxzoo.inference_protocol import BYTES, FP32, GRPC_SERVICE, IMAGES, JSON_LENGTH_HEADER, LABEL, PIXELS, packed
from onnxzoo.serving.sdk import messages

SECONDS = 20.0
MOST_BYTES = 2 * 2**20
HEADERS = (
    b"Content-Length: 99999999999999999999",
    b"Content-Length: -1",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Expect: 100-continue",
    b"Content-Encoding: br",
    b"Connection: close",
    b"Connection: Upgrade\r\nUpgrade: websocket",
    b"Inference-Header-Content-Length: 0",
    b"Inference-Header-Content-Length: 18446744073709551615",
    b"X-Request-Id: " + b"\xe2\x80\xae" * 100,
    b"Host: a\r\nHost: b",
)
PATHS = (b"/v2/models/tiny/infer", b"/v2/models/tiny/versions/1/infer", b"/v2/models/none/infer", b"/v2/models/%ff")
BLAMES_SERVER = {"500", "INTERNAL", "UNKNOWN", "no answer", "closed"}


@dataclass
class Outcome:
    """`statuses`: how many mutants got each, by protocol. `faults`: tokens, and what happened."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)

    def add(self, token: str, status: str, error: str) -> None:
        protocol = token.partition(":")[0]
        self.statuses[protocol, status] += 1
        if status in BLAMES_SERVER or not error.isprintable() or "Traceback" in error:
            self.faults.append((token, f"{status} {error}"))


def encoded(kind: str) -> bytes:
    """A small image in Pillow's format of this name."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 30)).save(buffer, kind)
    return buffer.getvalue()


def bodies() -> list[tuple[bytes, int | None]]:
    """Bodies of right requests, and the length of their JSON where it is announced."""
    one = np.zeros((1, 3, 32, 32), dtype=np.float32)
    return [
        (json.dumps(pixels(one, parameters={"top_k": 2}, outputs=[{"name": LABEL}])).encode(), None),
        (json.dumps({"inputs": [{"name": IMAGES, "datatype": BYTES, "shape": [1], "data": ["a"]}]}).encode(), None),
        binary_pixels(one, id="one", parameters={"binary_data_output": True}),
        binary_pixels(one, id="a\r\nb: c"),
        binary_images(encoded("JPEG"), encoded("PNG"), parameters={"top_k": 1}),
        (encoded("JPEG"), 0),
    ]


def grpc_requests() -> list[bytes]:
    """Right requests."""
    raw = np.zeros((1, 3, 32, 32), dtype=np.float32).tobytes()
    tensor = {"name": PIXELS, "datatype": FP32, "shape": [1, 3, 32, 32]}
    image = {"name": IMAGES, "datatype": BYTES, "shape": [1]}
    right = [
        messages.ModelInferRequest(model_name="tiny", inputs=[tensor], raw_input_contents=[raw], id="one"),
        messages.ModelInferRequest(
            model_name="tiny",
            inputs=[image],
            raw_input_contents=[packed([encoded("JPEG")])],
            parameters={"top_k": {"int64_param": 2}},
            outputs=[{"name": LABEL}],
        ),
        messages.ModelInferRequest(model_name="tiny", inputs=[{**tensor, "contents": {"fp32_contents": [0.5] * 3072}}]),
    ]
    return [one.SerializeToString() for one in right]


def http_mutant(draw: random.Random) -> bytes:
    """A request of which something is wrong: its JSON, its data, the lengths that it announces, or its head."""
    body, length = draw.choice(bodies())
    head = [JSON_LENGTH_HEADER.encode() + b": %d" % length] if length is not None else []
    kind = draw.randrange(4)
    if kind == 0 and length != 0:
        text = mutate_json(body[:length], draw)[:MOST_BYTES]
        body = text + (b"" if length is None else body[length:])
        head = [JSON_LENGTH_HEADER.encode() + b": %d" % len(text)] if length is not None else []
    elif kind in (0, 1):
        body = draw.choice(BLIND)(body, draw)[:MOST_BYTES]
    elif kind == 2:
        head.append(draw.choice(HEADERS))
    line = b"%s %s HTTP/1.1" % (
        draw.choice((b"POST",) * 8 + (b"GET", b"PUT", b"\xff")),
        draw.choice(PATHS[:1] * 5 + PATHS),
    )
    own = (
        []
        if any(one.lower().startswith((b"content-length", b"transfer")) for one in head)
        else [b"Content-Length: %d" % len(body)]
    )
    request = b"\r\n".join([line, b"Host: x", *own, *head, b"", b""]) + body
    return draw.choice(BLIND)(request, draw)[:MOST_BYTES] if kind == 3 else request


def grpc_mutant(draw: random.Random) -> bytes:
    """A message of which something is wrong: its bytes, or a field of it."""
    request = draw.choice(grpc_requests())
    if draw.random() < 0.6:
        return draw.choice(BLIND)(request, draw)[:MOST_BYTES]
    message = messages.ModelInferRequest.FromString(request)
    tensor = message.inputs[0]
    change: Callable[[], object] = draw.choice(
        (
            lambda: tensor.shape.append(draw.choice((0, -1, 2**62))),
            lambda: tensor.shape.__setitem__(0, draw.choice((0, -1, 2, 2**62))),
            lambda: setattr(tensor, "datatype", draw.choice(("", "FP64", "BYTES", "INT8", "BOOL", "\x00"))),
            lambda: setattr(tensor, "name", draw.choice(("", IMAGES, PIXELS, "\u202e", "x" * 10_000))),
            lambda: message.inputs.append(tensor),
            lambda: message.raw_input_contents.append(b""),
            lambda: message.raw_input_contents.__delitem__(slice(None)),
            lambda: message.outputs.add(name=draw.choice(("logits", "nothing", ""))),
            lambda: message.parameters["top_k"].__setattr__("int64_param", draw.choice((-(2**63), 0, 2**63 - 1))),
            lambda: message.parameters["top_k"].Clear(),
        )
    )
    change()
    mutated: bytes = message.SerializeToString()
    return mutated


def ask_http(url: str, request: bytes) -> tuple[str, str]:
    """The status of the answer to these bytes, `closed` without one, `no answer` after SECONDS; and the error."""
    where = urlsplit(url)
    answer = b""
    try:
        # A client that goes on sending what nobody reads learns no more than that the connection has ended.
        with (
            socket.create_connection((where.hostname, where.port), timeout=SECONDS) as client,
            contextlib.suppress(BrokenPipeError, ConnectionResetError),
        ):
            client.sendall(request)
            while not complete(answer) and (part := client.recv(65536)):
                answer += part
    except TimeoutError:
        return "no answer", ""
    if not answer:
        return "closed", ""
    head, _, body = final(answer).partition(b"\r\n\r\n")
    status = head.split()[1].decode()
    error = json.loads(body)["error"] if status[0] in "45" and b"\r\n\r\n" not in body and body else ""
    return status, error


def final(answer: bytes) -> bytes:
    """The answer without the one that asks for the body."""
    return answer.partition(b"\r\n\r\n")[2] if answer.startswith(b"HTTP/1.1 100") else answer


def complete(answer: bytes) -> bool:
    """Whether the first answer in these bytes is whole."""
    head, end, body = final(answer).partition(b"\r\n\r\n")
    if not end:
        return False
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return bool(lengths) and len(body) >= int(lengths[0])


def ask_grpc(channel: grpc.Channel, request: bytes) -> tuple[str, str]:
    """The status of the answer, and the error."""
    try:
        channel.unary_unary(f"/{GRPC_SERVICE}/ModelInfer")(request, timeout=SECONDS)
    except grpc.RpcError as error:
        late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return "no answer" if late else error.code().name, error.details() or ""
    return "OK", ""


def try_mutants(url: str, address: str, count: int, seed: int) -> Outcome:
    """Send `count` mutants, half of them over each protocol, to a server of `tiny`."""
    outcome = Outcome()
    with grpc.insecure_channel(address) as channel:
        for number in range(count):
            protocol = ("http", "grpc")[number % 2]
            token = f"{protocol}:{seed}:{number}"
            draw = random.Random(token)
            if protocol == "http":
                outcome.add(token, *ask_http(url, http_mutant(draw)))
            else:
                outcome.add(token, *ask_grpc(channel, grpc_mutant(draw)))
        body = json.dumps(pixels(np.zeros((1, 3, 32, 32), dtype=np.float32))).encode()
        right = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (PATHS[0], len(body))
        # More than once, as a server that does not wait for mutants may find this client slow, too.
        found = {ask_http(url, right + body)[0] for _ in range(5)} | {ask_grpc(channel, grpc_requests()[0])[0]}
        if not {"200", "OK"} <= found:
            outcome.faults.append(("a right request at the end", str(found)))
    return outcome


def main() -> int:
    """Start a server, and print what became of the mutants."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    from onnxzoo.serving.limits import Limits
    from onnxzoo.serving.server import background
    from onnxzoo.serving.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        model = write_artifact(Path(folder) / "tiny")
        # Mutants that announce more than they send are many: they are not waited for as long as real clients.
        settings = Settings((str(model),), http_port=0, grpc_port=0, limits=Limits(receive_s=0.05, header_s=0.05))
        with background(settings) as server:
            outcome = try_mutants(server.http, server.grpc, asked.count, asked.seed)
    for (protocol, status), count in sorted(outcome.statuses.items()):
        print(f"{protocol}  {status:<20} {count:>6}")
    for token, detail in outcome.faults:
        print(f"fault  {token}  {detail}")
    print(f"{sum(outcome.statuses.values())} mutants, {len(outcome.faults)} faults")
    return int(bool(outcome.faults))


if __name__ == "__main__":
    sys.exit(main())
