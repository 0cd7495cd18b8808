"""The protocol over gRPC, with KServe's messages and servicer.

Every method is registered as one that takes a stream, which on the wire is the same for a client that sends one
message: only so can the token be checked before a message is read, a slow one be refused, and a malformed one be
answered with INVALID_ARGUMENT instead of INTERNAL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from ..artifact.onnx_wire import fields
from ..inference_protocol import GRPC_SERVICE
from .calls import Calls
from .cost import require_few_in_tensors
from .limits import Limits
from .pipeline import Pools
from .refusals import Kind, RequestError, invalid
from .rest_request import MAX_ID
from .sdk import InferenceServicer, InferRequest, ModelRepositoryExtension, messages
from .served import ServedModels
from .trace import Trace

HANDSHAKE_MS, IDLE_MS = 10_000, 300_000
UNCOMPRESSED_ONLY = 1
"""Bit set of the enabled encodings: identity. A compressed message may be a thousand times larger than it looks."""
MAX_FIELDS = 256
RAW_FIELD = messages.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
OPEN_METHODS = ("ServerLive", "ServerReady")

Handler = Callable[[Any, Trace], Awaitable[Message]]


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """The options of gRPC's server."""
    return [
        ("grpc.max_receive_message_length", limits.body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.max_concurrent_streams", limits.connections),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.compression_enabled_algorithms_bitset", UNCOMPRESSED_ONLY),
        # Otherwise a second server on the same port would take half of the requests.
        ("grpc.so_reuseport", 0),
    ]


class GrpcService:
    """The methods of the protocol's service."""

    def __init__(self, calls: Calls, models: ServedModels, pools: Pools) -> None:
        self._calls, self._models, self._pools = calls, models, pools
        self._sdk = InferenceServicer(models, ModelRepositoryExtension(models.model_registry))

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, to be added to a server."""
        methods: dict[str, tuple[type[Message], Handler]] = {
            "ServerLive": (messages.ServerLiveRequest, self._live),
            "ServerReady": (messages.ServerReadyRequest, self._ready),
            "ServerMetadata": (messages.ServerMetadataRequest, self._metadata),
            "ModelReady": (messages.ModelReadyRequest, self._model_ready),
            "ModelMetadata": (messages.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": (messages.ModelInferRequest, self._infer),
        }
        return grpc.method_handlers_generic_handler(
            GRPC_SERVICE,
            {
                name: grpc.stream_unary_rpc_method_handler(
                    self._handler(name, kind, handler), response_serializer=lambda message: message.SerializeToString()
                )
                for name, (kind, handler) in methods.items()
            },
        )

    def _handler(self, name: str, kind: type[Message], handler: Handler) -> Callable[..., Awaitable[Message]]:
        async def handle(_stream: object, context: Any) -> Message:
            trace = Trace("grpc", name)
            try:
                work = self._answer(name, kind, handler, context, trace)
                return await self._calls.answer(trace, work, quiet=name in OPEN_METHODS)
            except RequestError as error:
                await context.abort(getattr(grpc.StatusCode, error.kind.grpc), str(error))
                raise

        return handle

    async def _answer(self, name: str, kind: type[Message], handler: Handler, context: Any, trace: Trace) -> Message:
        if name not in OPEN_METHODS:
            metadata = dict(context.invocation_metadata() or ())
            given = metadata.get("authorization")
            self._calls.require_token(given if isinstance(given, str) else None)
        body = await self._message(context)
        trace.bytes = len(body)
        self._calls.held.take(len(body))
        try:
            self._check_size(body)
            if kind is messages.ModelInferRequest:
                self._calls.require_open()
                require_few_in_tensors(body, self._models.most_numbers(), self._calls.limits.images)
            return await handler(await self._pools.parsed(len(body), lambda: _parsed(kind, body)), trace)
        finally:
            self._calls.held.give_back(len(body))

    def _check_size(self, body: bytes) -> None:
        size, most = _parsed_bytes(body), self._calls.limits.message_bytes
        if size > most:
            raise RequestError(
                Kind.TOO_LARGE,
                f"a message without its raw data has at most {most} bytes, got {size}; send raw_input_contents",
            )

    async def _message(self, context: Any) -> bytes:
        try:
            async with asyncio.timeout(self._calls.limits.receive_s):
                body = await context.read()
        except TimeoutError:
            raise RequestError(
                Kind.SLOW_CLIENT, f"no message arrived within {self._calls.limits.receive_s:g} s; send less at a time"
            ) from None
        if not isinstance(body, bytes):
            raise invalid("the call has no message; expected one")
        return body

    async def _live(self, request: Any, _trace: Trace) -> Message:
        answer: Message = await self._sdk.ServerLive(request, None)
        return answer

    async def _ready(self, _request: Any, _trace: Trace) -> Message:
        ready: Message = messages.ServerReadyResponse(ready=self._calls.ready and not self._calls.stopping)
        return ready

    async def _metadata(self, request: Any, _trace: Trace) -> Message:
        answer: Message = await self._sdk.ServerMetadata(request, None)
        return answer

    async def _model_ready(self, request: Any, _trace: Trace) -> Message:
        self._calls.require_open()
        self._models.check(request.name, request.version)
        ready: Message = messages.ModelReadyResponse(ready=True)
        return ready

    async def _model_metadata(self, request: Any, _trace: Trace) -> Message:
        self._calls.require_open()
        self._models.check(request.name, request.version)
        metadata = await self._models.model_metadata(request.name)
        answer: Message = messages.ModelMetadataResponse(**metadata)
        return answer

    async def _infer(self, request: Any, trace: Trace) -> Message:
        self._calls.require_open()
        self._models.check(request.model_name, request.model_version)
        if len(request.id) > MAX_ID:
            raise invalid(f"id must have at most {MAX_ID} characters, got {len(request.id)}")
        trace.id = request.id or trace.id
        self._sdk.validate_grpc_request(request)
        asked = await self._pools.parsed(trace.bytes, lambda: InferRequest.from_grpc(request))
        response, _ = await self._models.infer(request.model_name, asked)
        answer: Message = response.to_grpc()
        return answer


def _parsed_bytes(message: bytes) -> int:
    """The bytes of a message that are no raw data, which alone are not larger once they are parsed.

    Raises RequestError for what is not a message, or has too many fields.
    """
    raw = 0
    try:
        for count, (number, first, end) in enumerate(fields(message, 0, len(message))):
            if count == MAX_FIELDS:
                raise invalid(f"a message has at most {MAX_FIELDS} fields at its top")
            raw += end - first if number == RAW_FIELD else 0
    except (ValueError, IndexError):
        raise invalid(f"the message of {len(message)} bytes is not a valid message of the protocol") from None
    return len(message) - raw


def _parsed(kind: type[Message], body: bytes) -> Message:
    message = kind()
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise invalid(f"the message of {len(body)} bytes is not a valid {kind.DESCRIPTOR.name}") from None
    return message
