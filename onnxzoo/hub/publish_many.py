"""Several artifacts to the Hub, each to a repo of its own, whatever becomes of the others."""

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
    """What became of one artifact of many: `publication`, or `error`, one line; true when it is published."""

    folder: Path
    repo_id: str
    publication: Publication | None = None
    error: str = ""

    def __bool__(self) -> bool:
        return not self.error

    def to_dict(self) -> dict[str, Any]:
        """In JSON's values."""
        publication = None if self.publication is None else self.publication.to_dict()
        return {
            "folder": str(self.folder),
            "repo_id": self.repo_id,
            "error": self.error or None,
            "publication": publication,
        }


def publish_many(folder: Path, namespace: str, **options: Any) -> Iterator[Outcome]:
    """Publish each artifact in `folder` as `namespace`/its name; failures are values, said as soon as they are known.

    Whatever can be found wrong on this machine is found before the first request: those artifacts come first, then the
    others, each in the order of the folders' names. `options`: as `publish` takes them. Raises InputError, before
    anything, where there is no artifact in the folder.
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
    """Turn what goes wrong with one artifact into its outcome."""
    try:
        yield
    except (OnnxzooError, OSError) as error:
        failures.append(dataclasses.replace(outcome, error=str(error)))
