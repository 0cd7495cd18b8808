"""One measurement of `stream.py`, in a process of its own: prints a JSON object with the figures.

    python stream_child.py decoding PHOTOS COUNT ARTIFACT
    python stream_child.py inference|stream PHOTOS COUNT ARTIFACT ENGINE

`decoding`: reading and preprocessing in as many threads as the stream has. `inference`: the engine with batches in
memory. `stream`: `Model.stream` on the files of the folder. Nothing of the first batches is timed.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from onnxzoo import load
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.batch.sources import open_source
from onnxzoo.cpu import worker_threads
from onnxzoo.image import preprocess_batch
from onnxzoo.model import BATCH_SIZE, Model

WARM = 2 * BATCH_SIZE
SHOWN = 8
"""Images whose best classes are printed, to compare them with the other contenders'."""


def main(what: str, photos: str, count: str, artifact: str, *engine: str) -> None:
    """Measure and print."""
    number = int(count) // BATCH_SIZE * BATCH_SIZE
    if what == "decoding":
        report(number, *decoding(Path(photos), number, Path(artifact)))
        return
    # As the command line loads it for a folder.
    with load(artifact, engine=engine[0], hint="throughput", batch_size=BATCH_SIZE) as model:
        if what == "inference":
            report(number, *inference(model, Path(photos), number))
        else:
            best = [best.class_id for best in model.predict(list(itertools.islice(paths(Path(photos)), SHOWN)))]
            report(number, *stream(model, Path(photos), number), best=best)


def decoding(photos: Path, number: int, artifact: Path) -> tuple[float, float]:
    spec = read_artifact(artifact).preprocess

    def read(path: str) -> None:
        preprocess_batch([path], spec)

    with ThreadPoolExecutor(worker_threads()) as pool:
        list(pool.map(read, itertools.islice(paths(photos), WARM)))
        begun = now()
        for _ in pool.map(read, itertools.islice(paths(photos), number)):
            pass
        return begun


def inference(model: Model, photos: Path, number: int) -> tuple[float, float]:
    found = list(itertools.islice(paths(photos), 8 * BATCH_SIZE))
    batches = [
        preprocess_batch(found[start : start + BATCH_SIZE], model.artifact.preprocess)
        for start in range(0, len(found), BATCH_SIZE)
    ]
    turns = itertools.cycle(batches)
    for batch in itertools.islice(turns, WARM // BATCH_SIZE):
        model.logits(batch)
    begun = now()
    for batch in itertools.islice(turns, number // BATCH_SIZE):
        model.logits(batch)
    return begun


def stream(model: Model, photos: Path, number: int) -> tuple[float, float]:
    begun = now()
    for count in (WARM, number):
        begun = now()
        classified = sum(map(bool, model.stream(itertools.islice(paths(photos), count))))
        if classified != count:
            raise SystemExit(f"{classified} of {count} photos were classified")
    return begun


def paths(photos: Path) -> Iterator[str]:
    """The files of the folder, again and again."""
    while True:
        for entry in open_source([str(photos)], unique=False):
            yield entry.path


def now() -> tuple[float, float]:
    """Seconds on the wall, and of all processors for this process."""
    return time.perf_counter(), time.process_time()


def report(number: int, wall: float, processor: float, **more: object) -> None:
    """Print what was measured since then."""
    then = now()
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(
        json.dumps(
            {
                "images_s": number / (then[0] - wall),
                "processor_ms": 1000 * (then[1] - processor) / number,
                "peak_mib": int(peak.split()[1]) / 1024,
                **more,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
