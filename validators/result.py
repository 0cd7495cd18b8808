"""The result of a validation as one value, from which the command's table, its JSON and the report are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..artifact.folder import Artifact
from ..artifact.records import ValidationRecord
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
    """A reference of the comparisons: its file, with its `sha256`, and a note about it."""

    origin: Mapping[str, str]
    remark: str = ""

    def to_dict(self) -> dict[str, str]:
        """In JSON's values."""
        return {**self.origin, **({"remark": self.remark} if self.remark else {})}


@dataclass(frozen=True, slots=True)
class PreprocessResult:
    """The checked images of the pipeline; true if all are correct."""

    checks: tuple[PreprocessCheck, ...]

    def __bool__(self) -> bool:
        return bool(self.checks) and all(self.checks)

    def to_dict(self) -> dict[str, Any]:
        """In JSON's values."""
        return {"preprocess": _passed_or_not(self.checks), "passed": bool(self)}


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Everything about one validation; true if it finished with at least one check and all checks passed.

    `tolerances`: by precision. `references`: by name. `inputs`: the inputs of the engines; `seed`: of the noise among
    them, None without noise. `unavailable`: what was not checked (`openvino in fp16`), and why. `bisections`: where
    engines diverge from the reference. `preprocess`: None if it was not requested. `recorded`: the records written to
    the artifact.
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
        """The number of passed checks."""
        return sum(map(bool, self.checks))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with a description of this machine; non-finite figures are null."""
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
