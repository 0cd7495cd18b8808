"""Other ways to run the same models with the same weights: what they need, and the processes that run them.

A peer is an entry in PEERS and a function that makes its contenders.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifact.folder import Artifact
from ..engines.auto_precision import on_cpu
from ..errors import InputError, OnnxzooError
from ..precisions import FP32
from ..temporary import scratch_folder
from .contenders import Candidate, Folder, graph_in_engine
from .plan import Plan, Settings, Subject
from .prepared import Prepared, described, foreign_command, run_step
from .result import Row
from .run import Peers
from .timing import Contender

CHILDREN = f"{__package__}.children"
INSTALLED = """
import importlib.util, json, sys
sys.path[:] = [entry for entry in sys.path if entry]
def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False
print(json.dumps([name for name in sys.argv[1:] if not there(name)]))
"""
ASK_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to run a model that is not ours.

    `needs`: the modules that have to be importable, `install`: how to get them. `foreign`: whether the Python that has
    them may be another one than onnxzoo's. `make`: its contenders for a model at a batch size.
    """

    needs: tuple[str, ...]
    install: str
    foreign: bool
    make: Callable[[Prepared, Subject, int, Settings, Folder], Sequence[Candidate]]


def usable_peers(names: Sequence[str], python: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The peers of these names that are installed, and why the others are not used, with how to install them.

    `python`: the interpreter for those that need not be in onnxzoo's environment. Raises InputError for an unknown peer
    or an interpreter that does not run.
    """
    for name in names:
        if name not in PEERS:
            raise InputError(f"{name!r} is not a peer (there are {', '.join(PEERS)})")
    usable, skipped = [], {}
    for name in dict.fromkeys(names):
        peer = PEERS[name]
        where = python if peer.foreign else sys.executable
        missing = _missing(where, peer.needs)
        if missing:
            skipped[name] = f"{where} has no {', '.join(missing)}; install: {peer.install}"
        else:
            usable.append(name)
    return tuple(usable), skipped


def _missing(python: str, modules: Sequence[str]) -> list[str]:
    try:
        done = subprocess.run(
            [python, "-c", INSTALLED, *modules], capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=True
        )
        missing: list[str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InputError(f"{python} does not run as a Python interpreter: {error}; name another one") from None
    return missing


@contextlib.contextmanager
def peers_of(plan: Plan, names: Sequence[str], python: str, weights: Path | None) -> Iterator[Peers]:
    """What `measure` takes as `peers`: those of `names`, which `usable_peers` found, for the models of a plan.

    `weights`: see `Prepared`. Their files are gone when the block ends. Raises as `Prepared.check` does.
    """
    with scratch_folder("peers") as scratch:
        prepared = Prepared(python, weights, scratch)
        for subject in plan.subjects:
            prepared.check(subject.artifact)

        def candidates(subject: Subject, batch_size: int, settings: Settings, folder: Folder) -> list[Candidate]:
            found: list[Candidate] = []
            for name in names:
                try:
                    found += PEERS[name].make(prepared, subject, batch_size, settings, folder)
                except OnnxzooError as error:
                    row = Row(subject.artifact.name, name, name, "", "", FP32, batch_size, error=str(error))
                    found.append(Candidate(Contender(name, "", []), row, folder.path, peer=True))
            return found

        yield candidates


def _job(subject: Subject, batch_size: int, settings: Settings, folder: Folder, **values: Any) -> tuple[Path, Path]:
    return folder.job(
        **described(subject.artifact),
        **values,
        batch_size=batch_size,
        vectors=folder.vectors("inputs", subject.images),
        images=list(settings.images),
        preprocess=dataclasses.asdict(subject.artifact.preprocess),
    )


def _torch(
    prepared: Prepared, subject: Subject, batch_size: int, settings: Settings, folder: Folder, *, compiled: bool = False
) -> Sequence[Candidate]:
    name = "torch-compile" if compiled else "torch"
    weights = prepared.weights(subject.artifact, "timm")
    job, report = _job(subject, batch_size, settings, folder, weights=str(weights), compile=compiled)
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(folder.path / "inductor"), "HF_HUB_OFFLINE": "1"}
    contender = Contender(name, "", foreign_command(prepared.python, "torch_timm", job), environment)
    row = Row(subject.artifact.name, name, "torch", "", "", FP32, batch_size)
    return [Candidate(contender, row, report, peer=True)]


def _torch_compile(
    prepared: Prepared, subject: Subject, batch_size: int, settings: Settings, folder: Folder
) -> Sequence[Candidate]:
    return _torch(prepared, subject, batch_size, settings, folder, compiled=True)


def _program(prepared: Prepared, artifact: Artifact) -> Path:
    """The path of Paddle's static program, without its suffixes."""

    def make(place: Path) -> Path:
        program, job = place / "inference", place / "job.json"
        weights = str(prepared.weights(artifact, "paddle"))
        job.write_text(json.dumps({**described(artifact), "weights": weights, "program": str(program)}))
        run_step("Paddle's export", [sys.executable, "-P", "-m", f"{__package__}.paddle_program", str(job)])
        return program

    return prepared.made(artifact, "program", make)


def _paddle(
    prepared: Prepared, subject: Subject, batch_size: int, settings: Settings, folder: Folder
) -> Sequence[Candidate]:
    program = _program(prepared, subject.artifact)
    files = {"program": f"{program}.json", "parameters": f"{program}.pdiparams"}
    job, report = _job(subject, batch_size, settings, folder, **files)
    command = [sys.executable, "-P", "-m", f"{CHILDREN}.paddle_predictor", str(job)]
    row = Row(subject.artifact.name, "paddle", "paddle", "", "", FP32, batch_size)
    return [Candidate(Contender("paddle", "", command), row, report, peer=True)]


def _paddle2onnx(
    prepared: Prepared, subject: Subject, batch_size: int, settings: Settings, folder: Folder
) -> Sequence[Candidate]:
    program = _program(prepared, subject.artifact)

    def make(place: Path) -> Path:
        file = place / "model.onnx"
        arguments = [f"{program}.json", f"{program}.pdiparams", str(file)]
        run_step("paddle2onnx", [sys.executable, "-P", "-m", f"{CHILDREN}.paddle2onnx_defaults", *arguments])
        return file

    return _graphs(
        "paddle2onnx", prepared.made(subject.artifact, "paddle2onnx", make), subject, batch_size, settings, folder
    )


def _optimum(
    prepared: Prepared, subject: Subject, batch_size: int, settings: Settings, folder: Folder
) -> Sequence[Candidate]:
    def make(place: Path) -> Path:
        job = place / "job.json"
        weights = str(prepared.weights(subject.artifact, "transformers"))
        job.write_text(json.dumps({**described(subject.artifact), "weights": weights, "folder": str(place)}))
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        run_step("optimum's export", foreign_command(prepared.python, "optimum_export", job), environment)
        return place / "onnx" / "model.onnx"

    return _graphs("optimum", prepared.made(subject.artifact, "optimum", make), subject, batch_size, settings, folder)


def _graphs(
    peer: str, graph: Path, subject: Subject, batch_size: int, settings: Settings, folder: Folder
) -> Sequence[Candidate]:
    """A peer's ONNX file in each of our CPU engines that run in this benchmark."""
    engines = dict.fromkeys(engine for engine, _ in subject.cases if on_cpu(engine))
    return [graph_in_engine(subject, peer, graph, engine, batch_size, settings, folder) for engine in engines]


PEERS: Mapping[str, Peer] = {
    "torch": Peer(("torch", "timm"), "pip install torch timm", True, _torch),
    "torch-compile": Peer(("torch", "timm"), "pip install torch timm", True, _torch_compile),
    "paddle": Peer(("paddle",), "pip install 'onnxzoo[export]'", False, _paddle),
    "paddle2onnx": Peer(
        ("paddle", "paddle2onnx", "onnx", "onnxsim"), "pip install 'onnxzoo[export]'", False, _paddle2onnx
    ),
    "optimum": Peer(
        ("optimum.exporters.onnx", "transformers", "torch"), "pip install 'optimum-onnx[onnxruntime]'", True, _optimum
    ),
}
"""By the names that `--peer` takes."""
