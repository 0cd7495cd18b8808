"""Throughput against cores, workers and images, and a model of the cost to a billion images that is checked against it.

    python benchmarks/scale.py [--model DIR] [--images N] [--out FOLDER]

Needs the extras `ray` and `dev` (moto's S3 server on loopback). Without --model, pvt_v2_b0 with seeded weights. Writes
scale.md and scale.json. Linux; a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cold_start import cpu_model, log, measure
from scale_model import Measured, Point, fitted, written
from seeded_artifact import assembled

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parent / "onnxzoo" / "data" / "photos"
SIZE = (500, 375)
PART_ROWS = 50

# Each step is a process of its own: what it leaves in memory does not affect the next.
RAY = """
import json, os, signal, sys, time
began = time.perf_counter()
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from onnxzoo.batch import open_source, ray as workers_of, ray_runs
model, images, out, workers, part_rows, kill = *sys.argv[1:4], *map(int, sys.argv[4:])
ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error",
         object_store_memory=2**28)
ray_runs.PART_ROWS = part_rows
write = workers_of.Pool.write
marks = []
def write_and_kill(pool, parts):
    for number, done in enumerate(write(pool, parts)):
        marks.append((time.perf_counter() - began, done.rows))
        if kill and number == 0:
            os.kill(done.process, signal.SIGKILL)
        yield done
workers_of.Pool.write = write_and_kill
table, summary = ray_runs.table_by_ray(model, open_source([images]), out, engine="onnxruntime", threads=1)
print(json.dumps({"rows": table.rows, "cpu_s": summary.cpu_s, "first_s": marks[0][0],
                  "wall_s": time.perf_counter() - began, "last_s": marks[-1][0]}))
"""

LISTING = """
import json, pickle, sys, time
from itertools import islice
from pathlib import Path
from onnxzoo.batch import open_source
from onnxzoo.batch.table_folder import TableFolder
from onnxzoo.batch.working_folder import digest_of_paths
images, table, part_rows = sys.argv[1], TableFolder(Path(sys.argv[2])), int(sys.argv[3])
source = open_source([images])
began, count = time.perf_counter(), 0
for _ in range(20):
    entries = iter(source)
    while part := list(islice(entries, part_rows)):
        count += len(part)
        sent = len(pickle.dumps(part)), digest_of_paths(entry.path for entry in part)
listed = time.perf_counter() - began
began, parts = time.perf_counter(), 0
for _ in range(20):
    number = 0
    while table.finished(number) is not None:
        number += 1
    parts += number
checked = time.perf_counter() - began
print(json.dumps({"entries_per_s": count / listed, "bytes_per_entry": sent[0] / len(part or [0] * part_rows),
                  "finished_parts_per_s": parts / checked}))
"""

BUCKET = """
import json, os, sys, threading
from collections import Counter
from pathlib import Path
from werkzeug.serving import WSGIRequestHandler, make_server
from moto.server import DomainDispatcherApplication, create_backend_app
requests, sent = Counter(), Counter()
inner = DomainDispatcherApplication(create_backend_app)
def counting(environ, start):
    method = "LIST" if "list-type" in environ["QUERY_STRING"] else environ["REQUEST_METHOD"]
    requests[method] += 1
    body = b"".join(inner(environ, start))
    sent[method] += len(body) if method != "HEAD" else 0
    return [body]
class Silent(WSGIRequestHandler):
    def log(self, *_arguments): pass
server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Silent)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ.update({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}", "AWS_ACCESS_KEY_ID": "a",
                   "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull,
                   "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"})
import s3fs
import onnxzoo
from onnxzoo.batch import open_source
from onnxzoo.batch.results import results_of
model, images, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
files = s3fs.S3FileSystem(skip_instance_cache=True)
files.mkdir("zoo")
size = 0
for path in sorted(images.iterdir())[:count]:
    files.pipe(f"zoo/photos/{path.name}", path.read_bytes())
    size += path.stat().st_size
