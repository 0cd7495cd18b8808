"""Publishes several artifacts to the Hub, each to its own repo; one failure does not stop the others."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifact.folder import is_artifact, read_artifact
from ..errors import ArtifactError, InputError, OnnxzooError
from .package import Package
from .publish import Publication, checked, publish


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one artifact: `publication`, or `error` in one line. True if it was published."""

    folder: Path
    repo_id: str
    publication: Publication | None = None
    error: str = ""

    def __bool__(self) -> bool:
        return not self.error

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        publication = None if self.publication is None else self.publication.to_dict()
        return {
            "folder": str(self.folder),
            "repo_id": self.repo_id,
            "error": self.error or None,
            "publication": publication,
        }


def publish_many(folder: Path, namespace: str, **options: Any) -> Iterator[Outcome]:
    """Publish each artifact in `folder` as `namespace`/its name; yields each outcome, also a failure, when it is known.

    All local checks are made before the first request: artifacts that fail them are yielded first, then the others,
    both in the order of the folders' names. `options`: those of `publish`. Raises InputError at the start if the folder
    contains no artifact.
    """
    folders = [one for one in sorted(folder.iterdir()) if is_artifact(one) and not one.name.startswith(".")]
    if not folders:
        hint = "it is an artifact itself, leave --all out" if is_artifact(folder) else "expected a folder of artifacts"
        raise InputError(f"there is no artifact in {folder}; {hint}")
    return _published(folders, namespace, options)


def _published(folders: list[Path], namespace: str, options: dict[str, Any]) -> Iterator[Outcome]:
    packages: dict[Outcome, Package] = {}
    taken: dict[str, Path] = {}
    local = {name: value for name, value in options.items() if name not in ("message", "replace")}
    for folder in folders:
        outcome = Outcome(folder, f"{namespace}/{folder.name}")
        failures: list[Outcome] = []
        with _noted(outcome, failures):
            outcome = Outcome(folder, f"{namespace}/{read_artifact(folder).name}")
        if not failures:
            with _noted(outcome, failures):
                if (other := taken.setdefault(outcome.repo_id.casefold(), folder)) != folder:
                    raise ArtifactError(
                        f"{folder.name} and {other.name} have the same name and would share one repository"
                    )
                packages[outcome] = checked(folder, outcome.repo_id, **local)
        yield from failures
    for outcome, package in packages.items():
        failures = []
        done = None
        with _noted(outcome, failures):
            done = publish(outcome.folder, outcome.repo_id, package=package, **options)
        yield failures[0] if failures else dataclasses.replace(outcome, publication=done)


@contextlib.contextmanager
def _noted(outcome: Outcome, failures: list[Outcome]) -> Iterator[None]:
    """Turn an error with one artifact into its outcome."""
    try:
        yield
    except (OnnxzooError, OSError) as error:
        failures.append(dataclasses.replace(outcome, error=str(error)))
