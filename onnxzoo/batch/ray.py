"""A Ray cluster, and the workers of a run on it (the extra `ray`).

Ray Data gives parts of the source to a pool of actors, which hold the model (`part_worker`), and repeats the part of an
actor that is lost. An actor reads its images itself, so that no other task has to get a CPU for that, and asks for a
little less than its CPUs, which leaves some for Ray's own tasks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pickle
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..cpu import worker_threads
from ..errors import (
    EngineError,
    EngineUnavailableError,
    MissingDependencyError,
    one_line,
    raise_if_interrupted,
)
from .entry import Entry
from .part_worker import Done, Failure, Job, PartWorker

log = logging.getLogger(__name__)

CPU_SHARE = 0.9
"""Of each CPU that a worker uses, what it asks of Ray."""

OBJECT_STORE_BYTES = 512 * 2**20
"""Size of the object store of a Ray that is started here; what does not fit is spilled to the disk."""

SMALL_RUN = 5_000
"""Images for which one machine needs less time than Ray may take to start: 50 s at 100 images/s."""

RAY_START = "10 to 50 s"
"""What Ray and its workers take to start: 10 s on an idle machine with two cores, 50 s on a busy one."""

RAY_ADDRESS = "RAY_ADDRESS"
LOCAL = "local"
BACKEND_LOG_LEVEL = "RAY_BACKEND_LOG_LEVEL"
LOG_LEVEL_LINE = re.compile(rb"\[[^\n]*\] logging\.cc:[^\n]*\n")


class Pool:
    """The workers of a job on the cluster that this process is connected to."""

    def __init__(self, job: Job, packed: bytes | None, cpus: int) -> None:
        """`packed`: the artifact as `part_worker.pack` made it, if the model is not loaded by name."""
        import ray

        self._job, self._cpus = job, cpus
        self._packed = None if packed is None else ray.put(packed)
        device = str(job.options.get("engine", "auto")).partition(":")[0]
        self._resources: dict[str, Any] = {"num_cpus": cpus * CPU_SHARE}
        if device in ("cuda", "tensorrt", "tensorrt-rtx"):
            self._resources["num_gpus"] = 1

    def require_room(self, *, wait: bool) -> None:
        """Raise EngineUnavailableError if no machine has what a worker needs; `wait`: say so, as one may be added."""
        import ray

        cpus, gpus = self._resources["num_cpus"], self._resources.get("num_gpus", 0)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            return
        message = f"no machine of the cluster has {cpus:g} CPUs{' and a GPU' if gpus else ''} for a worker"
        if not wait:
            raise EngineUnavailableError(f"{message}; lower --threads, or name another engine or cluster")
        log.warning("%s; waiting for one", message)

    def describe(self, first: Entry | None) -> Job:
        """The job with the description of the run, by a worker; it also looks for the folder and the first image."""
        import ray

        image = None if first is None else first.image
        seen = image if isinstance(image, str) and Path(image).exists() else None
        task = ray.remote(max_calls=1, **self._resources)(_described)  # its process ends with it
        with _ray_errors():
            found, failure = ray.get(task.remote(self._job, self._packed, seen))
        if failure is not None:
            raise failure.error()
        self._job = dataclasses.replace(self._job, description=found)
        return self._job

    def write(self, parts: list[dict[str, Any]]) -> Iterator[Done]:
        """Give these parts to a pool of workers, and yield what they report, as it comes."""
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        room = int(ray.cluster_resources().get("CPU", 0) // self._cpus)
        workers = ray.data.ActorPoolStrategy(
            min_size=1, max_size=len(parts), initial_size=max(1, min(room, len(parts)))
        )
        written = ray.data.from_items(parts, override_num_blocks=len(parts)).map(
            _Actor,
            fn_constructor_args=(self._job, [] if self._packed is None else [self._packed]),
            compute=workers,
            **self._resources,
        )
        with _ray_errors():
            for row in written.iter_rows():
                yield pickle.loads(row["done"])  # noqa: S301 - of our own workers


class _Actor:
    """A worker as Ray Data starts it: gets rows `number`, `entries`, and returns rows `done`."""

    def __init__(self, job: Job, packed: list[Any]) -> None:
        # In a list, the artifact is fetched when the model is loaded; Ray would fetch it before otherwise.
        self._worker = PartWorker(job, (lambda: _fetched(packed[0])) if packed else None)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        entries: list[Entry] = pickle.loads(row["entries"])  # noqa: S301 - of the program that began the run
        return {"done": pickle.dumps(self._worker.write(int(row["number"]), entries))}


def _fetched(reference: Any) -> bytes:
    import ray

    content: bytes = ray.get(reference)
    return content


def _described(job: Job, packed: bytes | None, seen: str | None) -> tuple[dict[str, Any], Failure | None]:
    """What a worker says of the run, or why it cannot take part. `seen`: an image that is there for its beginner."""
    try:
        return PartWorker(job, None if packed is None else lambda: packed).describe(seen), None
    except Exception as error:  # noqa: BLE001 - raised by the program that began the run
        return {}, Failure.of(error)


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """A connection to a cluster, or to one that is started for this block; one that there is already is used.

    Raises MissingDependencyError without Ray, EngineUnavailableError if there is no cluster at the address.
    """
    ray = _imported()
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get(RAY_ADDRESS) or LOCAL
    here: dict[str, Any] = {}
    if address == LOCAL:
        here = {
            "num_cpus": worker_threads(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    # Ray's handler would end the process without removing temporary files.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        with _quiet():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **here)
    except Exception as error:
        raise EngineUnavailableError(
            f"there is no connection to the Ray cluster {address!r}: {one_line(error)}; check the address, or leave it "
            "out to use the CPUs of this machine"
        ) from error
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)
    # Also with log_to_driver=False, Ray prints to stdout, in colour, that a worker was lost; it is repeated anyway.
    ray._private.worker._worker_logs_enabled = False
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While Ray starts: its library in C++ logs to its files only, and its line on stderr that it does so is left out.

    At its usual level it would report on stderr, as an error, that Ray Data gives arguments to its workers.
    """
    level = os.environ.get(BACKEND_LOG_LEVEL)
    os.environ[BACKEND_LOG_LEVEL] = level or "fatal"
    stderr, (source, sink) = os.dup(2), os.pipe()
    passing = threading.Thread(target=_pass_on, args=(source, stderr), name="onnxzoo-ray-stderr", daemon=True)
    passing.start()
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(sink)
        passing.join(timeout=1)  # it ends when nobody has the pipe open; a process that Ray started may have it
        if level is None:
            del os.environ[BACKEND_LOG_LEVEL]


