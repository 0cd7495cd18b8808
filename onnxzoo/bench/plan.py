"""What is to be measured, checked before anything is: models, engines, precisions, images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..artifact.folder import CONFORMANCE_FILE, Artifact
from ..artifact.onnx_checks import KNOWN
from ..artifact.vectors import read_vectors
from ..cpu import engine_threads
from ..data.walk import NoImages, Skipped, find_images
from ..engines import AUTO, AUTO_ORDER, ENGINES, EngineOptions, engine_class, require_possible
from ..errors import EngineUnavailableError, ImageError, InputError
from ..image import preprocess
from ..precisions import AUTO_PRECISION, FP32, quantize_hint
from ..registry import Preprocess, models
from ..results import Array
from ..source import Source, resolve
from ..weights.seeded import seeded_images

SAMPLES = 10
"""Healthy samples that are wanted of every contender."""
MOST_IMAGES = 64
INPUTS = 6
"""Seeded inputs of a model that has none recorded."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure. `engines`: by default every one that works here. `threads`: of the CPU, by default as many as
    `engine_threads` says. `images`: paths, for timing from image files to classes. `samples`: healthy ones that are
    wanted of every contender. `trust`: as in `onnxzoo.load`.

    Raises InputError for a precision that is none, and for numbers below 1.
    """

    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = (FP32,)
    batch_sizes: tuple[int, ...] = (1,)
    threads: int | None = None
    images: tuple[str, ...] = ()
    samples: int = SAMPLES
    trust: str = KNOWN

    def __post_init__(self) -> None:
        if not self.precisions or not self.batch_sizes:
            raise InputError("name at least one precision and one batch size, or leave them out")
        if self.samples < 1:
            raise InputError(f"samples must be a whole number from 1, got {self.samples}")
        for precision in self.precisions:
            for size in self.batch_sizes:
                EngineOptions(precision, self.threads, size)

    @property
    def cpu_threads(self) -> int:
        """The threads of every contender."""
        return engine_threads() if self.threads is None else self.threads


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure: its artifact with all files that are needed here, and `cases`: (engine, precision).

    `images`: what is run once, float32 [K, 3, S, S]; `logits`: the reference's for them, None where none are recorded.
    """

    artifact: Artifact
    cases: tuple[tuple[str, str], ...]
    images: Array
    logits: Array | None
    trust: str

    @property
    def gmacs(self) -> float | None:
        """Multiply-accumulates of an image in 10^9, as counted for the registry; None for another architecture."""
        entry = models().get(self.artifact.name)
        same = entry is not None and (entry.architecture, entry.image_size) == (
            self.artifact.architecture,
            self.artifact.image_size,
        )
        return entry.gmacs if entry is not None and same else None


@dataclass(slots=True)
class Plan:
    """The models, and `skipped`: what is not measured, and why."""

    subjects: tuple[Subject, ...]
    skipped: dict[str, str] = field(default_factory=dict)


def plan(names: Sequence[str | os.PathLike[str]], settings: Settings) -> Plan:
    """Resolve the models and check that all of what was asked for can be measured.

    Engines that were not named are left out where they cannot work, which `skipped` says.

    Raises InputError for an engine that this version does not have, a precision that a named engine or a model does
    not have; EngineUnavailableError where no engine is left; and as `onnxzoo.source.resolve` does.
    """
    skipped: dict[str, str] = {}
    subjects: dict[Path, Subject] = {}
    for name in names:
        source = resolve(name, precision=None, files=[CONFORMANCE_FILE], trust=settings.trust)
        if source.artifact.folder not in subjects:
            subjects[source.artifact.folder] = _subject(source, str(name), settings, skipped)
    return Plan(tuple(subjects.values()), skipped)


