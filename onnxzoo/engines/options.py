"""Options for running a model, common to all engines."""

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

# The largest batch that an engine prepares for by default; larger ones are split.
DEFAULT_BATCH_SIZE = 8

# An engine starts any requested number of threads, which can make the machine unusable.
MAX_THREADS = 1024
# Even with the smallest models this many images take tens of gigabytes.
MAX_BATCH_SIZE = 65536


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Options of an engine; the defaults are exact arithmetic, for one image at a time, on all cores that the
    process may use.

    `precision`: the arithmetic. `fp32` is exact, without TF32 and bf16. `auto` is the fastest that the engine and the
    artifact's files support (see `EngineInfo.precision`); `fp16`, `bf16` and `int8` are an error if not supported.
    `threads`: of the CPU, for one run; None uses `cpu_threads`, never the default of the engine's library.
    `batch_size`: the largest expected batch, by default DEFAULT_BATCH_SIZE. TensorRT builds its engine for 1 to this
    many images. OpenVINO first compiles for exactly this many, unless it runs one image per thread. ONNX Runtime and
    CUDA run at most this many at a time.
    `strict`: refuse a graph that would partly run on the CPU when a GPU was requested.
    `hint`: `latency` for one image at a time, `throughput` for many.
    `cache`: folder for compiled models; by default `engines` in onnxzoo's cache folder. A folder given here must be
    writable; if the default one is not, a warning is logged.
    `build`: whether an engine that takes minutes to build may be built now; otherwise only one that was built before
    can be used. `auto` sets it to false.

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
        """The threads of the CPU for one run: the requested number, or the present result of `cpu.engine_threads`."""
        return engine_threads() if self.threads is None else self.threads

    @property
    def largest_batch(self) -> int:
        """The largest batch to prepare for, for engines that need this."""
        return DEFAULT_BATCH_SIZE if self.batch_size is None else self.batch_size


def engines_dir() -> Path:
    """The default folder of compiled models; if there is no cache folder, a path that can never be written."""
    try:
        return files.cache_dir() / "engines"
    except InputError:
        # Engines then run without a cache, and warn when they would have used it.
        return Path(os.devnull) / "no cache folder"
