"""An engine that waits until it is told to go on, so that tests of queues and time limits need no sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable

from onnxzoo.results import Array


class Gate:
    """Takes the place of `Model.outputs`. `runs`: batches that came to it; `begun` is released for each of them."""

    def __init__(self, run: Callable[..., dict[str, Array]]) -> None:
        self._run = run
        self._open = threading.Event()
        self._open.set()
        self.begun = threading.Semaphore(0)
        self.runs: list[int] = []

    def shut(self) -> None:
        """Let every run wait from now on."""
        self.begun = threading.Semaphore(0)
        self.runs = []
        self._open.clear()

    def open(self) -> None:
        """Let all runs go on."""
        self._open.set()

    def __call__(self, model: object, batch: Array) -> dict[str, Array]:
        self.runs.append(len(batch))
        self.begun.release()
        assert self._open.wait(20)
        return self._run(model, batch)
