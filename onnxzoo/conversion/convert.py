"""Converts a model, runs the result, and keeps it only if it gives the recorded outputs."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact.vectors import Vectors
from ..child_process import run_module
from ..comparison.compare import Comparison, compare, failed
from ..cpu import cpu
from ..errors import ConversionError, InputError, ModelNotFoundError, one_line
from ..files import atomic_folder, nearest_existing, readable, writing
from ..hub import require_own
from ..precisions import FP32
from ..results import Array
from ..source import Source
from ..temporary import scratch_folder
from .description import write_description
from .target import Form, Job, Target
from .targets import target_of

TIMEOUT_S = 1800.0
"""For converting, and for running the result. Measured: 1 to 5 s for both, pvt_v2_b0, two cores."""
BASE_MEMORY = 4 * 2**30
MEMORY_PER_BYTE = 16
"""Memory of a child: a library and its threads, and a converter's copies of the weights. Measured: pnnx takes 11
copies, the others up to 4 (benchmarks/results/convert.md)."""
CHILD = f"{__package__}.child"
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Cannot allocate memory")

Step = Callable[[str], object]
"""Called with a title when a step begins."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a child process. `timeout_s`: seconds. `memory_bytes`: None for what the size of the model suggests.

    Raises InputError for a time that is not positive and finite.
    """

    timeout_s: float = TIMEOUT_S
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s < float("inf"):
            raise InputError(f"the time limit must be a positive number of seconds, got {self.timeout_s:g}")

    def memory(self, model: Path) -> int:
        """The memory limit for this ONNX file, in bytes."""
        return self.memory_bytes or BASE_MEMORY + MEMORY_PER_BYTE * model.stat().st_size


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted model: its `folder`, the `document` of its model.json, and its `comparisons` by batch size."""

    folder: Path
    document: Mapping[str, Any]
    comparisons: Mapping[int, Comparison]

    @property
    def max_abs(self) -> float:
        """Largest difference to the recorded outputs."""
        return max(one.max_abs for one in self.comparisons.values())

    @property
    def bytes(self) -> int:
        """Size of the converted files."""
        files: Mapping[str, Mapping[str, int]] = self.document["files"]
        return sum(one["bytes"] for one in files.values())


def convert(
    source: Source,
    target: str,
    out: Path,
    *,
    precision: str = FP32,
    limits: Limits | None = None,
    step: Step = lambda _title: None,
) -> Converted:
    """Convert a model to a format (`TARGETS`) and write it to `out`, a folder that is new or empty.

    The converter and the result run in child processes. The result is refused unless its outputs for the artifact's
    conformance vectors are within the tolerance of the format and precision; then `out` is written in one step.
    `step`: called when a step begins.

    Raises InputError for an unknown format, a precision that it or the artifact does not have, and a folder that
    cannot be taken; MissingDependencyError without the format's library; ModelNotFoundError without conformance
    vectors; ConversionError, with the log, if the format does not support the model, a process fails or takes too long,
    or the outputs differ; and what `Source.open` and `Source.vectors` raise.
    """
    chosen = target_of(target)
    form = _form(chosen, source, precision)
    reason = chosen.refused.get(source.artifact.family)
    if reason is not None:
        raise ConversionError(f"{source.artifact.name} cannot be converted to {target}: {reason}")
    chosen.require_modules()
    folder = _free(out)
    bounds = limits or Limits()
    vectors = _vectors(source)
    model = source.open(form.source).path.resolve()
    refused = writing(f"the converted model {folder}", ConversionError, "make room, or name another folder (--out)")
    with refused, scratch_folder("convert") as work, atomic_folder(folder) as building:
        job = Job(str(model), str(building), precision, source.artifact.image_size, cpu().cores)
        child = _Child(chosen, job, work, bounds, bounds.memory(model))
        step(f"converting to {chosen.name}")
        child.convert()
        step("comparing with the recorded outputs")
        comparisons = child.compare(vectors, form)
        document = write_description(
            building, source, chosen, precision, chosen.version(), comparisons, len(vectors.images)
        )
    return Converted(folder, document, comparisons)


