"""Why a request gets no result: kinds of errors, each with its HTTP and its gRPC status."""

from __future__ import annotations

from enum import Enum

from ..errors import ImageError, InputError, OnnxzooError, one_line
from .sdk import InvalidInput, ModelNotFound, ModelNotReady


class Kind(Enum):
    """A kind of error: its name in metrics, its HTTP status, the name of its gRPC status."""

    INVALID = "invalid", 400, "INVALID_ARGUMENT"
    UNAUTHENTICATED = "unauthenticated", 401, "UNAUTHENTICATED"
    NOT_FOUND = "not_found", 404, "NOT_FOUND"
    WRONG_METHOD = "wrong_method", 405, "UNIMPLEMENTED"
    SLOW_CLIENT = "slow_client", 408, "DEADLINE_EXCEEDED"
    TOO_LARGE = "too_large", 413, "RESOURCE_EXHAUSTED"
    UNSUPPORTED = "unsupported", 415, "UNIMPLEMENTED"
    OVERLOADED = "overloaded", 429, "RESOURCE_EXHAUSTED"
    HEADERS_TOO_LARGE = "headers_too_large", 431, "RESOURCE_EXHAUSTED"
    CANCELLED = "cancelled", 499, "CANCELLED"
    ENGINE = "engine", 500, "INTERNAL"
    INTERNAL = "internal", 500, "INTERNAL"
    UNAVAILABLE = "unavailable", 503, "UNAVAILABLE"
    TIMEOUT = "timeout", 504, "DEADLINE_EXCEEDED"

    def __init__(self, label: str, http: int, grpc: str) -> None:
        self.label, self.http, self.grpc = label, http, grpc


class RequestError(OnnxzooError):
    """A request gets no result; the message is what its client is told."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def invalid(message: str) -> RequestError:
    """The error for a request that is wrong in itself."""
    return RequestError(Kind.INVALID, message)


def refusal(error: BaseException) -> RequestError:
    """What a client is told of an error; of one that is no fault of its request only that it happened."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ModelNotFound):
        return RequestError(Kind.NOT_FOUND, one_line(error))
    if isinstance(error, ModelNotReady):
        return RequestError(Kind.UNAVAILABLE, one_line(error))
    if isinstance(error, InvalidInput | InputError | ImageError):
        return invalid(one_line(error))
    if isinstance(error, OnnxzooError):
        return RequestError(Kind.ENGINE, str(error))
    return RequestError(Kind.INTERNAL, "the server failed; its log has the cause under this request's id")