requests.clear(); sent.clear()
with onnxzoo.load(model, engine="onnxruntime") as loaded:
    source = open_source(["s3://zoo/photos"])
    source.identity()
    done = sum(bool(result) for _, result in results_of(loaded, source))
print(json.dumps({"images": done, "requests": requests, "bytes": sum(sent.values()), "image_bytes": size}))
"""


def photos(folder: Path, count: int) -> int:
    """Write `count` JPEGs of SIZE cut from the photos that ship; returns their bytes."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    sources = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    folder.mkdir()
    for number in range(count):
        source = sources[number % len(sources)]
        share = random.uniform(0.6, 1.0)
        width, height = int(source.width * share), int(source.height * share)
        left, top = random.integers(0, source.width - width + 1), random.integers(0, source.height - height + 1)
        cut = source.crop((left, top, left + width, top + height)).resize(SIZE)
        cut.save(folder / f"{number:06}.jpg", quality=90)
    return sum(path.stat().st_size for path in folder.iterdir())


def script(code: str, *arguments: object) -> dict[str, Any]:
    """What a step prints, run in a process of its own."""
    output = measure([sys.executable, "-P", "-c", code, *map(str, arguments)]).output
    # Ray prints something of its own when a worker is lost.
    found: dict[str, Any] = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    return found


def one_process(model: Path, images: Path, count: int, threads: int, scratch: Path) -> Point:
    """`onnxzoo predict --out` on one machine, with this many threads for the engine and for reading."""
    listed = scratch / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(images.iterdir())[:count]), encoding="utf-8")
    out = scratch / f"one-{threads}-{count}.parquet"
    options = ["--out", str(out), "--engine", "onnxruntime", "--threads", str(threads), "-q"]
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        sample = measure([sys.executable, "-P", "-m", "onnxzoo", "predict", str(model), str(listed), *options])
    finally:
        del os.environ["OMP_NUM_THREADS"]
    return Point("one process", threads, count, sample.wall_s, sample.cpu_s)


def by_ray(model: Path, images: Path, workers: int, out: Path, *, kill: bool = False) -> tuple[Point, dict[str, Any]]:
    """The same images by workers of one CPU each."""
    found = script(RAY, model, images, out, workers, PART_ROWS, int(kill))
    kind = "Ray, a worker killed" if kill else "Ray"
    return Point(kind, workers, found["rows"], found["wall_s"], found["cpu_s"], found["first_s"]), found


def main() -> None:
    """Measure, fit, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, metavar="DIR", help="an artifact folder")
    parser.add_argument("--images", type=int, default=800, metavar="N", help="JPEGs of 500 x 375 pixels (default 800)")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    if options.images < 4 * PART_ROWS:
        parser.error(f"--images must be at least {4 * PART_ROWS}, got {options.images}")
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="onnxzoo-scale-") as temporary:
        scratch = Path(temporary)
        model = options.model or assembled("pvt_v2_b0", scratch)
        images = scratch / "images"
        image_bytes = photos(images, options.images) / options.images
        load_before = os.getloadavg()[0]
        points = []
        for threads in sorted({1, cores}):
            for count in (options.images // 4, options.images):
                log(f"one process, {threads} threads, {count} images")
                points.append(one_process(model, images, count, threads, scratch))
        for workers in sorted({1, cores}):
            log(f"Ray, {workers} workers, {options.images} images")
            points.append(by_ray(model, images, workers, scratch / f"ray-{workers}")[0])
        log("Ray, a worker killed")
        points.append(by_ray(model, images, cores, scratch / "killed", kill=True)[0])
        log("listing, finished parts, bucket")
        listing = script(LISTING, images, scratch / f"ray-{cores}", PART_ROWS)
        buckets = script(BUCKET, model, images, 50), script(BUCKET, model, images, 200)
    measured = Measured(model.name, cpu_model(), cores, load_before, PART_ROWS, image_bytes, points, listing, buckets)
    text = written(measured, fitted(measured))
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scale.md").write_text(text, encoding="utf-8")
    (options.out / "scale.json").write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
