"""Requests of the Open Inference Protocol, written byte by byte, so that tests can also send wrong ones."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from onnxzoo.inference_protocol import BYTES, FP32, IMAGES, JSON_LENGTH_HEADER, PIXELS, packed
from onnxzoo.results import Array


@dataclass(frozen=True)
class Answer:
    """What a server answered over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]

    def array(self, name: str) -> Any:
        """An output of a JSON answer, in its shape."""
        found = next(one for one in self.json["outputs"] if one["name"] == name)
        return np.array(found["data"]).reshape(found["shape"])


def ask(
    url: str,
    path: str,
    body: bytes | str | None = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
) -> Answer:
    """One request on a connection of its own."""
    where = urlsplit(url)
    if where.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(where.netloc, timeout=20, context=trust)
    else:
        connection = http.client.HTTPConnection(where.netloc, timeout=20)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers or {}))
        found = connection.getresponse()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
    finally:
        connection.close()


def infer(url: str, model: str, body: bytes | str | Any, *, json_length: int | None = None, **headers: str) -> Answer:
    """An inference request: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    length = {} if json_length is None else {JSON_LENGTH_HEADER: str(json_length)}
    return ask(url, f"/v2/models/{model}/infer", content, headers={**length, **headers})


def pixels(batch: Array, **further: Any) -> dict[str, Any]:
    """A JSON request for tensors."""
    tensor = {"name": PIXELS, "datatype": FP32, "shape": list(batch.shape), "data": batch.ravel().tolist()}
    return {"inputs": [tensor], **further}


def binary(name: str, datatype: str, shape: list[int], data: bytes, **further: Any) -> tuple[bytes, int]:
    """The body of a request with one binary input, and the length of its JSON."""
    tensor = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], **further}).encode()
    return head + data, len(head)


def binary_pixels(batch: Array, **further: Any) -> tuple[bytes, int]:
    """The body of a request for tensors, in binary form."""
    return binary(PIXELS, FP32, list(batch.shape), batch.tobytes(), **further)


def binary_images(*images: bytes, **further: Any) -> tuple[bytes, int]:
    """The body of a request for encoded images."""
    return binary(IMAGES, BYTES, [len(images)], packed(images), **further)
