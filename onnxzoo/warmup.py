"""Compiling models into the cache folder before they are needed."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifact.onnx_checks import KNOWN
from .engines import AUTO, EngineOptions, create_engine
from .engines.options import Hint
from .engines.protocol import Built, CachedEngine
from .first_use import FirstUse
from .loading import source_for
from .precisions import FP32
from .results import EngineInfo


@dataclass(frozen=True, slots=True)
class Warmed:
    """What an engine keeps for batches of up to `batch_size`.

    `kept`: compiled models not kept for an earlier batch size already; empty for engines that keep none.
    `seconds`: wall time, including opening the engine.
    """

    model: str
    engine: EngineInfo
    batch_size: int
    kept: tuple[Built, ...]
    seconds: float


def warm(
    model: str | os.PathLike[str],
    batch_sizes: Sequence[int],
    *,
    engine: str = AUTO,
    precision: str = FP32,
    threads: int | None = None,
    strict: bool = False,
    hint: Hint | None = None,
    trust: str = KNOWN,
    verify: bool = True,
) -> Iterator[Warmed]:
    """Compile a model for each of the batch sizes, verify its results, and yield each result when it is ready.

    `hint`: by default `latency` for batches of 1 and `throughput` for larger ones, as predictions run them. The other
    arguments are those of `onnxzoo.load`. Arguments are checked and the model is resolved before anything is compiled.

    Raises as `onnxzoo.load` does, and InputError or EngineError when nothing can be kept.
    """
    asked = [
        EngineOptions(precision, threads, size, strict, hint or ("latency" if size == 1 else "throughput"))
        for size in batch_sizes
    ]
    if not asked:
        return iter(())
    source = source_for(model, engine, asked[0], trust=trust)
    files = source.model_files(precision)

    def results() -> Iterator[Warmed]:
        known: set[Path] = set()
        for options in asked:
            started = time.monotonic()
            first_use = FirstUse(source.artifact, source.vectors, options, verify=verify)
            running = create_engine(engine, files, options, check=first_use)
            try:
                built = running.warm() if isinstance(running, CachedEngine) else ()
                info = first_use.verification.of(running.info)
            finally:
                running.close()
            # Batch sizes may share a compiled model.
            new = tuple(one for one in built if one.folder not in known)
            known.update(one.folder for one in new)
            yield Warmed(source.artifact.name, info, options.largest_batch, new, time.monotonic() - started)

    return results()


def kept_bytes(one: Built) -> int:
    """Bytes of a compiled model on disk."""
    return sum(file.stat().st_size for file in one.folder.rglob("*") if file.is_file())


def as_dict(results: Sequence[Warmed]) -> dict[str, Any]:
    """Everything kept for one model, as JSON values."""
    last = results[-1]
    kept = [
        {**dataclasses.asdict(one), "folder": str(one.folder), "bytes": kept_bytes(one)}
        for result in results
        for one in result.kept
    ]
    return {"model": last.model, "engine": dataclasses.asdict(last.engine), "kept": kept}
