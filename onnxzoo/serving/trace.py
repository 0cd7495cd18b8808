"""What is known of one request while it is served: for its line in the log, and for metrics."""

from __future__ import annotations

import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

STAGES = ("queue", "decode", "engine")
"""queue: waiting for a thread or a batch. decode: bytes to tensors, of all images together. engine: running it."""


@dataclass(slots=True)
class Trace:
    """One request. `call`: its path or method. `images`: 0 until they are known. `bytes`: of its body or message.

    `stages`: seconds by STAGES.
    """

    protocol: str
    call: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    model: str = ""
    images: int = 0
    bytes: int = 0
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    began: float = field(default_factory=time.perf_counter)

    @property
    def total_s(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.began


current: ContextVar[Trace] = ContextVar("current")
"""The request that the running task serves."""
