"""What a request may cost, and the memory that the bodies of all requests share."""

from __future__ import annotations

from dataclasses import dataclass

from .refusals import Kind, RequestError

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server; `benchmarks/results/serving.md` shows what a client sees beyond each.

    `body_bytes`: of one request. `json_bytes`: of its JSON, which takes up to twenty times the memory once parsed.
    `message_bytes`: of a message over gRPC without its raw data, which takes up to a hundred times that.
    `images`: per request. `queue`: requests that wait or run; more are refused.
    `request_s`: from the first byte of a request to its answer, and from SIGTERM to the end of the server.
    `receive_s`: for a body to arrive, or a client to take what was sent. `header_s`: for the headers of a request.
    `header_bytes`: of all headers. `connections`: open at a time over HTTP, and requests at a time over gRPC.
    `held_bytes`: bodies of all requests together. `pixels`: of one RGB image; None for the library's own limit.
    """

    body_bytes: int = 64 * MIB
    json_bytes: int = 16 * MIB
    message_bytes: int = 4 * MIB
    images: int = 32
    queue: int = 128
    request_s: float = 30.0
    receive_s: float = 10.0
    header_s: float = 10.0
    header_bytes: int = 16 * 2**10
    connections: int = 512
    held_bytes: int = 256 * MIB
    pixels: int | None = None


class HeldBytes:
    """The memory of request bodies; belongs to one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    def take(self, count: int) -> None:
        """Count bytes that a request holds from now on. Raises RequestError if all requests together hold too many."""
        if self.held + count > self._most:
            raise RequestError(
                Kind.OVERLOADED,
                f"the requests being received take more than {self._most} bytes in all; try again later",
            )
        self.held += count

    def give_back(self, count: int) -> None:
        """Uncount bytes that were taken."""
        self.held -= count


class Places:
    """Places for requests that wait for the engine or run; belongs to one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def __enter__(self) -> None:
        """Take a place. Raises RequestError if none is free."""
        if self.taken >= self._most:
            raise RequestError(
                Kind.OVERLOADED, f"{self.taken} requests are waiting or running, the limit is {self._most}; try later"
            )
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1
