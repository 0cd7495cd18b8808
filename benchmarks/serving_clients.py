"""Clients for the benchmark of the server, cheap enough not to be what is measured: requests are made once, as bytes.

A client sends its next request when the answer to the last one has arrived. One process runs them all, in one loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import grpc
import numpy as np

from onnxzoo.inference_protocol import GRPC_SERVICE

WARM_S = 1.0
"""Seconds of every point that are not counted."""
SLOW_S = 60.0


class Client(Protocol):
    """One connection."""

    async def ask(self) -> str:
        """Send the request and read the answer: its status."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class HttpClient:
    """HTTP/1.1 over one connection, which is kept until the server says that it closes it."""

    def __init__(self, url: str, request: bytes) -> None:
        self._where, self._request = urlsplit(url), request
        self._closed = False

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._where.hostname, self._where.port)
        self._closed = False
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self) -> str:
        """Send the request and read the answer: its status."""
        if self._closed:
            self._writer.close()
            await self.__aenter__()
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        await self._reader.readexactly(length)
        self._closed = b"connection: close" in lines
        return lines[0].split()[1].decode()


class GrpcClient:
    """gRPC over a channel of its own."""

    def __init__(self, address: str, request: bytes) -> None:
        self._address, self._request = address, request

    async def __aenter__(self) -> Self:
        # Channels of one process share connections unless they are told not to.
        self._channel = grpc.aio.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.unary_unary(f"/{GRPC_SERVICE}/ModelInfer")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def ask(self) -> str:
        """Send the request and read the answer: its status."""
        try:
            await self._call(self._request, timeout=SLOW_S)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"


GOOD = ("200", "OK")


@dataclass
class Load:
    """What clients saw. `latencies_s`: of the answers that were counted; `seconds`: in which they came."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def errors(self) -> int:
        """Requests without a result."""
        return sum(count for status, count in self.statuses.items() if status not in GOOD)

    @property
    def per_second(self) -> float:
        """Results per second."""
        return len(self.latencies_s) / self.seconds

    def percentiles_ms(self) -> tuple[float, float, float]:
        """p50, p95, p99."""
        low, middle, high = np.percentile(self.latencies_s, (50, 95, 99)) * 1e3
        return float(low), float(middle), float(high)


def load(make: Callable[[], Client], clients: int, seconds: float) -> Load:
    """Let this many clients ask for this long."""
    found = Load(seconds=seconds)

    async def one(begin: float) -> None:
        async with make() as client:
            while (sent := time.perf_counter()) < begin + seconds:
                status = await client.ask()
                answered = time.perf_counter()
                found.statuses[status] += 1
                if status in GOOD and begin <= answered <= begin + seconds:
                    found.latencies_s.append(answered - sent)

    async def all_of_them() -> None:
        begin = time.perf_counter() + WARM_S
        await asyncio.gather(*[one(begin) for _ in range(clients)])

    asyncio.run(all_of_them())
    return found


def come_and_go(make: Callable[[], Client], clients: int, at_a_time: int) -> Counter[str]:
    """Every client connects, asks once, and goes."""
    statuses: Counter[str] = Counter()

    async def all_of_them() -> None:
        free = asyncio.Semaphore(at_a_time)

        async def one() -> None:
            async with free:
                statuses[await outcome(make)] += 1

        await asyncio.gather(*[one() for _ in range(clients)])

    asyncio.run(all_of_them())
    return statuses


async def outcome(make: Callable[[], Client]) -> str:
    """The status that a new client gets, or how its connection failed."""
    try:
        async with make() as client:
            return await client.ask()
    except (OSError, asyncio.IncompleteReadError) as error:
        return type(error).__name__


def under_load(
    makes: list[Callable[[], Client]], clients: int, after_s: float, act: Callable[[], Awaitable[None]]
) -> Counter[str]:
    """What clients of every kind see while `act` runs after `after_s` seconds; a client that fails connects again."""
    statuses: Counter[str] = Counter()

    async def all_of_them() -> None:
        done = asyncio.Event()

        async def one(make: Callable[[], Client]) -> None:
            while not done.is_set():
                asked = False
                try:
                    async with make() as client:
                        while not done.is_set():
                            asked = True
                            status = await client.ask()
                            asked = False
                            statuses[status] += 1
                            if status not in GOOD:
                                break
                except (OSError, asyncio.IncompleteReadError) as error:
                    sent = asked and not isinstance(error, ConnectionRefusedError)
                    statuses[f"{type(error).__name__}{' of a request that was sent' if sent else ''}"] += 1
                await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(one(make)) for make in makes for _ in range(clients)]
        await asyncio.sleep(after_s)
        await act()
        done.set()
        await asyncio.gather(*tasks)

    asyncio.run(all_of_them())
    return statuses
