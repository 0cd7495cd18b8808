"""The protocol over HTTP: an ASGI application of a few routes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote

import orjson

from ..inference_protocol import JSON_LENGTH_HEADER, TOP_K
from ..text import beginning
from .calls import Calls
from .pipeline import Pools
from .refusals import Kind, RequestError, invalid
from .rest_request import MAX_ID, RestInferRequest
from .sdk import InferRequest
from .served import ServedModels
from .trace import Trace

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

METRICS = "/metrics"
HEALTH = ("/", "/v2/health/live", "/v2/health/ready")
MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?(?P<what>/ready|/infer)?")
REQUEST_ID = "x-request-id"
LINE_BYTES = len(": \r\n")
SAFE = "!#$&'()*+,/:;=?@[]"
"""Characters of a request's id that stand for themselves in the header. A client chose it: it may have line breaks."""
JSON, BINARY, TEXT = "application/json", "application/octet-stream", "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response."""

    body: bytes
    content_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(document: Any, status: int = 200) -> Reply:
    """A reply of one JSON document."""
    return Reply(orjson.dumps(document), status=status)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request: method, decoded path, query, headers by lower-case name, and how many bytes they were."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    header_bytes: int
    receive: Receive

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> HttpRequest:
        """The request of an ASGI scope."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        size = sum(len(name) + len(value) + LINE_BYTES for name, value in scope["headers"])
        return cls(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, size, receive)


class HttpApp:
    """The ASGI application of a server."""

    def __init__(self, calls: Calls, models: ServedModels, pools: Pools) -> None:
        self._calls, self._models, self._pools = calls, models, pools

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = HttpRequest.of(scope, receive)
        trace = Trace("http", f"{request.method} {beginning(request.path)}")
        given = request.headers.get(REQUEST_ID, "")
        if 0 < len(given) <= MAX_ID and given.isprintable():
            trace.id = given
        quiet = request.path in (*HEALTH, METRICS)
        try:
            reply = await self._calls.answer(trace, self._reply(request, trace), quiet=quiet)
        except RequestError as error:
            if error.kind is Kind.CANCELLED:
                return
            reply = json_reply({"error": str(error)}, error.kind.http)
        except asyncio.CancelledError:
            if not self._calls.stopping:
                raise
            # The time for a graceful stop is over.
            reply = json_reply({"error": "the server has stopped before the request was done"}, Kind.UNAVAILABLE.http)
        await _send(send, reply, trace.id, closing=self._calls.stopping)

    async def _reply(self, request: HttpRequest, trace: Trace) -> Reply:
        # Beyond a limit of its own, uvicorn counts only headers that have not arrived completely.
        if request.header_bytes > self._calls.limits.header_bytes:
            raise RequestError(
                Kind.HEADERS_TOO_LARGE, f"the headers have more than {self._calls.limits.header_bytes} bytes"
            )
        if request.path in HEALTH:
            return self._health(request)
        self._calls.require_token(request.headers.get("authorization"))
        if request.path == METRICS:
            _require_method(request, "GET")
            return Reply(self._calls.metrics.exposition(), TEXT)
        found = MODEL.fullmatch(request.path)
        if found is None and request.path not in ("/v2", "/v2/models"):
            raise RequestError(
                Kind.NOT_FOUND, f"unknown path {beginning(request.path)!r}; GET /v2/models lists the models"
            )
        _require_method(request, "POST" if found and found["what"] == "/infer" else "GET")
        if request.path == "/v2":
            return json_reply(self._models.metadata())
        self._calls.require_open()
        if found is None:
            return json_reply({"models": list(self._models.model_registry.get_models())})
        self._models.check(found["name"], found["version"])
        if found["what"] == "/infer":
            return await self._infer(request, found["name"], trace)
        if found["what"] == "/ready":
            return json_reply({"name": found["name"], "ready": True})
        metadata = await self._models.model_metadata(found["name"])
        return json_reply({**metadata, "parameters": self._models.parameters(found["name"])})

    def _health(self, request: HttpRequest) -> Reply:
        _require_method(request, "GET")
        if request.path != "/v2/health/ready":
            return json_reply({"live": True})
        self._calls.require_open()
        return json_reply({"ready": True})

    async def _infer(self, request: HttpRequest, name: str, trace: Trace) -> Reply:
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RequestError(Kind.UNSUPPORTED, "compressed bodies are not supported; send the body as it is")
        held = 0

        def hold(count: int) -> None:
            nonlocal held
            if held + count > self._calls.limits.body_bytes:
                raise RequestError(
                    Kind.TOO_LARGE, f"a body has at most {self._calls.limits.body_bytes} bytes; send fewer images"
                )
            self._calls.held.take(count)
            held += count

        try:
            body = await self._body(request, hold)
            trace.bytes = len(body)
            asked = await self._pools.parsed(len(body), lambda: self._decoded(request, body, name))
            if asked.id:
                trace.id = asked.id
            return await _unless_gone(request.receive, self._run(asked, name, request.headers))
        finally:
            self._calls.held.give_back(held)

    async def _body(self, request: HttpRequest, hold: Callable[[int], None]) -> bytes:
        """The body, read as far as the limits allow. Raises RequestError, also if the client has gone."""
        announced = request.headers.get("content-length", "0")
        if int(announced) > self._calls.limits.body_bytes:  # h11 has checked that it is a number
            hold(int(announced))
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._calls.limits.receive_s):
                while True:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise _gone()
                    part = message.get("body", b"")
                    hold(len(part))
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise RequestError(
                Kind.SLOW_CLIENT,
                f"the body did not arrive within {self._calls.limits.receive_s:g} s; send less at a time",
            ) from None

    def _decoded(self, request: HttpRequest, body: bytes, name: str) -> InferRequest:
        if request.headers.get(JSON_LENGTH_HEADER) == "0":
            return RestInferRequest.from_raw(body, name, _query_parameters(request.query))
        return self._models.decode_inference_request(body, request.headers, name)

    async def _run(self, asked: InferRequest, name: str, headers: Mapping[str, str]) -> Reply:
        response, _ = await self._models.infer(name, asked, dict(headers))
        document, json_length = response.to_rest()
        if json_length is None:
            return json_reply(document)
        return Reply(document, BINARY, headers={JSON_LENGTH_HEADER: str(json_length)})


async def _unless_gone(receive: Receive, work: Awaitable[Reply]) -> Reply:
    """The reply that `work` makes, which is cancelled when the client goes. Raises RequestError then."""
    working = asyncio.ensure_future(work)
    going = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((working, going), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _gone()
        return working.result()
    finally:
        working.cancel()
        going.cancel()


def _gone() -> RequestError:
    return RequestError(Kind.CANCELLED, "the client has closed the connection")


def _query_parameters(query: str) -> dict[str, Any]:
    """`top_k` of a request whose body is raw data and has no place for it."""
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise invalid(f"the query has only the parameter {TOP_K}, got more than 16") from None
    if unknown := next((name for name in fields if name != TOP_K), None):
        raise invalid(f"the query has only the parameter {TOP_K}, got {beginning(unknown)!r}")
    given = fields.get(TOP_K)
    if given is None:
        return {}
    number = given[-1]
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise invalid(f"the parameter {TOP_K} must be a whole number from 1, got {beginning(number)!r}")
    return {TOP_K: int(number)}


def _require_method(request: HttpRequest, method: str) -> None:
    if request.method != method:
        raise RequestError(
            Kind.WRONG_METHOD, f"{beginning(request.path)} takes {method}, got {beginning(request.method)}"
        )


async def _send(send: Send, reply: Reply, request_id: str, *, closing: bool) -> None:
    headers = {
        "content-type": reply.content_type,
        "content-length": str(len(reply.body)),
        REQUEST_ID: quote(request_id, safe=SAFE),
        **reply.headers,
        **({"connection": "close"} if closing else {}),
    }
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    await send({"type": "http.response.body", "body": reply.body})
