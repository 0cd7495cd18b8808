"""The Open Inference Protocol by HTTP: tensors as bytes behind the JSON (the binary data extension), else within it.

Source: the protocol's specification, and the extension as Triton documents it (extension_binary_data.md).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import EngineError, EngineUnavailableError, InputError, OnnxzooError, one_line
from ..inference_protocol import FP32, JSON_LENGTH_HEADER
from ..network import environment_fault
from ..results import Array, TensorSpec
from ..strict_json import parse_json
from ..text import beginning
from .oip_address import HTTPS, TOKEN_VARIABLE, Address
from .oip_tensors import MAX_TENSORS, Described, ProtocolError, decoded, largest_answer, spec_of

CONNECT_TIMEOUT_S = 10.0
METADATA_TIMEOUT_S = 30.0
INFER_TIMEOUT_S = 120.0
"""For one request from its first byte to the last of the answer, however slowly they come."""

MAX_METADATA_BYTES = 2**22
"""Metadata may have the names of all classes in it."""
MAX_HEADER_BYTES = 2**18
"""Of the JSON before an answer's tensors, or of an error's."""
MAX_UNKNOWN_BYTES = 2**26
"""Of an answer whose size the metadata do not tell."""
BYTES_PER_NUMBER = 32
"""Of a number and its separators in JSON."""
CHUNK_BYTES = 2**16


class HttpTransport:
    """A model behind HTTP. Redirects are not followed, and proxies of the environment are not used.

    Every request has its own connection, so that many threads may use it.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        self._address = address
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "onnxzoo"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._binary = True

    def describe(self) -> Described:
        """The model's metadata, and the server's name; see Transport."""
        answer, _ = self._exchange("GET", self._address.model_path, limit=MAX_METADATA_BYTES)
        with self._answer("metadata"):
            metadata = _object(answer)
            return Described(self._server(), _specs(metadata, "inputs"), _specs(metadata, "outputs"))

    def infer(self, name: str, images: Array, outputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
        """The outputs for a batch; see Transport. A server that refuses binary data is asked again with JSON."""
        if self._binary:
            try:
                return self._infer(name, images, outputs, binary=True)
            except _RefusedError as refused:
                try:
                    found = self._infer(name, images, outputs, binary=False)
                except (_RefusedError, EngineError):
                    raise refused.error from None
                self._binary = False
                return found
        try:
            return self._infer(name, images, outputs, binary=False)
        except _RefusedError as refused:
            raise refused.error from None

    def close(self) -> None:
        """Nothing: no connection outlives its request."""

    def _infer(self, name: str, images: Array, outputs: Mapping[str, TensorSpec], *, binary: bool) -> dict[str, Array]:
        body, headers = _request(name, images, outputs, binary=binary)
        values = largest_answer(len(images), outputs, BYTES_PER_NUMBER)
        limit = MAX_UNKNOWN_BYTES if values is None else values + MAX_HEADER_BYTES
        answer, header_bytes = self._exchange("POST", f"{self._address.model_path}/infer", body, headers, limit=limit)
        with self._answer("answer"):
            return _outputs(answer, header_bytes, outputs)

    def _server(self) -> str:
        """The server's name and version, which are only shown."""
        try:
            answer, _ = self._exchange("GET", "v2", limit=MAX_METADATA_BYTES)
            server = _object(answer)
        except (OnnxzooError, _RefusedError, ProtocolError):
            return "unknown"
        return " ".join(beginning(str(server[key]), 40) for key in ("name", "version") if server.get(key)) or "unknown"

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int,
    ) -> tuple[bytes, int | None]:
        """The body of an answer of status 200, and the length of the JSON in it if tensors follow.

        Raises EngineUnavailableError if the server cannot be reached, does not answer in time or has no such model;
        _RefusedError for a status that blames the request, EngineError for every other fault.
        """
        timeout_s = METADATA_TIMEOUT_S if body is None else INFER_TIMEOUT_S
        connection = self._connection()
        late = threading.Event()
        watch: threading.Timer | None = None
        try:
            connection.connect()
            # A socket's own limit is for each piece of an answer, and a server may send it byte by byte.
            connection.sock.settimeout(timeout_s)
            watch = threading.Timer(timeout_s, _cut, (connection.sock, late))
            watch.daemon = True
            watch.start()
            connection.request(method, f"{self._address.prefix}/{path}", body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
            answer = _limited(response, limit if response.status == http.client.OK else MAX_HEADER_BYTES)
            if late.is_set():
                raise TimeoutError
            if response.status != http.client.OK:
                raise self._refusal(response, answer, method)
            return answer, _header_length(response, len(answer))
        except ProtocolError as error:
            raise EngineError(f"{self._address} gave an answer that is not valid: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise EngineUnavailableError(
                    f"{self._address} gave no whole answer within {timeout_s:g} s; is it overloaded?"
                ) from error
            raise self._unreachable(error) from error
        finally:
            if watch is not None:
                watch.cancel()
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        address = self._address
        if address.scheme == HTTPS:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S, context=context)
        return http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S)

    def _unreachable(self, error: Exception) -> EngineUnavailableError:
        fault = environment_fault(error) if isinstance(error, ssl.SSLError) else None
        if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
            return EngineUnavailableError(
                f"{self._address} does not speak HTTP as a server of the Open Inference Protocol does "
                f"({one_line(error)}); check the port"
            )
        if fault is not None:
            return EngineUnavailableError(f"{self._address} cannot be reached: {fault}")
        reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
        tls = "" if self._address.secure else ", and use https if it has a certificate"
        return EngineUnavailableError(
            f"{self._address} cannot be reached: {reason}; check the address and that the server runs{tls}"
        )

    def _refusal(self, response: http.client.HTTPResponse, answer: bytes, method: str) -> Exception:
        status = response.status
        if 300 <= status < 400:
            to = response.headers.get("Location", "elsewhere")
            return EngineUnavailableError(
                f"{self._address} redirects to {beginning(to)}, and redirects are not followed; give the final address"
            )
        said = _error_text(answer)
        if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            return EngineUnavailableError(
                f"{self._address} refuses access (status {status}){said}; set {TOKEN_VARIABLE} to its bearer token"
            )
        if status == http.client.NOT_FOUND or method == "GET":
            return EngineUnavailableError(
                f"{self._address} has no model {self._address.model!r} (status {status}){said}; check the name, and "
                "whether the server is ready"
            )
        error = EngineError(f"{self._address} refuses the request (status {status}){said}")
        return _RefusedError(error) if status in REFUSALS else error

    @contextlib.contextmanager
    def _answer(self, what: str) -> Iterator[None]:
        try:
            yield
        except ProtocolError as error:
            raise EngineError(f"{self._address} gave {what} that are not valid: {error}") from None