class _Child:
    """The child processes of one conversion."""

    def __init__(self, target: Target, job: Job, work: Path, limits: Limits, memory: int) -> None:
        self._target, self._job, self._work, self._limits, self._memory = target, job, work, limits, memory
        self._job_file = work / "job.json"
        job.write(self._job_file)

    def convert(self) -> None:
        """Write the converted files. Raises ConversionError if exactly these are not there afterwards."""
        log = self._run("convert", f"the converter for {self._target.name}")
        found = {file.name for file in self._job.target_folder.iterdir() if file.stat().st_size}
        if found != set(self._target.files):
            raise ConversionError(
                f"the converter for {self._target.name} ended without an error, but wrote "
                f"{', '.join(sorted(found)) or 'nothing'} instead of {', '.join(self._target.files)}{_end_of(log)}",
                log=log,
            )

    def compare(self, vectors: Vectors, form: Form) -> dict[int, Comparison]:
        """Run the result and compare it, by batch size. Raises ConversionError with the figures if it differs."""
        sizes = [1] if self._target.batch else sorted({1, len(vectors.images)})
        outputs, log = self._outputs(vectors.images, sizes)
        comparisons = {}
        for size in sizes:
            actual = {name: outputs.get(f"{name}.{size}") for name in vectors.outputs}
            there = {name: values for name, values in actual.items() if values is not None}
            comparison = compare(vectors.outputs, there, form.tolerance, names=vectors.names) if there else _nothing()
            if not comparison:
                raise ConversionError(
                    f"the model converted to {self._target.name} gives other outputs than those recorded, at batch "
                    f"size {size}: {comparison.problems[0]}; it was not kept",
                    log=log,
                )
            comparisons[size] = comparison
        return comparisons

    def _outputs(self, images: Array, sizes: list[int]) -> tuple[dict[str, Array], str]:
        images_file, outputs_file = self._work / "images.npy", self._work / "outputs.npz"
        np.save(images_file, images)
        who = f"the model converted to {self._target.name}"
        log = self._run("run", who, images_file, outputs_file, ",".join(map(str, sizes)))
        try:
            with np.load(outputs_file, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}, log
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ConversionError(f"{who} ended without outputs ({one_line(error)})", log=log) from None

    def _run(self, command: str, who: str, *more: str | Path) -> str:
        """The log of a child that succeeded."""
        arguments = [command, self._target.name, self._job_file, str(self._memory), *more]
        ended = run_module(
            CHILD, arguments, folder=self._work, timeout_s=self._limits.timeout_s,
            environment={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        if ended.failure is not None:
            short = any(sign in ended.output for sign in OUT_OF_MEMORY)
            why = f" (it may allocate {self._memory / 2**20:,.0f} MiB)" if short else ""
            words = "" if ended.explained else _end_of(ended.output)
            raise ConversionError(f"{who} {ended.failure}{why}{words}", log=ended.output)
        return ended.output


def _nothing() -> Comparison:
    return failed("it has none of them")


def _form(target: Target, source: Source, precision: str) -> Form:
    if precision not in target.forms:
        raise InputError(f"{target.name} is made in {', '.join(target.forms)}, got {precision!r}; {target.no_form}")
    form = target.forms[precision]
    if form.source not in source.artifact.precisions:
        raise InputError(
            f"{target.name} in {precision} is made from the {form.source} file, and {source.artifact.name} has only "
            f"{', '.join(source.artifact.precisions) or 'none'}; onnxzoo quantize makes int8 and fp16 files"
        )
    return form


def _free(out: Path) -> Path:
    """The folder to write, absolute; raises InputError if it is taken or cannot be created."""
    with readable(out, InputError):
        folder = out.resolve()
        require_own(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file, expected a new folder for the converted model; choose another --out")
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty and stays as it is; remove it, or choose another --out")
        nearest = nearest_existing(folder)
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(f"{folder} cannot be created in {nearest}; choose another --out")
    return folder


def _vectors(source: Source) -> Vectors:
    try:
        return source.vectors()
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{error}; a converted model is compared with them, so it cannot be made") from None


def _end_of(log: str, limit: int = 200) -> str:
    """The last words of a log, for the end of a message."""
    words = one_line(log.strip()[-limit:]) if log.strip() else ""
    return f"; its last words: ...{words}" if words else ""
