"""How a model shall run, whichever engine runs it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .. import files
from ..cpu import engine_threads
from ..errors import InputError
from ..precisions import FP32, REQUESTS

Hint = Literal["latency", "throughput"]
HINTS = get_args(Hint)

# The largest batch that an engine prepares for where none is named; more is split.
DEFAULT_BATCH_SIZE = 8

# An engine starts as many threads as it is told to, and takes the machine down with it.
MAX_THREADS = 1024
# Of the smallest models, as many images take tens of gigabytes.
MAX_BATCH_SIZE = 65536


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What is asked of an engine; the defaults are exact, for one image at a time, on all cores that the
    process may use.

    `precision`: the arithmetic. `fp32` is exact: neither TF32 nor bf16 anywhere. `auto` is the fastest that the engine
    and the artifact's files offer (`EngineInfo.precision` says which); `fp16`, `bf16` and `int8` are used or refused.
    `threads`: of the CPU, for one run; None takes what `cpu_threads` says, never the default of the engine's library.
    `batch_size`: the largest batch expected, by default DEFAULT_BATCH_SIZE. TensorRT builds its engine for 1 to this
    many images, OpenVINO compiles for exactly this many first, unless it runs one image per thread; ONNX Runtime and
    CUDA run no more at a time.
    `strict`: refuse a graph that would partly run on the CPU when a GPU was requested.
    `hint`: `latency` for one image at a time, `throughput` for many.
    `cache`: folder for compiled models; by default `engines` in onnxzoo's cache folder. A folder named here must be
    writable; the default one may fail to be, which is warned about.
    `build`: whether an engine that takes minutes to build may be built now; without, only one that was built before
    will do. `auto` sets it to false.

    Raises InputError for an invalid value.
    """

    precision: str = FP32
    threads: int | None = None
    batch_size: int | None = None
    strict: bool = False
    hint: Hint = "latency"
    cache: Path | None = None
    build: bool = True

    def __post_init__(self) -> None:
        if self.precision not in REQUESTS:
            raise InputError(f"{self.precision!r} is not a precision (there are {', '.join(REQUESTS)})")
        if self.hint not in HINTS:
            raise InputError(f"{self.hint!r} is not a performance hint (there are {', '.join(HINTS)})")
        for name, value in (("threads", self.threads), ("batch_size", self.batch_size)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be a whole number from 1, got {value!r}")
        if self.threads is not None and self.threads > MAX_THREADS:
            raise InputError(f"threads must be at most {MAX_THREADS}, got {self.threads}; more than cores do not help")
        if self.batch_size is not None and self.batch_size > MAX_BATCH_SIZE:
            raise InputError(
                f"batch_size must be at most {MAX_BATCH_SIZE}, got {self.batch_size}; any number of images runs in "
                f"batches of {DEFAULT_BATCH_SIZE}, too"
            )

    @property
    def cache_folder(self) -> Path:
        """The folder for compiled models (not created here)."""
        return engines_dir() if self.cache is None else self.cache

    @property
    def cpu_threads(self) -> int:
        """The threads of the CPU for one run: as asked for, else as `cpu.engine_threads` decides at this moment."""
        return engine_threads() if self.threads is None else self.threads

    @property
    def largest_batch(self) -> int:
        """The largest batch to prepare for, where an engine has to."""
        return DEFAULT_BATCH_SIZE if self.batch_size is None else self.batch_size


def engines_dir() -> Path:
    """Where compiled models live unless told otherwise; without a cache folder a path that can never be written."""
    try:
        return files.cache_dir() / "engines"
    except InputError:
        # Engines run without their cache, and warn where they would have used it.
        return Path(os.devnull) / "no cache folder"
