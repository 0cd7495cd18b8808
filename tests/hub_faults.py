"""What goes wrong at the loopback Hub when a test asks for it, and the record of every request."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Fault:
    """A misbehaviour of the next `times` requests whose 'METHOD path' matches `pattern` (re.search).

    One of these; the first three apply to an answer's body:
    `cut_after`: the connection is closed after so many bytes. `wrong_at`: the byte there is another one.
    `short_by`: Content-Length is so many bytes less than the file, and no more are sent.
    `status`: answered with this status, `headers`, `message` and nothing else; as a web page with `html`.
    `answer`: these bytes are sent as JSON.
    `delay_s`: the answer begins so much later; with `chunk` the body comes in pieces of so many bytes, each so late.
    """

    pattern: str
    times: int = 1
    cut_after: int | None = None
    wrong_at: int | None = None
    short_by: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "a fault of the test"
    html: bool = False
    answer: bytes | None = None
    delay_s: float = 0.0
    chunk: int | None = None

    def matches(self, method: str, path: str) -> bool:
        return self.times > 0 and re.search(self.pattern, f"{method} {path}") is not None


@dataclass(slots=True)
class Request:
    """One request: `path` with its query; `authorized`: it carried a token; `cdn`: it went to the storage host.

    `received` and `sent` count the bytes of the two bodies, `sent` those that were handed to the socket.
    They and `status` fill while the request is answered.
    """

    method: str
    path: str
    authorized: bool
    cdn: bool
    range: str | None
    status: int = 0
    received: int = 0
    sent: int = 0


class Faults:
    """The faults still to come, taken in the order they were added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, counted as used."""
        with self._lock:
            for fault in self._pending:
                if fault.matches(method, path):
                    fault.times -= 1
                    return fault
        return None


class Log:
    """Every request in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    def add(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def clear(self) -> None:
        with self._lock:
            self._requests.clear()

    def all(self, pattern: str = "") -> list[Request]:
        """The requests whose 'METHOD path' matches (re.search)."""
        with self._lock:
            return [one for one in self._requests if re.search(pattern, f"{one.method} {one.path}")]

    def sent(self, pattern: str = "") -> int:
        """Bytes of all answers' bodies to these requests."""
        return sum(one.sent for one in self.all(pattern))

    def received(self, pattern: str = "") -> int:
        """Bytes of all these requests' bodies: what was uploaded."""
        return sum(one.received for one in self.all(pattern))