REFUSALS = frozenset({400, 406, 415, 422, 500, 501})
"""Status codes of servers that do not know the binary data extension, as they read bytes as text."""


class _RefusedError(Exception):
    """The server blames the request; `error` says so."""

    def __init__(self, error: EngineError) -> None:
        self.error = error


def _cut(connected: socket.socket, late: threading.Event) -> None:
    """End whatever waits for the connection."""
    late.set()
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _limited(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The body; raises ProtocolError if it has more than `limit` bytes or is compressed."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ProtocolError("it is compressed, which was not asked for")
    parts, size = [], 0
    while part := response.read1(CHUNK_BYTES):
        size += len(part)
        if size > limit:
            raise ProtocolError(f"it has more than the {limit} bytes that it can need")
        parts.append(part)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _header_length(response: http.client.HTTPResponse, size: int) -> int | None:
    text = response.headers.get(JSON_LENGTH_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= size):
        raise ProtocolError(f"{JSON_LENGTH_HEADER} is {beginning(text)!r}, and the answer has {size} bytes")
    return int(text)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = parse_json(data)
    except ValueError as error:
        raise ProtocolError(f"the JSON cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ProtocolError("the JSON is not an object")
    return value


def _tensors(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    listed = document.get(key)
    if not isinstance(listed, list) or len(listed) > MAX_TENSORS or not all(isinstance(one, dict) for one in listed):
        raise ProtocolError(f"it has no list of {key}")
    return listed


def _specs(metadata: Mapping[str, Any], key: str) -> dict[str, TensorSpec]:
    return dict(spec_of(one.get("name"), one.get("datatype"), one.get("shape")) for one in _tensors(metadata, key))


def _request(
    name: str, images: Array, outputs: Mapping[str, TensorSpec], *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    tensor: dict[str, Any] = {"name": name, "shape": list(images.shape), "datatype": FP32}
    wanted: list[dict[str, Any]] = [{"name": output} for output in outputs]
    if not binary:
        if not np.isfinite(images).all():
            raise InputError("the images have values that are not finite, which JSON cannot represent")
        document = {"inputs": [{**tensor, "data": images.ravel().tolist()}], "outputs": wanted}
        return json.dumps(document).encode(), {"Content-Type": "application/json"}
    data = images.astype("<f4", copy=False).tobytes()
    tensor["parameters"] = {"binary_data_size": len(data)}
    document = {
        "inputs": [tensor],
        "outputs": [{**one, "parameters": {"binary_data": True}} for one in wanted],
    }
    head = json.dumps(document).encode()
    return head + data, {"Content-Type": "application/octet-stream", JSON_LENGTH_HEADER: str(len(head))}


def _outputs(answer: bytes, header_bytes: int | None, outputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """The outputs in an answer: in the bytes behind its JSON, in the order of the list, or in the JSON."""
    head, rest = (answer, b"") if header_bytes is None else (answer[:header_bytes], answer[header_bytes:])
    found: dict[str, Array] = {}
    at = 0
    for one in _tensors(_object(head), "outputs"):
        name, parameters = one.get("name"), one.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        data: Any = one.get("data")
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(rest) - at:
                raise ProtocolError(f"an output has {beginning(str(size))} bytes, and {len(rest) - at} are left")
            data, at = rest[at : at + size], at + size
        if not isinstance(name, str) or name not in outputs:
            continue
        if name in found:
            raise ProtocolError(f"it has the output {name!r} twice")
        if not isinstance(data, bytes | list):
            raise ProtocolError(f"the output {name!r} has no data")
        found[name] = decoded(name, one.get("datatype"), one.get("shape"), data, outputs[name])
    if at != len(rest):
        raise ProtocolError(f"{len(rest) - at} bytes belong to no output")
    return found


def _error_text(answer: bytes) -> str:
    """What the server says is wrong, as ": ..."; "" if it says nothing."""
    try:
        said = _object(answer).get("error", "")
    except ProtocolError:
        said = answer[:200].decode("utf-8", errors="replace")
    text = one_line(said) if said else ""
    return f": {text}" if text else ""
