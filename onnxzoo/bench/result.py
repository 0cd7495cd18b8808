"""What a benchmark found, as values: a row for each contender, and the machine's limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .timing import Sample

SCHEMA_VERSION = 1
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Speed:
    """The times of one contender.

    `min_ms`, `p50_ms`, `p95_ms`, `p99_ms`: of a batch. Disturbances only ever add time: the minimum is what to compare
    on a machine that is not quiet. `images_per_second`: of the median batch. `inferences`: how many batches
    these figures are of. `healthy`, `samples`: samples from healthy moments of the machine, of how many; where none was
    healthy the figures are of all samples, and say little.
    """

    min_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    images_per_second: float
    inferences: int
    healthy: int
    samples: int


@dataclass(frozen=True, slots=True)
class Accuracy:
    """An accuracy from the artifact's records: fractions in [0, 1] of `images` images, measured on `engine`."""

    top1: float
    top5: float
    images: int
    dataset: str
    engine: str


@dataclass(frozen=True, slots=True)
class Limit:
    """What a matrix product reaches in an engine, at its fastest: 10^9 operations a second, in this precision."""

    engine: str
    precision: str
    gflops: float


@dataclass(frozen=True, slots=True)
class Row:
    """One contender.

    `contender`: the engine or the peer; `engine`, `device`, `version`: what computes, and in which `precision`.
    `speed`: None where it failed, and `error` says why. `load_s`: seconds of imports and loading, without the start of
    Python; `first_s`: of the first batch after that. `peak_mib`: largest resident memory of its process.
    `accuracy`: recorded in the artifact for this precision. `snr_db`: of the logits to the recorded reference's, in dB;
    None where the artifact has none recorded. `gflops`: 2 x multiply-accumulates x images a second, where these are
    known; `limit_gflops`: what a matrix product of this precision reaches on this machine, by the fastest engine
    measured; `limit_share`: one over the other.
    """

    model: str
    contender: str
    engine: str
    device: str
    version: str
    precision: str
    batch_size: int
    speed: Speed | None = None
    load_s: float | None = None
    first_s: float | None = None
    peak_mib: float | None = None
    accuracy: Accuracy | None = None
    snr_db: float | None = None
    gflops: float | None = None
    limit_gflops: float | None = None
    limit_share: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The contenders for one model and batch size, which ran in turn, with the limits measured among them."""

    model: str
    batch_size: int
    rows: tuple[Row, ...]
    limits: tuple[Limit, ...]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least this percentage of them does not exceed (the nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def speed_of(samples: Sequence[Sample], healthy: Sequence[Sample], batch_size: int) -> Speed:
    """The figures of the healthy samples, or of all where there is none; `samples` must not be empty."""
    seconds = [second for sample in healthy or samples for second in sample.seconds]
    p50, p95, p99 = (1000 * percentile(seconds, percent) for percent in PERCENTILES)
    return Speed(1000 * min(seconds), p50, p95, p99, 1000 * batch_size / p50, len(seconds), len(healthy), len(samples))


def fastest(samples: Sequence[Sample], healthy: Sequence[Sample]) -> float:
    """The least seconds of an inference, of the healthy samples, or of all where there is none.

    Disturbances only ever add time: for a limit the fastest counts, for what is measured against it the median.
    """
    return min(second for sample in healthy or samples for second in sample.seconds)


def against_limit(row: Row, gmacs: float | None, limits: Sequence[Limit]) -> Row:
    """The row with its share of the machine's limit. `gmacs`: 10^9 multiply-accumulates of one image."""
    limit = max((one.gflops for one in limits if one.precision == row.precision), default=None)
    if row.speed is None or gmacs is None or row.device != "CPU":
        return row
    gflops = 2 * gmacs * row.speed.images_per_second
    share = None if limit is None else gflops / limit
    return dataclasses.replace(row, gflops=gflops, limit_gflops=limit, limit_share=share)


def as_document(
    groups: Sequence[Group],
    *,
    machine: Mapping[str, Any],
    settings: Mapping[str, Any],
    skipped: Mapping[str, str],
    complete: bool = True,
) -> dict[str, Any]:
    """Everything as JSON values. `settings`: what was measured; `skipped`: what was not, and why."""
    limits = [
        {"model": group.model, "batch_size": group.batch_size, **dataclasses.asdict(limit)}
        for group in groups
        for limit in group.limits
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "complete": complete,
        "machine": dict(machine),
        "settings": dict(settings),
        "results": [dataclasses.asdict(row) for group in groups for row in group.rows],
        "limits": limits,
        "skipped": dict(skipped),
    }