def _pass_on(source: int, target: int) -> None:
    while content := os.read(source, 2**16):
        with contextlib.suppress(OSError):
            os.write(target, LOG_LEVEL_LINE.sub(b"", content))


def _imported() -> Any:
    """Ray, with its usage statistics off, and without its logs on stderr."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise_if_interrupted(error)
        raise MissingDependencyError(
            f"--ray needs Ray, which cannot be imported ({one_line(error)}); pip install 'onnxzoo[ray]', or leave out "
            "--ray"
        ) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


def advise(count: int | None) -> None:
    """Say when one machine without Ray is the better choice."""
    import ray

    machines = sum(bool(node["Alive"]) for node in ray.nodes())
    if machines > 1 and (count is None or count > SMALL_RUN):
        return
    why = "the cluster has one machine" if machines <= 1 else f"{count:,} images are few"
    log.info("%s: without --ray the same work takes %s less", why, RAY_START)


@contextlib.contextmanager
def _ray_errors() -> Iterator[None]:
    """What Ray raises for work that cannot be done, as EngineError."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, ray.exceptions.RayTaskError) as error:
        raise EngineError(
            f"Ray gave up: {one_line(error)}; finished parts are kept, and the same command goes on; if workers were "
            "killed, give them more memory, or more CPUs each by --threads, so that there are fewer"
        ) from error
