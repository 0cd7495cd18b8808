"""From a checked request to a model's outputs: a place in the queue, decoding, the engine; cancelled between steps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from ..cpu import worker_threads
from ..engines.options import DEFAULT_BATCH_SIZE
from ..errors import EngineError
from ..image import preprocess_into
from ..inference_protocol import IMAGES, PIXELS
from ..model import Model
from ..results import Array
from .batching import Batcher, timed
from .limits import Limits, Places
from .refusals import invalid
from .trace import Trace
from .wanted import Wanted

Parsed = TypeVar("Parsed")
Outputs = dict[str, Array]

QUICK_BYTES = 2**18
"""Parsing so many takes a few milliseconds even as JSON."""
LARGEST_PIXEL = 100.0
"""Normalised pixels are below 3; beyond this, results that are not finite are the input's fault, not the engine's."""


class Pools:
    """The threads of a server: some that decode, `workers` that run engines, one that parses. All models share them."""

    def __init__(self, workers: int) -> None:
        self.decode = ThreadPoolExecutor(worker_threads(), thread_name_prefix="onnxzoo-decode")
        self.engine = ThreadPoolExecutor(workers, thread_name_prefix="onnxzoo-engine")
        # Parsers hold the interpreter's lock: more threads would only take the memory of several requests at a time.
        self.parse = ThreadPoolExecutor(1, thread_name_prefix="onnxzoo-parse")

    async def parsed(self, size: int, parse: Callable[[], Parsed]) -> Parsed:
        """What `parse` makes of `size` bytes; of many in a thread, so that all other requests go on meanwhile."""
        if size <= QUICK_BYTES:
            return parse()
        return await asyncio.get_running_loop().run_in_executor(self.parse, parse)

    def close(self) -> None:
        """Drop what waits; threads end after their current image or run."""
        for pool in (self.decode, self.engine, self.parse):
            pool.shutdown(wait=False, cancel_futures=True)


class Pipeline:
    """Runs the requests for one model. `places`: those of the whole server. `batch`: images per run, 0 for no batching.

    `delay_s`: how long the first image of a batch waits for others.
    """

    def __init__(
        self, model: Model, pools: Pools, places: Places, limits: Limits, *, batch: int = 0, delay_s: float = 0.0
    ) -> None:
        self._model, self._pools, self._places, self._limits = model, pools, places, limits
        self._step = batch or DEFAULT_BATCH_SIZE
        self._batcher = Batcher(self._run, batch, delay_s) if batch else None

    async def outputs(self, wanted: Wanted, trace: Trace) -> Outputs:
        """Logits and embedding for every image; may be cancelled. Raises RequestError, ImageError, EngineError.

        A step that has begun ends: at most one image per decoding thread, and one run of the engine.
        """
        with self._places:
            batch = await self._decoded(wanted.images, trace) if wanted.pixels is None else wanted.pixels
            # In steps, so that a request that is cancelled stops, and a large one lets others in between.
            parts = [await self._computed(batch[start : start + self._step], trace) for start in self._starts(batch)]
        return (
            parts[0] if len(parts) == 1 else {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}
        )

    def warm_up(self) -> None:
        """Run the batch sizes that requests are cut into, because engines compile at the first run."""
        size = self._model.image_size
        for count in {1, self._step}:
            self._run(np.zeros((count, 3, size, size), dtype=np.float32))

    def _starts(self, batch: Array) -> range:
        return range(0, len(batch), self._step)

    async def _decoded(self, images: tuple[bytes, ...], trace: Trace) -> Array:
        spec = self._model.artifact.preprocess
        batch = np.empty((len(images), 3, spec.crop_size, spec.crop_size), dtype=np.float32)
        submitted = time.perf_counter()

        def decode(index: int) -> tuple[float, float]:
            began = time.perf_counter()
            preprocess_into(batch[index], images[index], f"{IMAGES}[{index}]", spec, self._limits.pixels)
            return began, time.perf_counter()

        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._pools.decode, decode, index) for index in range(len(images))]
        try:
            times = await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
        first = min(began for began, _ in times)
        trace.stages["queue"] += first - submitted
        trace.stages["decode"] += max(ended for _, ended in times) - first
        return batch

    async def _computed(self, batch: Array, trace: Trace) -> Outputs:
        submitted = time.perf_counter()
        try:
            if self._batcher is None:
                job = asyncio.get_running_loop().run_in_executor(self._pools.engine, timed(self._run), batch)
                outputs, began, ended = await job
            else:
                outputs, began, ended = await self._batcher.run(batch, self._pools.engine)
        except EngineError as error:
            largest = float(np.abs(batch).max())
            if largest > LARGEST_PIXEL:
                raise invalid(f"{PIXELS} has values up to {largest:g}; send normalised pixels ({error})") from error
            raise
        trace.stages["queue"] += began - submitted
        trace.stages["engine"] += ended - began
        return outputs

    def _run(self, batch: Array) -> Outputs:
        return self._model.outputs(batch)
