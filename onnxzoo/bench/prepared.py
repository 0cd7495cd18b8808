"""What peers need of a model before they run it: its weights under their own names, and files that their tools make."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact.folder import Artifact
from ..errors import BenchmarkError, CheckpointError, DownloadError, HubError, ModelNotFoundError
from ..exports.many import find_weights
from ..families.family import Naming, State
from ..official import weights_of
from ..registry import find
from ..weights.checkpoint import read_checkpoint, spec_of
from ..weights.naming import from_paddle
from .timing import TIMEOUT_S, ending

CHILDREN_FOLDER = Path(__file__).resolve().parent / "children"
# A Python that has no onnxzoo finds the modules of that folder as a package of its own, and nothing else of ours.
FOREIGN = """
import runpy, sys, types
folder, module, *sys.argv[1:] = sys.argv[1:]
sys.path[:] = [entry for entry in sys.path if entry]
sys.modules["timed_children"] = types.ModuleType("timed_children")
sys.modules["timed_children"].__path__ = [folder]
runpy.run_module(f"timed_children.{module}", run_name="__main__", alter_sys=True)
"""


class Prepared:
    """Weights and files, made once for each model, in `scratch`.

    `python`: the interpreter of the peers that need not be in onnxzoo's environment. `weights`: a checkpoint, or a
    folder of them; by default that from which a model's artifact was made.
    """

    def __init__(self, python: str, weights: Path | None, scratch: Path) -> None:
        self.python = python
        self._weights = weights
        self._scratch = scratch
        self._made: dict[tuple[Path, str], Path] = {}

    def check(self, artifact: Artifact) -> None:
        """Read the weights of a model, and keep them for the peers, in PaddleClas's names.

        Raises InputError, ModelNotFoundError or CheckpointError where there are none, or they are another model's.
        """
        entry = find(artifact.name)
        try:
            if self._weights is None:
                path = weights_of(artifact)
            else:
                path = find_weights(entry, self._weights) if self._weights.is_dir() else self._weights
        except (ModelNotFoundError, DownloadError, HubError) as error:
            raise ModelNotFoundError(
                f"peers run the weights that {artifact.name} was made from, which are not here ({error}); name the "
                "checkpoint, or a folder of them: --weights PATH"
            ) from None
        checkpoint = read_checkpoint(path, entry)
        if self._weights is None and checkpoint.sha256 != artifact.source.get("sha256"):
            raise CheckpointError(
                f"{artifact.folder} was not made from {path}; name the checkpoint that it was made from: --weights PATH"
            )
        spec_of(artifact, checkpoint)
        self._keep(artifact, "paddle", checkpoint.state)

    def weights(self, artifact: Artifact, naming: Naming) -> Path:
        """The parameters as an .npz in this naming."""
        if (artifact.folder, naming) not in self._made:
            with np.load(self._made[artifact.folder, "paddle"]) as arrays:
                state = {name: arrays[name] for name in arrays.files}
            self._keep(artifact, naming, from_paddle(state, artifact.family, naming))
        return self._made[artifact.folder, naming]

    def _keep(self, artifact: Artifact, naming: str, state: State) -> None:
        file = self._new(f"{naming}.npz")
        np.savez(file, **dict(state))  # type: ignore[arg-type]  # names are keywords here
        self._made[artifact.folder, naming] = file

    def made(self, artifact: Artifact, what: str, make: Callable[[Path], Path]) -> Path:
        """What `make` writes into a new folder, made once for each model. Raises as `make` does."""
        if (artifact.folder, what) not in self._made:
            place = self._new(what)
            place.mkdir()
            self._made[artifact.folder, what] = make(place)
        return self._made[artifact.folder, what]

    def _new(self, name: str) -> Path:
        return self._scratch / f"{len(self._made)}-{name}"


def described(artifact: Artifact) -> dict[str, Any]:
    """What children build a model from."""
    return {
        "family": artifact.family,
        "architecture": artifact.architecture.to_dict(),
        "image_size": artifact.image_size,
        "num_classes": artifact.num_classes,
    }


def foreign_command(python: str, module: str, *arguments: str | Path) -> list[str]:
    """The command that runs a module of children/ in a Python that may have no onnxzoo."""
    return [python, "-c", FOREIGN, str(CHILDREN_FOLDER), module, *map(str, arguments)]


def run_step(what: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a step to its end; raises BenchmarkError with its last words."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
            env=None if environment is None else dict(environment), errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{what} took more than {TIMEOUT_S:.0f} s", contender=what) from None
    if done.returncode:
        raise BenchmarkError(f"{what} {ending(done.returncode, done.stderr)}", contender=what, log=done.stderr)
