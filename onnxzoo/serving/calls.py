"""What every request goes through, over HTTP and gRPC: readiness, the token, the time limit, metrics, a line of log."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from .limits import HeldBytes, Limits
from .logs import FIELDS
from .metrics import Metrics
from .refusals import Kind, RequestError, refusal
from .trace import STAGES, Trace, current

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")
BEARER = "bearer "


class Calls:
    """The requests of a server, and whether it takes any: `ready` after the warm-up, `stopping` from SIGTERM on."""

    def __init__(self, limits: Limits, metrics: Metrics, token: str | None = None) -> None:
        self.limits, self.metrics = limits, metrics
        self.held = HeldBytes(limits.held_bytes)
        self.ready = False
        self.stopping = False
        self._token = None if token is None else token.encode()

    async def answer(self, trace: Trace, work: Awaitable[Answer], *, quiet: bool = False) -> Answer:
        """The result of `work` for a request; it is cancelled after the time limit. `quiet`: log only errors.

        Raises RequestError, and CancelledError if the client has gone.
        """
        self.metrics.in_progress.inc()
        current.set(trace)
        try:
            async with asyncio.timeout(self.limits.request_s):
                answer = await work
        except TimeoutError:
            error = self._late(trace)
            self._log_refused(trace, error, None)
            raise error from None
        except asyncio.CancelledError:
            self._log_refused(
                trace, RequestError(Kind.CANCELLED, "the client has gone, or the server has stopped"), None
            )
            raise
        except Exception as error:
            told = refusal(error)
            self._log_refused(trace, told, error)
            raise told from error
        finally:
            self.metrics.in_progress.dec()
        if trace.model:
            self.metrics.served(trace)
        if not quiet:
            logger.info("request", extra={FIELDS: self._without_token(_fields(trace))})
        return answer

    def _late(self, trace: Trace) -> RequestError:
        if not trace.bytes:  # counted when all of them have arrived
            return RequestError(Kind.SLOW_CLIENT, f"the request did not arrive within {self.limits.request_s:g} s")
        return RequestError(
            Kind.TIMEOUT, f"the request took longer than {self.limits.request_s:g} s; send fewer images"
        )

    def require_open(self) -> None:
        """Raise RequestError while the server loads its models, and once it stops."""
        if self.stopping:
            raise RequestError(Kind.UNAVAILABLE, "the server is stopping; send the request to another one")
        if not self.ready:
            raise RequestError(Kind.UNAVAILABLE, "the server is still loading its models; wait until it is ready")

    def require_token(self, authorization: str | None) -> None:
        """Raise RequestError unless the header `authorization` carries the token, if the server has one."""
        if self._token is None:
            return
        given = authorization or ""
        # compare_digest takes the same time wherever the texts differ.
        right = hmac.compare_digest(given[len(BEARER) :].encode(errors="replace"), self._token)
        if not (given[: len(BEARER)].lower() == BEARER and right):
            raise RequestError(
                Kind.UNAUTHENTICATED, "expected the header 'Authorization: Bearer TOKEN' with the right token"
            )

    def _without_token(self, fields: Mapping[str, object]) -> dict[str, object]:
        """The fields of a line of the log; clients put the token into ids and paths by mistake."""
        if self._token is None:
            return dict(fields)
        token = self._token.decode()
        return {key: one.replace(token, "***") if isinstance(one, str) else one for key, one in fields.items()}

    def _log_refused(self, trace: Trace, told: RequestError, cause: Exception | None) -> None:
        self.metrics.error(told.kind.label, trace.protocol)
        ours = told.kind in (Kind.ENGINE, Kind.INTERNAL)
        fields = {**_fields(trace), "kind": told.kind.label, "status": told.kind.http, "reason": str(told)}
        logger.log(
            logging.ERROR if ours else logging.INFO,
            "request refused",
            extra={FIELDS: self._without_token(fields)},
            exc_info=cause if ours else None,
        )


def _fields(trace: Trace) -> dict[str, object]:
    times = {f"{stage}_ms": round(1e3 * trace.stages[stage], 3) for stage in STAGES} if trace.model else {}
    return {
        "id": trace.id,
        "protocol": trace.protocol,
        "call": trace.call,
        "model": trace.model,
        "images": trace.images,
        "bytes": trace.bytes,
        **times,
        "total_ms": round(1e3 * trace.total_s, 3),
    }
