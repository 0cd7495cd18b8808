"""Exports several models one after the other, with figures for each; a failure does not stop the others.

Each model is exported in its own process. So its peak memory can be measured, all of it is released, and the others
continue if the process is killed.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from ..artifact.folder import Artifact, is_artifact, read_artifact
from ..artifact.writing import tool_versions
from ..data.labels import read_labels
from ..errors import ExportError, InputError, OnnxzooError, one_line
from ..files import sha256_of
from ..registry import ModelEntry, find, models
from ..signals import end_with_parent, raise_when_terminated, signal_name
from ..weights.checkpoint_download import file_name
from .pipeline import export_model, target_folder

# ru_maxrss is in KiB on Linux and in bytes on macOS.
RSS_UNITS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10

GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """One model to export; `weights`, or the checkpoint found in `weights_dir`, or the registry's download.

    `skip_exported`: skip it if its artifact already exists (see `already_exported`).
    """

    name: str
    weights: Path | None = None
    weights_dir: Path | None = None
    out: Path | None = None
    labels_file: Path | None = None
    image_size: int | None = None
    skip_exported: bool = False

    def checkpoint(self) -> Path | None:
        """The file to export; None for the registry's download. Raises InputError as `find_weights` does."""
        return self.weights if self.weights_dir is None else find_weights(find(self.name), self.weights_dir)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one export; true if its artifact exists.

    `seconds`: wall time. `peak_mib`: the largest resident memory of the exporting process plus that of its largest
    child, an upper bound of their total. `nodes` and `bytes`: of the ONNX file. `error`: one line, empty on success;
    `log`: the output of the failed tool. `skipped`: whether the artifact already existed. Unknown figures are None.
    """

    name: str
    seconds: float
    peak_mib: float | None = None
    nodes: int | None = None
    bytes: int | None = None
    folder: str | None = None
    error: str = ""
    log: str = ""
    skipped: bool = False

    def __bool__(self) -> bool:
        return not self.error


class Watcher(Protocol):
    """Receives the progress of an export."""

    def begin(self, name: str, number: int, count: int) -> None:
        """Report the begin of a model, the `number`-th of `count`."""
        ...

    def step(self, number: int, total: int, title: str) -> None:
        """Report the begin of a step, the `number`-th of `total`."""
        ...

    def downloaded(self, done: int, total: int | None) -> None:
        """Report the downloaded bytes of its checkpoint, of `total` if that is known."""
        ...


class Unwatched:
    """A Watcher that does nothing."""

    def begin(self, name: str, number: int, count: int) -> None: ...

    def step(self, number: int, total: int, title: str) -> None: ...

    def downloaded(self, done: int, total: int | None) -> None: ...


def export_many(jobs: Sequence[Job], watcher: Watcher | None = None) -> Iterator[Result]:
    """Export one model after the other and yield each result as soon as it is known, also failures."""
    watcher = watcher or Unwatched()
    for number, job in enumerate(jobs, start=1):
        watcher.begin(job.name, number, len(jobs))
        yield _in_child(job, watcher)


def exportable() -> list[ModelEntry]:
    """The models with a published checkpoint; the others ship with this package."""
    return [entry for entry in models().values() if entry.source.url]


def find_weights(entry: ModelEntry, folder: Path) -> Path:
    """The model's checkpoint in `folder`, with the file name of its registry URL or the name of the model.

    Raises InputError, with the accepted names, if there is none. Nothing is downloaded instead.
    """
    names = [f"{entry.name}.pdparams", f"{entry.name}.safetensors"]
    if entry.source.url:
        names.insert(0, file_name(entry.source.url))
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"no checkpoint of {entry.name} in {folder}: expected {', '.join(names[:-1])} or {names[-1]}; "
        "without --weights-dir it is downloaded"
    )


def already_exported(job: Job) -> Artifact | None:
    """The complete artifact that an earlier run made from this job's checkpoint with the same tools, or None.

    Raises InputError for labels or weights that cannot be found.
    """
    entry, checkpoint = find(job.name), job.checkpoint()
    folder = target_folder(entry, job.out)
    if not is_artifact(folder):
        return None
    try:
        artifact = read_artifact(folder)
        artifact.verify()
    except OnnxzooError:
        return None
    origin = artifact.source
    same = (
        artifact.name == entry.name
        and dict(artifact.tools) == tool_versions()
        and (
            origin.get("url") == entry.source.url
            if checkpoint is None
            else origin.get("sha256") == sha256_of(checkpoint)
        )
        and (job.image_size is None or job.image_size == artifact.image_size)
        and (job.labels_file is None or tuple(read_labels(job.labels_file)) == artifact.id2label)
    )
    return artifact if same else None


def _in_child(job: Job, watcher: Watcher) -> Result:
    """Run one job in a new interpreter; if the child process dies, the result says so."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    started = time.perf_counter()
    process = context.Process(target=_work, args=(job, sender))
    process.start()
    sender.close()
    try:
        return _result(receiver, watcher)
    except EOFError:
        process.join()
        return Result(job.name, time.perf_counter() - started, error=f"the export {_fate(process.exitcode)}")
    except BaseException as error:
        # Ctrl-C also reaches the child, which needs a moment to remove unfinished files.
        if not isinstance(error, KeyboardInterrupt):
            process.terminate()
        process.join(GRACE_S)
        process.kill()
        raise
    finally:
        process.join()
        receiver.close()


