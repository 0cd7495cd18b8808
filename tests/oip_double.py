"""A small server of the Open Inference Protocol on loopback, over any function of a batch, with faults to order."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from onnxzoo.inference_protocol import JSON_LENGTH_HEADER as HEADER_LENGTH
from onnxzoo.results import Array

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class OipDouble:
    """What the server answers, to be changed by tests; `url` is the model's address.

    `compute`: the outputs by name of a batch. `binary`: whether it knows the extension for binary data; without, it
    reads JSON only and answers what it does not understand with status 400. `metadata`: changes to the model's
    metadata. `answers`: the whole answer to a path, instead of its own. `requests`: what came, as (path, headers,
    body).
    """

    compute: Callable[[Array], Mapping[str, Array]]
    shapes: Mapping[str, list[int]]
    input_shape: list[int]
    binary: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def described(self) -> dict[str, Any]:
        outputs = [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in self.shapes.items()]
        pixels = {"name": "pixel_values", "datatype": "FP32", "shape": self.input_shape}
        own = {"name": "tiny", "versions": ["1"], "platform": "double", "inputs": [pixels], "outputs": outputs}
        return {**own, **self.metadata}


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if "Content_Length" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body)


def send_json(handler: BaseHTTPRequestHandler, document: Any, status: int = 200) -> None:
    send(handler, status, json.dumps(document).encode(), Content_Type="application/json")


@contextlib.contextmanager
def served(double: OipDouble, model: str = "tiny") -> Iterator[OipDouble]:
    """Serve the model until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            double.requests.append((self.path, dict(self.headers.items()), body))
            answer = double.answers.get(self.path)
            if answer is not None:
                answer(self)
            elif self.path == "/v2":
                send_json(self, {"name": "double", "version": "1.2", "extensions": []})
            elif self.path == f"/v2/models/{model}":
                send_json(self, double.described())
            elif self.path == f"/v2/models/{model}/infer":
                _infer(self, double, body)
            else:
                send_json(self, {"error": f"nothing at {self.path}"}, 404)

    class Server(ThreadingHTTPServer):
        request_queue_size = 64
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}/{model}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _infer(handler: BaseHTTPRequestHandler, double: OipDouble, body: bytes) -> None:
    length = handler.headers.get(HEADER_LENGTH)
    if length is not None and not double.binary:
        send_json(handler, {"error": "the body is not JSON"}, 400)
        return
    request = json.loads(body if length is None else body[: int(length)])
    (tensor,) = request["inputs"]
    assert (tensor["name"], tensor["datatype"]) == ("pixel_values", "FP32")
    if length is None:
        images = np.array(tensor["data"], np.float32)
    else:
        assert tensor["parameters"]["binary_data_size"] == len(body) - int(length)
        images = np.frombuffer(body[int(length) :], "<f4")
    outputs = double.compute(images.reshape(tensor["shape"]))
    answered: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for wanted in request["outputs"]:
        values = outputs[wanted["name"]]
        one = {"name": wanted["name"], "datatype": "FP32", "shape": list(values.shape)}
        if wanted.get("parameters", {}).get("binary_data"):
            parts.append(values.astype("<f4").tobytes())
            answered.append({**one, "parameters": {"binary_data_size": len(parts[-1])}})
        else:
            answered.append({**one, "data": values.ravel().tolist()})
    head = json.dumps({"model_name": "tiny", "outputs": answered}).encode()
    if parts:
        send(handler, 200, head + b"".join(parts), **{HEADER_LENGTH.replace("-", "_"): str(len(head))})
    else:
        send(handler, 200, head, Content_Type="application/json")
