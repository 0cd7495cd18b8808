"""The processes of a benchmark: models in engines, and the matrix products that are the machine's limit."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact.folder import INPUT_NAME
from ..engines import engine_class
from ..engines.auto_precision import on_cpu
from ..errors import BenchmarkError, EngineUnavailableError, InputError
from ..precisions import FP32
from .plan import Settings, Subject
from .products import FILES, product_input, write_product
from .result import Row
from .timing import Contender, Worker

MODULE = f"{__package__}.engine_child"
UNAVAILABLE = (EngineUnavailableError.__name__, InputError.__name__)
"""What engines raise where they, or the precision asked for, cannot be used on this machine."""


@dataclass(slots=True, eq=False)
class Candidate:
    """A contender with what is known of it before it runs: its `row`, and where its process writes its `report`.

    `peer`: whether it runs anything else than the artifact's own file. `unavailable`: whether its engine said that it
    cannot be used here.
    """

    contender: Contender
    row: Row
    report: Path
    peer: bool = False
    unavailable: bool = False
    worker: Worker | None = field(default=None, repr=False)

    def start(self, out: Path, threads: int) -> dict[str, Any]:
        """Start its process and complete its row; returns what the process reported.

        Raises BenchmarkError, with the error of the package if that is what ended the process.
        """
        facts_file = self.report.with_suffix(".json")
        try:
            self.worker = Worker(self.contender, out, threads)
        except BenchmarkError as error:
            told = json.loads(facts_file.read_text(encoding="utf-8")) if facts_file.is_file() else {}
            self.unavailable = told.get("error") in UNAVAILABLE
            message = f"{self.contender.name}: {told['message']}" if "message" in told else str(error)
            raise BenchmarkError(message, contender=self.contender.name, log=error.log) from None
        try:
            facts: dict[str, Any] = json.loads(facts_file.read_text(encoding="utf-8"))
        except BaseException:
            self.worker.kill()
            raise
        info = facts["info"]
        self.row = dataclasses.replace(
            self.row, engine=info["name"], device=info["device"], precision=info["precision"], version=info["version"],
            load_s=facts["load_s"], first_s=facts["first_s"],
        )  # fmt: skip
        return facts

    def outputs(self) -> Mapping[str, Any]:
        """The arrays that its process wrote: logits of all inputs."""
        with np.load(self.report.with_suffix(".npz")) as arrays:
            return dict(arrays)


class Folder:
    """Where the contenders of one group have their jobs, reports and inputs; `path` is empty and belongs to them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count = 0

    def job(self, **values: Any) -> tuple[Path, Path]:
        """Write a job; returns its file, and the report that it names."""
        self._count += 1
        file, report = self.path / f"{self._count}.json", self.path / f"{self._count}.report"
        file.write_text(json.dumps({**values, "report": str(report)}), encoding="utf-8")
        return file, report

    def vectors(self, name: str, images: Any) -> str:
        """The inputs in a file as children read it; written once."""
        file = self.path / f"{name}.npz"
        if not file.exists():
            np.savez(file, **{INPUT_NAME: images})
        return str(file)


def models_in_engines(subject: Subject, batch_size: int, settings: Settings, folder: Folder) -> list[Candidate]:
    """The cases of a model at one batch size."""
    found = []
    for engine, precision in subject.cases:
        job, report = folder.job(
            artifact=str(subject.artifact.folder),
            engine=engine,
            precision=precision,
            batch_size=batch_size,
            trust=settings.trust,
            vectors=folder.vectors("inputs", subject.images),
            images=list(settings.images),
        )
        row = Row(subject.artifact.name, engine, engine, "", "", precision, batch_size)
        found.append(Candidate(_own(f"{engine} in {precision}", job), row, report))
    return found


def graph_in_engine(
    subject: Subject, peer: str, graph: Path, engine: str, batch_size: int, settings: Settings, folder: Folder
) -> Candidate:
    """A peer's fp32 ONNX file of the model in one of our engines."""
    job, report = folder.job(
        graph=str(graph),
        engine=engine,
        precision=FP32,
        file_precision=FP32,
        batch_size=batch_size,
        vectors=folder.vectors("inputs", subject.images),
        images=list(settings.images),
        preprocess=dataclasses.asdict(subject.artifact.preprocess),
    )
    row = Row(subject.artifact.name, peer, engine, "", "", FP32, batch_size)
    return Candidate(_own(f"{peer} on {engine}", job), row, report, peer=True)


def products(rows: list[Row], folder: Folder) -> list[Candidate]:
    """A matrix product for each CPU engine and precision that computes in these rows.

    For peers, which are libraries of their own, the limit is what one of our engines reaches in fp32.
    """
    wanted = dict.fromkeys((row.engine, row.precision) for row in rows if row.device == "CPU" and on_cpu(row.engine))
    if wanted and any(not on_cpu(row.engine) for row in rows):
        wanted[next(iter(wanted))[0], FP32] = None
    found = []
    for engine, precision in wanted:
        own = [one for one in engine_class(engine).FILES[precision] if one in FILES]
        if not own:
            continue
        file = folder.path / f"product_{own[0]}.onnx"
        if not file.exists():
            write_product(file, own[0])
        job, report = folder.job(
            graph=str(file),
            engine=engine,
            precision=precision,
            file_precision=own[0],
            batch_size=1,
            vectors=folder.vectors("matrix", product_input()),
            images=[],
        )
        row = Row("", engine, engine, "", "", precision, 1)
        found.append(Candidate(_own(f"matrix product on {engine} in {precision}", job), row, report))
    return found


def _own(name: str, job: Path) -> Contender:
    return Contender(name, "", [sys.executable, "-P", "-m", MODULE, str(job)])