def readable_images(
    folder: Path, spec: Preprocess, unreadable: Callable[[ImageError], None], skipped: Skipped | None = None
) -> tuple[str, ...]:
    """The paths of at most MOST_IMAGES images of a folder, spread evenly over it, each of which has been read.

    `unreadable` is told of an image or folder that cannot be read, which is left out; `skipped` counts other files.
    Raises InputError where no image is left.
    """
    found: list[str] = []
    for one in find_images([str(folder)], skipped):
        if not isinstance(one, NoImages):
            found.append(one)
        elif one.refusal:
            unreadable(ImageError(str(one)))
    places = np.linspace(0, len(found) - 1, min(MOST_IMAGES, len(found))).round().astype(int).tolist()
    readable = []
    for path in (found[place] for place in places):
        try:
            preprocess(path, spec)
            readable.append(path)
        except ImageError as error:
            unreadable(error)
    if not readable:
        what = f"none of the {len(places)} images in {folder} can be read" if found else f"{folder} holds no images"
        raise InputError(f"{what}; give a folder with images, or leave --images out to time the model alone")
    return tuple(readable)


def _subject(source: Source, name: str, settings: Settings, skipped: dict[str, str]) -> Subject:
    artifact = source.artifact
    cases = _named(artifact, name, settings) if settings.engines else _possible(source, name, settings, skipped)
    for engine, precision in cases:
        file = _file_precision(artifact, engine, precision)
        for one in artifact.precisions if precision == AUTO_PRECISION or file is None else (file,):
            source.open(one)
    if CONFORMANCE_FILE in artifact.files:
        vectors = read_vectors(artifact)
        return Subject(artifact, cases, vectors.images, vectors.outputs["logits"], settings.trust)
    return Subject(artifact, cases, seeded_images(artifact.image_size, INPUTS, 0), None, settings.trust)


def _named(artifact: Artifact, name: str, settings: Settings) -> tuple[tuple[str, str], ...]:
    """The engines that were asked for, in all precisions that were."""
    cases = [(engine, precision) for engine in settings.engines for precision in settings.precisions]
    for engine, precision in cases:
        require_possible(engine, EngineOptions(precision))
        if _file_precision(artifact, engine, precision) is None:
            raise _lacking(artifact, name, engine, precision)
    return tuple(dict.fromkeys(cases))


def _possible(source: Source, name: str, settings: Settings, skipped: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Every engine that may work here, in the precisions that it and the model have."""
    working = []
    for engine in ENGINES:
        reason = engine_class(engine).skip_reason(
            lambda: source.open(source.artifact.precisions[0]), EngineOptions(batch_size=max(settings.batch_sizes))
        )
        if reason is None:
            working.append(engine)
        else:
            skipped[engine] = reason
    if not working:
        raise EngineUnavailableError(f"no engine can be used here: {'; '.join(skipped.values())}")
    cases = []
    for precision in settings.precisions:
        able = [engine for engine in working if precision in engine_class(engine).FILES]
        for engine in working:
            if engine not in able:
                skipped[f"{engine} in {precision}"] = f"the engine {engine!r} has no precision {precision!r}"
        usable = [engine for engine in able if _file_precision(source.artifact, engine, precision) is not None]
        if not usable:
            raise _lacking(source.artifact, name, " or ".join(able or working), precision)
        cases += [(engine, precision) for engine in usable]
    return tuple(cases)


def _file_precision(artifact: Artifact, engine: str, precision: str) -> str | None:
    """The precision of the file from which the engine would compute in `precision`; None: the artifact has none."""
    for name in AUTO_ORDER if engine == AUTO else (engine,):
        for usable in engine_class(name).FILES.get(precision, ()):
            if usable in artifact.precisions:
                return usable
    return None


def _lacking(artifact: Artifact, name: str, engine: str, precision: str) -> InputError:
    has = ", ".join(artifact.precisions) or "none"
    hint = quantize_hint(precision, name)
    return InputError(f"{artifact.name} has no file for {precision} on {engine}: it has {has}{hint}")