def _result(receiver: Connection, watcher: Watcher) -> Result:
    """The last message of the child; earlier ones go to the watcher and to this process's log."""
    while True:
        match receiver.recv():
            case ("step", number, total, title):
                watcher.step(number, total, title)
            case ("downloaded", done, total):
                watcher.downloaded(done, total)
            case ("log", name, level, message):
                logging.getLogger(name).log(level, "%s", message)
            case Result() as result:
                return result


class _Sent(logging.Handler):
    """Sends the child's log records to the parent process."""

    def __init__(self, sender: Connection) -> None:
        super().__init__()
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        self._sender.send(("log", record.name, record.levelno, record.getMessage()))


def _work(job: Job, sender: Connection) -> None:
    """The main function of the child: export, measure, send the Result."""
    raise_when_terminated()
    end_with_parent()
    package = logging.getLogger("onnxzoo")
    package.setLevel(logging.INFO)
    package.addHandler(_Sent(sender))
    started = time.perf_counter()
    log, skipped = "", False
    try:
        artifact = already_exported(job) if job.skip_exported else None
        skipped = artifact is not None
        if artifact is None:
            artifact = export_model(
                find(job.name),
                weights=job.checkpoint(),
                out=job.out,
                labels_file=job.labels_file,
                image_size=job.image_size,
                progress=lambda *step: sender.send(("step", *step)),
                download_progress=lambda *counts: sender.send(("downloaded", *counts)),
            )
    except OnnxzooError as problem:
        error, log = str(problem), problem.log if isinstance(problem, ExportError) else ""
    except KeyboardInterrupt:
        return
    except Exception as problem:  # noqa: BLE001 - the other models go on, and the summary tells
        error = f"{type(problem).__name__}: {one_line(problem)}; this is a bug in onnxzoo"
    else:
        error = ""
    figures: dict[str, Any] = {"seconds": time.perf_counter() - started, "peak_mib": _peak_mib()}
    if not error and artifact is not None:
        from .graph_facts import node_count

        file = artifact.model_file()
        figures |= {"nodes": node_count(file), "bytes": file.stat().st_size, "folder": str(artifact.folder)}
    sender.send(Result(job.name, error=error, log=log, skipped=skipped, **figures))


def _peak_mib() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return float(own + children) / RSS_UNITS_PER_MIB


def _fate(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code} and no result"
    name = signal_name(-code)
    return f"was killed by {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")
