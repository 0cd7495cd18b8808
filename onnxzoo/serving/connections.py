"""Connections over HTTP, with limits that uvicorn lacks: their number, slow clients, and what refusals look like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11
import orjson
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from .limits import Limits
from .metrics import Metrics
from .refusals import Kind


class Timer:
    """Calls something after a number of seconds, unless it is stopped before."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._handle: asyncio.TimerHandle | None = None

    def start(self, callback: Callable[[], None]) -> None:
        """Begin to wait, unless it waits already."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, callback)

    def stop(self) -> None:
        """Do not call what `start` was given."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def limited_protocol(limits: Limits, metrics: Metrics) -> type[H11Protocol]:
    """The class of connections for uvicorn."""

    class LimitedProtocol(H11Protocol):
        """One connection. `owed` runs while the client owes something else than the body of a request, `unread` while
        it does not take what was sent.
        """

        owed = unread = Timer(0.0)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.owed, self.unread = Timer(limits.header_s), Timer(limits.receive_s)
            if len(self.connections) > limits.connections:
                self._refuse(
                    Kind.UNAVAILABLE, f"{limits.connections} connections are open, which is the limit; try later"
                )
            else:
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self.owed.stop()
            self.unread.stop()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.unread.start(self._not_read)

        def resume_writing(self) -> None:
            super().resume_writing()
            self.unread.stop()

        def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
            """Refuse what is no HTTP; the SDK's clients show the message."""
            size = len(self.conn.trailing_data[0])
            if size > limits.header_bytes:
                self._refuse(Kind.HEADERS_TOO_LARGE, f"the headers have more than {limits.header_bytes} bytes")
            else:
                self._refuse(Kind.INVALID, "the connection does not carry valid HTTP/1.1; check the client")

        def _watch(self) -> None:
            """Give the client a limited time where it owes a request's headers, or the rest of an answered request."""
            answered = self.cycle is None or self.cycle.response_complete
            # Between requests nothing has arrived of the next one: then uvicorn's limit for idle connections counts.
            arrived = self.conn.their_state is not h11.IDLE or self.conn.trailing_data[0]
            idle = self.timeout_keep_alive_task is not None and not arrived
            if not answered or idle or self.transport.is_closing():
                self.owed.stop()
            else:
                self.owed.start(self._too_slow)

        def _too_slow(self) -> None:
            if self.conn.our_state is h11.IDLE:
                self._refuse(Kind.SLOW_CLIENT, f"no complete headers arrived within {limits.header_s:g} s")
            else:
                metrics.error(Kind.SLOW_CLIENT.label, "http")
                self.transport.abort()

        def _not_read(self) -> None:
            metrics.error(Kind.SLOW_CLIENT.label, "http")
            self.transport.abort()

        def _refuse(self, kind: Kind, message: str) -> None:
            metrics.error(kind.label, "http")
            body = orjson.dumps({"error": message})
            head = (
                f"HTTP/1.1 {kind.http} {STATUS_PHRASES[kind.http].decode()}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()

    return LimitedProtocol
