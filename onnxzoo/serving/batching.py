"""Joins the images of requests that arrive within a short time into one run of the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from ..errors import OnnxzooError
from ..results import Array

Outputs = dict[str, Array]
Run = Callable[[Array], Outputs]
Timed = tuple[Outputs, float, float]
"""Outputs, and when the run that computed them began and ended."""


def timed(run: Run) -> Callable[[Array], Timed]:
    """The same run, with its times (time.perf_counter)."""

    def timing(batch: Array) -> Timed:
        began = time.perf_counter()
        return run(batch), began, time.perf_counter()

    return timing


class Batcher:
    """Collects images for runs of up to `most`; the first waits `delay_s` at most. Belongs to one event loop."""

    def __init__(self, run: Run, most: int, delay_s: float) -> None:
        self._run, self._most, self._delay_s = timed(run), most, delay_s
        self._waiting: list[tuple[Array, asyncio.Future[Timed]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, batch: Array, pool: Executor) -> Timed:
        """The outputs for `batch`, at most `most` images. Raises what the run raises for these images."""
        if self._images() + len(batch) > self._most:
            self._flush(pool)
        future: asyncio.Future[Timed] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, future))
        if self._images() >= self._most:
            self._flush(pool)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._flush, pool)
        return await future

    def _images(self) -> int:
        return sum(len(batch) for batch, _ in self._waiting)

    def _flush(self, pool: Executor) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Those whose request was cancelled while they waited are left out.
        joined = [(batch, future) for batch, future in self._waiting if not future.done()]
        self._waiting = []
        if joined:
            task = asyncio.get_running_loop().create_task(self._run_joined(joined, pool))
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._tasks.discard)

    async def _run_joined(self, joined: list[tuple[Array, asyncio.Future[Timed]]], pool: Executor) -> None:
        loop = asyncio.get_running_loop()
        batch = joined[0][0] if len(joined) == 1 else np.concatenate([one for one, _ in joined])
        try:
            outputs, began, ended = await loop.run_in_executor(pool, self._run, batch)
        except OnnxzooError as error:
            if len(joined) == 1:
                _settle(joined[0][1], error)
                return
            # One request's values must not fail the others.
            for one in joined:
                await self._run_joined([one], pool)
            return
        except BaseException as error:
            for _, future in joined:
                _settle(future, error)
            raise
        start = 0
        for rows, future in joined:
            part = {name: values[start : start + len(rows)] for name, values in outputs.items()}
            start += len(rows)
            if not future.done():
                future.set_result((part, began, ended))


def _settle(future: asyncio.Future[Timed], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
