"""What onnxzoo keeps on this machine: exports, checkpoints, compiled engines, and models from the Hub.

The first three are in onnxzoo's cache folder; what comes from the Hub is in huggingface_hub's cache, where only
artifacts of onnxzoo are looked at: other tools keep their models there, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import CacheNotFound

from .. import files, registry
from ..artifact import CONFIG_FILE, read_artifact
from ..errors import ArtifactError, ModelNotFoundError, UnknownModelError
from . import client
from .download import blob_problem
from .lookup import cached_models
from .names import namespace

EXPORT, HUB, CHECKPOINT, ENGINES = "export", "hub", "checkpoint", "engines"

# What lies beside a checkpoint and goes with it.
COMPANIONS = (".sha256", ".part", ".part.json", ".lock")


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One thing in the cache: a model, a checkpoint, or all compiled engines.

    `kind`: EXPORT, HUB, CHECKPOINT or ENGINES. `revision`: the commit of a model from the Hub; `refs`: the branches and
    tags that had it when they were last asked for.
    """

    kind: str
    name: str
    path: Path
    bytes: int
    revision: str | None = None
    refs: tuple[str, ...] = ()


def entries() -> list[CacheEntry]:
    """All that is kept, by kind and name."""
    return [*_exports(), *_from_hub(), *_checkpoints(), *_engines()]


def chosen(names: Sequence[str]) -> list[CacheEntry]:
    """The entries that these names mean: a model's (exports and the Hub's), USER/NAME, USER/NAME@REVISION, a file's.

    Raises ModelNotFoundError for a name that means none.
    """
    here, found = entries(), []
    for name in names:
        matching = [entry for entry in here if _is_called(entry, name)]
        if not matching:
            raise ModelNotFoundError(
                f"nothing in the cache is called {name!r}; 'onnxzoo cache list' shows what is there"
            )
        found += [entry for entry in matching if entry not in found]
    return found


def verify(entry: CacheEntry) -> list[str]:
    """What is wrong with an entry, every byte of it read; nothing is known to compare compiled engines with."""
    if entry.kind == CHECKPOINT:
        return _verify_checkpoint(entry.path)
    if entry.kind == ENGINES:
        return []
    try:
        artifact = read_artifact(entry.path)
    except ArtifactError as error:
        return [str(error)]
    problems = []
    for path in artifact.files:
        if entry.kind == HUB and not (entry.path / path).exists():
            continue  # only what was needed has been downloaded
        try:
            artifact.verified(path)
        except ArtifactError as error:
            problems.append(str(error))
    if entry.kind == HUB:
        others = {
            path for path in _files_in(entry.path) if path.relative_to(entry.path).as_posix() not in artifact.files
        }
        problems += [f"{path} {problem}" for path in sorted(others) if (problem := blob_problem(path))]
    return problems


def remove(doomed: Iterable[CacheEntry]) -> None:
    """Delete entries; the blobs of the Hub's cache that no other revision needs go, too."""
    commits = []
    for entry in doomed:
        if entry.kind == HUB and entry.revision is not None:
            commits.append(entry.revision)
        elif entry.kind == CHECKPOINT:
            for suffix in ("", *COMPANIONS):
                entry.path.with_name(entry.path.name + suffix).unlink(missing_ok=True)
        else:
            (entry.path / CONFIG_FILE).unlink(missing_ok=True)  # first: no half of an artifact passes for one
            shutil.rmtree(entry.path)
    if commits:
        huggingface_hub.scan_cache_dir(client.cache_folder()).delete_revisions(*commits).execute()


def _exports() -> Iterator[CacheEntry]:
    for folder in cached_models():
        yield CacheEntry(EXPORT, folder.name, folder, _size(_files_in(folder)))


def _from_hub() -> Iterator[CacheEntry]:
    try:
        found = huggingface_hub.scan_cache_dir(client.cache_folder())
    except CacheNotFound:
        return
    for repo in sorted(found.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type != "model":
            continue
        for revision in sorted(repo.revisions, key=lambda revision: revision.last_modified):
            if repo.repo_id.startswith(f"{namespace()}/") or _is_ours(revision.snapshot_path):
                yield CacheEntry(
                    HUB,
                    repo.repo_id,
                    revision.snapshot_path,
                    revision.size_on_disk,
                    revision.commit_hash,
                    tuple(sorted(revision.refs)),
                )


def _checkpoints() -> Iterator[CacheEntry]:
    folder = files.checkpoints_dir()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.endswith((".sha256", ".part.json", ".lock")):
                yield CacheEntry(CHECKPOINT, path.name, path, path.stat().st_size)


def _engines() -> Iterator[CacheEntry]:
    folder = files.cache_dir() / ENGINES
    if folder.is_dir() and (found := _files_in(folder)):
        yield CacheEntry(ENGINES, ENGINES, folder, _size(found))


def _verify_checkpoint(path: Path) -> list[str]:
    if path.name.endswith(".part"):
        return [f"{path} is half downloaded; 'onnxzoo export' goes on with it"]
    record = path.with_name(f"{path.name}.sha256")
    recorded = record.read_text(encoding="utf-8", errors="replace").split() if record.is_file() else []
    if recorded and (digest := files.sha256_of(path)) != recorded[0].lower():
        return [f"{path} was altered: its sha256 is {digest}, expected {recorded[0][:64]} as in {record.name}"]
    return []


def _is_called(entry: CacheEntry, name: str) -> bool:
    plain, _, revision = name.partition("@")
    try:
        known = registry.find(plain).name
    except UnknownModelError:
        known = plain
    if entry.kind != HUB:
        return entry.name in (name, known) and not revision
    if entry.name not in (plain, f"{namespace()}/{known}"):
        return False
    commit = entry.revision or ""
    return not revision or revision in entry.refs or (len(revision) >= 7 and commit.startswith(revision))


def _is_ours(folder: Path) -> bool:
    try:
        read_artifact(folder)
    except ArtifactError:
        return False
    return True


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
