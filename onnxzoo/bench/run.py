"""Measuring: the contenders of a model and batch size at a time, in turn, each in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Sequence

import numpy as np

from ..artifact.folder import Artifact
from ..comparison.figures import snr_db
from ..engines.auto_precision import on_cpu
from ..errors import BenchmarkError, EngineUnavailableError
from ..temporary import scratch_folder
from .contenders import Candidate, Folder, models_in_engines, products
from .plan import Plan, Settings, Subject
from .products import FLOP
from .result import Accuracy, Group, Limit, Row, against_limit, fastest, speed_of
from .timing import Gate, Log, OpenGate, healthy_samples, interleave

SAMPLE_S = 0.3
"""A sample has as many inferences as fit into this time, one at least."""
MOST_RUNS = 50
PATIENCE = 2
"""Rounds at most, for each healthy sample that is wanted: a machine that is never healthy must not keep us for ever."""

Peers = Callable[[Subject, int, Settings, Folder], Sequence[Candidate]]
"""Gives further contenders of a model at a batch size."""


def measure(
    plan: Plan, settings: Settings, *, log: Log, peers: Peers | None = None, gate: Gate | None = None
) -> Generator[Group, None, None]:
    """Measure every model of the plan at every batch size, and yield each group when it is done.

    Engines that were not named and prove to be unusable are left out, and `plan.skipped` says so then. `log` is told
    what goes on. `peers`: what else runs in turn with the engines. `gate`: by default a `Gate`, or one that lets all
    pass where no engine runs on the CPU. All processes have ended, and all files are gone, when the generator is closed
    or raises.

    Raises EngineUnavailableError where none of a model's engines works.
    """
    engines = {engine for subject in plan.subjects for engine, _ in subject.cases}
    open_gate = bool(engines) and not any(on_cpu(engine) or engine == "auto" for engine in engines)
    gate = gate or (OpenGate() if open_gate else Gate())
    for subject in plan.subjects:
        for batch_size in dict.fromkeys(settings.batch_sizes):
            log(f"{subject.artifact.name}, batch size {batch_size}")
            with scratch_folder("bench") as scratch:
                folder = Folder(scratch)
                group, left_out = _group(subject, batch_size, settings, folder, gate, log, peers)
                for name, why in left_out.items():
                    plan.skipped.setdefault(name, why)
                yield group


def _group(
    subject: Subject,
    batch_size: int,
    settings: Settings,
    folder: Folder,
    gate: Gate,
    log: Log,
    peers: Peers | None,
) -> tuple[Group, dict[str, str]]:
    """The group, and the engines that were not named and cannot be used, with their reasons."""
    ours = models_in_engines(subject, batch_size, settings, folder)
    candidates = [*ours, *(peers(subject, batch_size, settings, folder) if peers else ())]
    threads = settings.cpu_threads
    with contextlib.ExitStack() as stack:
        running = _started(candidates, folder, threads, stack, log)
        for candidate in running:
            candidate.row = dataclasses.replace(candidate.row, snr_db=_snr_db(subject, candidate))
        if not any(candidate in running for candidate in ours):
            reasons = "; ".join(dict.fromkeys(candidate.row.error for candidate in ours))
            raise EngineUnavailableError(f"no engine can be used here: {reasons}")
        left_out = [one for one in ours if one.unavailable and not settings.engines]
        bounds = _started(products([one.row for one in running], folder), folder, threads, stack, log)
        timed = _timed([*running, *bounds], gate, settings.samples, log)
        for candidate in timed:
            with contextlib.suppress(BenchmarkError):  # it ended after its last sample: its times stand
                if candidate.worker is not None:
                    candidate.row = dataclasses.replace(candidate.row, peak_mib=candidate.worker.peak_mib())
    limits = tuple(_limit(candidate, gate) for candidate in bounds if candidate in timed)
    shown = [candidate for candidate in candidates if candidate not in left_out]
    rows = tuple(_row(candidate, subject, gate, limits, timed=candidate in timed) for candidate in shown)
    reasons_by_name = {one.contender.name: one.row.error for one in left_out}
    return Group(subject.artifact.name, batch_size, rows, limits), reasons_by_name


def _started(
    candidates: Sequence[Candidate], folder: Folder, threads: int, stack: contextlib.ExitStack, log: Log
) -> list[Candidate]:
    """Those that could be started, one after the other; the rows of the others say why not."""
    running = []
    for number, candidate in enumerate(candidates):
        if candidate.row.error:  # it could not even be made
            continue
        log(f"  loading {candidate.contender.name}")
        try:
            candidate.start(folder.path / f"{number}.npy", threads)
        except BenchmarkError as error:
            _failed(candidate, error, log)
            continue
        if candidate.worker is not None:
            stack.enter_context(candidate.worker)
        running.append(candidate)
    return running


def _timed(candidates: list[Candidate], gate: Gate, samples: int, log: Log) -> list[Candidate]:
    """Time them in turn; one that fails meanwhile is left out, and the others are timed anew."""
    left = list(candidates)
    while left:
        pairs = [(candidate.contender, candidate.worker) for candidate in left if candidate.worker is not None]
        try:
            # One inference says how many fit into a sample.
            once = [worker.run(0, 1)[0] for _, worker in pairs]
            runs = [max(1, min(MOST_RUNS, round(SAMPLE_S / seconds))) for seconds in once]
            interleave(
                [pair[0] for pair in pairs], [pair[1] for pair in pairs], gate,
                rounds=PATIENCE * samples, runs=runs, log=log, enough=samples,
            )  # fmt: skip
            break
        except BenchmarkError as error:
            lost = next(one for one in left if one.contender.name == error.contender)
            _failed(lost, error, log)
            left.remove(lost)
            for candidate in left:
                candidate.contender.samples.clear()
    return left


def _failed(candidate: Candidate, error: BenchmarkError, log: Log) -> None:
    candidate.row = dataclasses.replace(candidate.row, error=str(error))
    log(f"  {error}")


def _snr_db(subject: Subject, candidate: Candidate) -> float | None:
    """Of the logits to the reference's; None where the artifact has none, or they are equal to the bit."""
    if subject.logits is None:
        return None
    expected = subject.logits.astype(np.float64)
    actual = candidate.outputs()["logits"][: len(expected)]
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return None
    found = snr_db(expected, np.abs(actual - expected))
    return found if np.isfinite(found) else None


def _limit(candidate: Candidate, gate: Gate) -> Limit:
    seconds = fastest(candidate.contender.samples, healthy_samples(candidate.contender, gate))
    return Limit(candidate.row.engine, candidate.row.precision, FLOP / seconds / 1e9)


def _row(candidate: Candidate, subject: Subject, gate: Gate, limits: Sequence[Limit], *, timed: bool) -> Row:
    if not timed:
        return candidate.row
    samples = candidate.contender.samples
    speed = speed_of(samples, healthy_samples(candidate.contender, gate), candidate.row.batch_size)
    accuracy = None if candidate.peer else _accuracy(subject.artifact, candidate.row)
    row = dataclasses.replace(candidate.row, speed=speed, accuracy=accuracy)
    return against_limit(row, subject.gmacs, limits)


def _accuracy(artifact: Artifact, row: Row) -> Accuracy | None:
    """What is recorded for this precision: on this engine, or else on another."""
    records = sorted(artifact.evaluated(row.precision), key=lambda record: record.engine != row.engine)
    if not records:
        return None
    one = records[0]
    return Accuracy(one.top1, one.top5, one.images, one.dataset, one.engine)
