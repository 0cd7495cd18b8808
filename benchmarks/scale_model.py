"""The cost of a run as a function of images and CPUs, fitted to three measured points, and compared with all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BILLION = 10**9
KEYS_PER_LIST = 1000  # of an S3 ListObjectsV2 request
CLUSTERS = (64, 640, 6400)  # CPUs
REAL_PART_ROWS = 1000  # PART_ROWS of onnxzoo.batch.ray_runs
DAY_S = 86_400


@dataclass(frozen=True)
class Point:
    """A measured run. `cpus`: threads of one process, or workers of a CPU each. `first_s`: until the first part."""

    kind: str
    cpus: int
    images: int
    wall_s: float
    cpu_s: float
    first_s: float = 0.0


@dataclass(frozen=True)
class Measured:
    """Everything that was measured. `listing`, `buckets`: as scale.py prints it, of a bucket twice."""

    model: str
    cpu: str
    cores: int
    load_average: float
    part_rows: int
    image_bytes: float
    points: list[Point]
    listing: dict[str, float]
    buckets: tuple[dict[str, Any], dict[str, Any]]

    def find(self, kind: str, cpus: int, images: int | None = None) -> Point:
        """The point of this kind; of the most images, if their number is not given."""
        found = [p for p in self.points if (p.kind, p.cpus) == (kind, cpus) and images in (None, p.images)]
        return max(found, key=lambda point: point.images)


@dataclass(frozen=True)
class Model:
    """CPU seconds of an image in one process and in a worker; seconds to start a process, and Ray with its workers."""

    image_s: float
    worker_image_s: float
    start_s: float
    ray_start_s: float

    def wall_s(self, kind: str, cpus: int, images: int, part_rows: int) -> float:
        """Predicted seconds, if every CPU is free and does as much as one alone."""
        if kind == "one process":
            return self.start_s + images * self.image_s / cpus
        parts = -(-images // part_rows)
        rounds = -(-parts // cpus)  # the last parts leave workers idle
        return self.ray_start_s + rounds * part_rows * self.worker_image_s

    def cpu_s(self, kind: str, images: int) -> float:
        """Predicted CPU seconds: of the process with its start, or of the workers without theirs."""
        return self.start_s + images * self.image_s if kind == "one process" else images * self.worker_image_s

    def lost_worker_s(self, part_rows: int) -> float:
        """The most that a lost worker costs: its part once more, and as much as a start of Ray for another worker."""
        return self.ray_start_s + part_rows * self.worker_image_s


def fitted(measured: Measured) -> Model:
    """The model from three points: one process on one thread with few and many images, and one worker."""
    counts = sorted({point.images for point in measured.points if point.kind == "one process"})
    few, many = (measured.find("one process", 1, count) for count in (counts[0], counts[-1]))
    image_s = (many.cpu_s - few.cpu_s) / (many.images - few.images)
    worker = measured.find("Ray", 1)
    worker_image_s = worker.cpu_s / worker.images
    return Model(
        image_s=image_s,
        worker_image_s=worker_image_s,
        start_s=max(0.0, many.cpu_s - many.images * image_s),
        ray_start_s=max(0.0, worker.first_s - measured.part_rows * worker_image_s),
    )


def written(measured: Measured, model: Model) -> str:
    """The page of results."""
    return "\n".join([*_head(measured), *_points(measured, model), *_billion(measured, model)]) + "\n"


def _head(measured: Measured) -> list[str]:
    busy = measured.load_average > 0.5
    return [
        "# Throughput, and the cost of a billion images",
        "",
        f"`{measured.model}`, ONNX Runtime, fp32; JPEGs of 500 x 375 pixels, {measured.image_bytes / 1000:.0f} kB "
        f"each; {measured.cores} cores, {measured.cpu} (`benchmarks/scale.py`). The load average before was "
        f"{measured.load_average:.1f}"
        + (", so other programs had a share of the cores: elapsed seconds are upper bounds." if busy else "."),
        "",
    ]


def _points(measured: Measured, model: Model) -> list[str]:
    lines = [
        "## Measured and predicted",
        "",
        f"An image takes {model.image_s * 1000:.1f} ms of a CPU in one process, and {model.worker_image_s * 1000:.1f} "
        f"ms in a worker of Ray; a process starts in {model.start_s:.1f} s, Ray in {model.ray_start_s:.1f} s. "
        "The predictions of all rows use these four figures, which come from one process on one thread and from one "
        f"worker; they assume that each CPU is free. Parts have {measured.part_rows} images here.",
        "",
        "| | CPUs | images | CPU s | predicted | ratio | elapsed, s | predicted | ratio | images/s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point in measured.points:
        if point.kind in ("one process", "Ray"):
            predicted = model.wall_s(point.kind, point.cpus, point.images, measured.part_rows)
            cpu_s = model.cpu_s(point.kind, point.images)
            lines.append(
                f"| {point.kind} | {point.cpus} | {point.images:,} | {point.cpu_s:.1f} | {cpu_s:.1f} | "
                f"{point.cpu_s / cpu_s:.2f} | {point.wall_s:.1f} | {predicted:.1f} | "
                f"{point.wall_s / predicted:.2f} | {point.images / point.wall_s:.1f} |"
            )
    whole = measured.find("Ray", measured.cores)
    killed = measured.find("Ray, a worker killed", measured.cores)
    extra, most = killed.wall_s - whole.wall_s, model.lost_worker_s(measured.part_rows)
    lines += [
        "",
        f"A worker was killed after its first part ({measured.cores} workers, {killed.images:,} images): the run took "
        f"{extra:+.1f} s, by the model at most {most:.1f} s more. All rows were there once.",
        "",
        f"One program lists {measured.listing['entries_per_s']:,.0f} images/s of a folder, prepares their parts "
        f"({measured.listing['bytes_per_entry']:.0f} bytes per image), and looks through "
        f"{measured.listing['finished_parts_per_s']:,.0f} finished parts per second when a run goes on.",
        "",
    ]
    return lines


def _billion(measured: Measured, model: Model) -> list[str]:
    few, many = measured.buckets
    added = many["images"] - few["images"]
    gets = (many["requests"]["GET"] - few["requests"]["GET"]) / added
    read = (many["bytes"] - few["bytes"]) / added
    lists = many["requests"]["LIST"] / -(-many["images"] // KEYS_PER_LIST)
    cpu_h = BILLION * model.worker_image_s / 3600
    rate = measured.listing["entries_per_s"]
    listing_h = 2 * BILLION / rate / 3600
    parts = BILLION // REAL_PART_ROWS
    lost_s = REAL_PART_ROWS * model.worker_image_s / 2 + model.ray_start_s
    looking_min = parts / measured.listing["finished_parts_per_s"] / 60
    return [
        f"## To {BILLION:,} images",
        "",
        "By the model, with parts of 1,000 images; nothing of this size was run.",
        "",
        "| | |",
        "|---|---|",
        f"| CPU hours | {cpu_h:,.0f} |",
        *(f"| hours on {cpus:,} CPUs | {cpu_h / cpus:,.1f} |" for cpus in CLUSTERS),
        f"| bytes read | {BILLION * read / 1e12:,.0f} TB |",
        f"| GET requests to a bucket | {BILLION * gets:,.0f} |",
        f"| LIST requests, {lists:.0f} for each {KEYS_PER_LIST:,} names | {BILLION / KEYS_PER_LIST * lists:,.0f} |",
        f"| listing twice by one program (identity, then parts) | {listing_h:,.1f} h |",
        f"| CPUs that one program can keep busy | {rate * model.worker_image_s:,.0f} |",
        f"| finished parts | {parts:,} files |",
        f"| looking through all of them when a run goes on | {looking_min:,.0f} min |",
        f"| a lost worker, on average | {lost_s:.0f} CPU s |",
        f"| all workers lost once a day, share of the work | {lost_s / DAY_S:.2%} |",
        "",
        f"Requests and bytes are those by which a run of {many['images']} images differs from one of {few['images']}, "
        "from moto's S3 server on loopback, by onnxzoo's own reader. In all, the larger run sent "
        f"{', '.join(f'{count} {name}' for name, count in sorted(many['requests'].items()))}; "
        f"{many['bytes'] / many['image_bytes']:.3f} bytes were read for each byte of an image. A "
        "bucket's own limits (5,500 GET requests per second and prefix in S3) are not part of the model. A source of "
        "more images than one program can list is given to several runs, a prefix each.",
    ]
