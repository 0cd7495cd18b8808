"""What a worker of a run on many machines does, on any cluster: it holds a model and writes parts of a table."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import socket
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import errors
from ..artifact.folder import CONFIG_FILE, Artifact
from ..errors import EngineError, InputError, OnnxzooError, TableError, one_line
from ..image import describe as name_of
from ..model import Model
from ..temporary import scratch_folder
from .entry import Entry
from .results import results_of
from .rows import Schema, Task, describe_run
from .same_run import require_same
from .summary import Summary
from .table_folder import RECORD, write_part

FOR_ALL_WORKERS = ("model", "engine", "onnxzoo", "max_pixels")
"""What must be the same on all workers of a run, of what `describe_run` says."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run needs to know.

    `model`: a name that `load` takes, for which a packed artifact may be given beside the job. `options`: those of
    `load`. `folder`: the absolute path of the table. `directory`: the working directory to which paths of images are
    relative. `description`: of the run, empty until a worker has been asked.
    """

    model: str
    task: Task
    top_k: int
    folder: str
    source: Any
    options: Mapping[str, Any]
    batch_size: int | None = None
    directory: str = dataclasses.field(default_factory=os.getcwd)
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker reports of a part: its rows and errors and a summary, or why it failed.

    `host` and `process` say which worker it was.
    """

    number: int
    rows: int = 0
    errors: int = 0
    summary: Summary | None = None
    failure: Failure | None = None
    host: str = dataclasses.field(default_factory=socket.gethostname)
    process: int = dataclasses.field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of a worker in a form that every Python can unpickle."""

    kind: str
    message: str
    host: str = dataclasses.field(default_factory=socket.gethostname)

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """An error on this machine."""
        known = isinstance(error, OnnxzooError)
        return cls(type(error).__name__, str(error) if known else f"{type(error).__name__}: {one_line(error)}")

    def error(self) -> OnnxzooError:
        """The error, of the same class, with the name of the worker's machine."""
        kind = getattr(errors, self.kind, EngineError)
        known = isinstance(kind, type) and issubclass(kind, OnnxzooError)
        return (kind if known else EngineError)(f"on {self.host}: {self.message}")


class PartWorker:
    """Holds a model, which is loaded when it is first needed, and writes parts."""

    def __init__(self, job: Job, packed: Callable[[], bytes] | None = None) -> None:
        """`packed`: returns the artifact as `pack` made it; without it, the model is loaded by name."""
        self._job, self._packed = job, packed
        self._model: Model | None = None
        # If this machine does not have it, the images that need it cannot be read, which is reported.
        with contextlib.suppress(OSError):
            os.chdir(job.directory)

    def describe(self, seen: str | None = None) -> dict[str, Any]:
        """The description of a run with the model as it was loaded here. `seen`: the path of an image.

        Raises what `load` raises, and InputError if the image does not exist on this machine.
        """
        if seen is not None and not Path(seen).exists():
            raise InputError(
                f"{name_of(seen)} does not exist here; put the images on a file system that all machines share, under "
                "the same path, or give their URLs"
            )
        model = self._loaded()
        described = describe_run(model, self._schema(model), self._job.source)
        found: dict[str, Any] = json.loads(json.dumps(described))
        return found

    def write(self, number: int, entries: Sequence[Entry]) -> Done:
        """Write a part; errors are values, because a cluster would repeat the work for an exception."""
        try:
            return self._write(number, entries)
        except Exception as error:  # noqa: BLE001 - reported to the program that gave the work, which raises it
            return Done(number, failure=Failure.of(error))

    def _write(self, number: int, entries: Sequence[Entry]) -> Done:
        folder = Path(self._job.folder)
        if not (folder / RECORD).exists():
            raise TableError(
                f"{folder} is not the folder in which the run was begun; name one on a file system that all machines "
                "share"
            )
        model = self._loaded()
        schema = self._schema(model)
        summary, began_s = Summary(), time.process_time()
        rows = []
        results = results_of(
            model, entries, top_k=max(1, schema.top_k), embed=schema.task == "embed", batch_size=self._job.batch_size
        )
        for entry, result in results:
            rows.append(schema.row(entry.path, result))
            summary.add(entry.path, result)
        part = write_part(folder, number, schema, rows, [entry.path for entry in entries], self._job.description)
        summary.cpu_s = time.process_time() - began_s
        return Done(number, part.rows, part.errors, summary)

    def _schema(self, model: Model) -> Schema:
        return Schema.of(model, self._job.task, self._job.top_k)

    def _loaded(self) -> Model:
        if self._model is None:
            model = self._load()
            if self._job.description:
                # A worker with another engine or file would write rows that differ from those of the others.
                found = describe_run(model, self._schema(model), self._job.source)
                require_same(
                    {name: self._job.description[name] for name in FOR_ALL_WORKERS},
                    json.loads(json.dumps({name: found[name] for name in FOR_ALL_WORKERS})),
                    "the run was begun by a worker",
                )
            self._model = model
        return self._model

    def _load(self) -> Model:
        from ..loading import load

        if self._packed is None:
            return load(self._job.model, **self._job.options)
        with scratch_folder("packed") as folder:
            unpack(self._packed(), folder)
            # Engines have read the files when `load` returns.
            return load(str(folder), **self._job.options)


def pack(artifact: Artifact) -> bytes:
    """An artifact as a tar archive: config.json and the files that it lists."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in (CONFIG_FILE, *artifact.files):
            path = artifact.folder / name
            if name == CONFIG_FILE or path.is_file():
                archive.add(path, arcname=name, recursive=False)
    return content.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Write the files of `pack` into a folder. Their hashes are checked when the model is loaded."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
