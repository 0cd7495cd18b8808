"""What a validation found, as one value: the command's table, its JSON and the report render this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..artifact.folder import Artifact, ValidationRecord
from ..comparison.figures import HISTOGRAM_EDGES
from ..comparison.tolerances import Tolerance
from ..strict_json import plain
from .bisect import Bisection
from .engine_checks import Check
from .environment import environment
from .inputs import Inputs
from .preprocess import PreprocessCheck


@dataclass(frozen=True, slots=True)
class Compared:
    """What outputs were compared with: the file it comes from, with its `sha256`, and what is to be said of it."""

    origin: Mapping[str, str]
    remark: str = ""

    def to_dict(self) -> dict[str, str]:
        """In JSON's values."""
        return {**self.origin, **({"remark": self.remark} if self.remark else {})}


@dataclass(frozen=True, slots=True)
class PreprocessResult:
    """The images that the pipeline was checked with; true when all came out as they should."""

    checks: tuple[PreprocessCheck, ...]

    def __bool__(self) -> bool:
        return bool(self.checks) and all(self.checks)

    def to_dict(self) -> dict[str, Any]:
        """In JSON's values."""
        return {"preprocess": _passed_or_not(self.checks), "passed": bool(self)}


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Everything about one validation; true when it came to its end and all checks, of which there are some, passed.

    `tolerances`: by precision. `references`: by name. `inputs`: what the engines were run on; `seed`: of the noise
    among them, None without. `unavailable`: what was not checked (`openvino in fp16`), and why. `bisections`: where
    engines leave the reference. `preprocess`: None where that was not asked for. `recorded`: what was written into the
    artifact.
    """

    artifact: Artifact
    tolerances: Mapping[str, Tolerance]
    references: Mapping[str, Compared]
    inputs: Inputs
    seed: int | None
    checks: tuple[Check, ...]
    unavailable: Mapping[str, str]
    finished: bool
    bisections: tuple[Bisection, ...] = ()
    preprocess: PreprocessResult | None = None
    recorded: tuple[ValidationRecord, ...] | None = None

    def __bool__(self) -> bool:
        engines = self.finished and bool(self.checks) and all(self.checks)
        return engines and (self.preprocess is None or bool(self.preprocess))

    @property
    def passed_checks(self) -> int:
        """How many of the checks passed."""
        return sum(map(bool, self.checks))

    def to_dict(self) -> dict[str, Any]:
        """In JSON's values, with the machine that it ran on; null stands for figures that are not finite."""
        return {
            "model": self.artifact.name,
            "folder": str(self.artifact.folder),
            "tolerances": plain(self.tolerances),
            "references": {name: one.to_dict() for name, one in self.references.items()},
            "seed": self.seed,
            "inputs": list(self.inputs.names),
            "histogram_edges": list(HISTOGRAM_EDGES),
            "checks": _passed_or_not(self.checks),
            "unavailable": dict(self.unavailable),
            "bisections": plain(self.bisections),
            **({} if self.preprocess is None else {"preprocess": _passed_or_not(self.preprocess.checks)}),
            **({} if self.recorded is None else {"recorded": plain(self.recorded)}),
            "environment": environment(),
            "passed": bool(self),
        }


def _passed_or_not(results: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [{**plain(result), "passed": bool(result)} for result in results]
