"""The inventory of this machine: exports, checkpoints, compiled models, verdicts, and models from the Hub.

The first four are in onnxzoo's cache folder. Models from the Hub are in huggingface_hub's cache, which other tools
share; only artifacts of onnxzoo are considered there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub

from .. import files, registry, temporary
from ..artifact.folder import (
    CARD_FILE,
    CONFIG_FILE,
    CONFORMANCE_FILE,
    MODEL_FILES,
    PREPROCESSOR_FILE,
    config_bytes,
    read_artifact,
)
from ..errors import ArtifactError, ModelNotFoundError, UnknownModelError, one_line
from ..strict_json import parse_json
from ..verdicts import FOLDER, verdict_fault, verdicts_dir
from . import client
from .lookup import cached_models, shipped_models, was_assembled
from .names import of_known_model
from .offline import blob_problem
from .snapshot import alone, lock_file

LAYOUT = frozenset({CONFIG_FILE, CARD_FILE, PREPROCESSOR_FILE, CONFORMANCE_FILE, *MODEL_FILES.values()})
"""The files of an artifact that may be in the Hub's cache."""

EXPORT, ASSEMBLED, HUB, CHECKPOINT = "export", "assembled", "hub", "checkpoint"
ENGINES, VERDICTS, LEFTOVER = "engines", FOLDER, "leftover"
LEFTOVERS = "leftovers"
"""The name for all entries of kind LEFTOVER together."""

# Suffixes of the files that accompany a checkpoint and are removed with it.
COMPANIONS = (".sha256", ".part", ".part.json", ".lock")


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """An entry of the cache: a model, a checkpoint, one engine's compiled model, the verdicts on the engines that ran a
    model, or files left by a killed process.

    `kind`: EXPORT, ASSEMBLED, HUB, CHECKPOINT, ENGINES, VERDICTS or LEFTOVER. `revision`: the commit of a model
    from the Hub; `refs`: the branches and tags that last pointed to it. `engine`: the engine that compiled the
    model. For ENGINES and VERDICTS, `name` is the model's name, or the first 16 digits of its ONNX file's SHA-256
    if no model on this machine has that file.
    """

    kind: str
    name: str
    path: Path
    bytes: int
    revision: str | None = None
    refs: tuple[str, ...] = ()
    engine: str | None = None


def entries() -> list[CacheEntry]:
    """All entries, sorted by kind and name. Raises ArtifactError if a folder of the cache cannot be read."""
    with files.readable(files.cache_dir()):
        return _entries()


def _entries() -> list[CacheEntry]:
    return [*_exports(), *_from_hub(), *_checkpoints(), *_engines(), *_verdicts(), *_leftovers()]


def chosen(names: Sequence[str]) -> list[CacheEntry]:
    """The entries selected by these names: a model's name, USER/NAME, USER/NAME@REVISION, a checkpoint's file name.

    A model's name selects its exports, its copies from the Hub, its compiled forms, and the verdicts on the engines
    that ran it. `engines/NAME` and `verdicts/NAME` select only these, `engines` and `verdicts` those of all models,
    `leftovers` the files left by killed processes.

    Raises ModelNotFoundError for a name that selects nothing.
    """
    here, found = entries(), []
    for name in names:
        matching = [entry for entry in here if _is_called(entry, name)]
        if not matching:
            raise ModelNotFoundError(f"nothing in the cache is called {name!r}; 'onnxzoo cache list' lists its content")
        found += [entry for entry in matching if entry not in found]
    return found


def verify(entry: CacheEntry) -> list[str]:
    """Read every byte of an entry and list what is wrong; for compiled models use `engines.compiled_models.faults`."""
    try:
        with files.readable(entry.path):
            return _verify(entry)
    except ArtifactError as error:
        return [str(error)]


def _verify(entry: CacheEntry) -> list[str]:
    if entry.kind == LEFTOVER:
        return []  # whatever is in it, no model is damaged
    if entry.kind == CHECKPOINT:
        return _verify_checkpoint(entry.path)
    if entry.kind == VERDICTS:
        kept = sorted(entry.path.rglob("*.json")) if entry.path.is_dir() else [entry.path]
        return [f"{path}: {fault}" for path in kept if (fault := verdict_fault(path))]
    problems = [f"{path} is a link to a file that is gone" for path in _dangling(entry.path)]
    try:
        artifact = read_artifact(entry.path)
    except ArtifactError as error:
        return [*problems, str(error)]
    for path in artifact.files:
        if entry.kind == HUB and not (entry.path / path).exists():
            continue  # files are downloaded only when they are needed
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
    """Delete entries, including blobs of the Hub's cache that no other revision needs. Links are not followed.

    Raises ArtifactError, which names the entry that cannot be deleted.
    """
    from_hub: dict[str, list[CacheEntry]] = {}
    for entry in doomed:
        try:
            if entry.kind == HUB:
                from_hub.setdefault(entry.name, []).append(entry)
            elif entry.kind == LEFTOVER:
                temporary.remove(entry.path)
            elif entry.kind == CHECKPOINT:
                for suffix in ("", *COMPANIONS):
                    entry.path.with_name(entry.path.name + suffix).unlink(missing_ok=True)
            elif entry.path.is_symlink() or entry.path.is_file():
                entry.path.unlink()
            else:
                # config.json goes first, so that a half-deleted folder is not taken for an artifact.
                (entry.path / CONFIG_FILE).unlink(missing_ok=True)
                shutil.rmtree(entry.path)
        except OSError as error:
            raise ArtifactError(f"{entry.path} cannot be removed: {one_line(error)}") from None
    for repo_id, revisions in from_hub.items():
        try:
            with alone(repo_id):
                _remove_from_hub(repo_id, revisions)
        except OSError as error:
            raise ArtifactError(f"{repo_id} cannot be removed from the cache: {one_line(error)}") from None


def _remove_from_hub(repo_id: str, revisions: Sequence[CacheEntry]) -> None:
    """Delete revisions of one repo only, as other repos may have commits with the same hash."""
    repo = client.repo_folder(repo_id)
    # The client considers these as damage, and would not delete anything of the repo.
    for path in [*_dangling(repo / "snapshots"), *_refs_to_nothing(repo)]:
        path.unlink(missing_ok=True)
    found = huggingface_hub.scan_cache_dir(client.cache_folder())
    this = frozenset(one for one in found.repos if (one.repo_id, one.repo_type) == (repo_id, "model"))
    commits = [entry.revision for entry in revisions if entry.revision is not None]
    dataclasses.replace(found, repos=this).delete_revisions(*commits).execute()
    for entry in revisions:
        if entry.path.exists():  # the client logs the reason without raising an error
            raise ArtifactError(f"{entry.path} cannot be removed; delete the folder {repo}")


def _exports() -> Iterator[CacheEntry]:
    for folder in cached_models():
        kind = ASSEMBLED if was_assembled(folder) else EXPORT
        yield CacheEntry(kind, folder.name, folder, _size(_files_in(folder)))


def _from_hub() -> Iterator[CacheEntry]:
    """Entries from the Hub's cache. The client's own scan is not used, as it skips a repo with any damage."""
    for repo in sorted(client.cache_folder().glob("models--*--*")):
        repo_id = repo.name.removeprefix("models--").replace("--", "/")
        refs = _refs(repo)
        snapshots = [path for path in (repo / "snapshots").glob("*") if path.is_dir()]
        for folder in sorted(snapshots, key=lambda path: path.stat().st_mtime):
            if _is_ours(repo_id, folder):
                called = tuple(sorted(ref for ref, commit in refs.items() if commit == folder.name))
                yield CacheEntry(HUB, repo_id, folder, _size(_files_in(folder)), folder.name, called)


def _refs(repo: Path) -> dict[str, str]:
    """Branch or tag -> commit, as recorded for a repo in the Hub's cache."""
    root = repo / "refs"
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8", errors="replace").strip()
        for path in _files_in(root)
    }


def _refs_to_nothing(repo: Path) -> list[Path]:
    refs, commits = _refs(repo), {path.name for path in (repo / "snapshots").glob("*")}
    return [repo / "refs" / ref for ref, commit in refs.items() if commit not in commits]


def _checkpoints() -> Iterator[CacheEntry]:
    folder = files.checkpoints_dir()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            beside = path.name.endswith((".sha256", ".part.json", ".lock")) or temporary.is_temporary(path)
            if path.is_file() and not beside:
                yield CacheEntry(CHECKPOINT, path.name, path, path.stat().st_size)


def _engines() -> Iterator[CacheEntry]:
    for entry in _by_model(ENGINES, files.cache_dir() / ENGINES, "*/*"):
        own = entry.name != ENGINES
        yield dataclasses.replace(entry, engine=entry.path.parent.name if own else None)


def _verdicts() -> Iterator[CacheEntry]:
    return _by_model(VERDICTS, verdicts_dir(), "*")


def _by_model(kind: str, root: Path, pattern: str) -> Iterator[CacheEntry]:
    """Entries for folders that are named after a model's ONNX file, and for files in their place."""
    if root.is_symlink():
        # The link may be removed, but not its target.
        yield CacheEntry(kind, kind, root, _size(_files_in(root)))
        return
    names: dict[str, str] | None = None
    for path in sorted(root.glob(pattern)):
        if path.is_dir() and (found := _files_in(path)):
            names = _names_by_digest() if names is None else names
            yield CacheEntry(kind, names.get(path.name, path.name), path, _size(found))
        elif path.is_file():
            yield CacheEntry(kind, kind, path, path.stat().st_size)


def _leftovers() -> Iterator[CacheEntry]:
    """Files left by killed processes in the cache folder, and abandoned working folders."""
    engines = files.cache_dir() / ENGINES
    by_model = [*sorted(engines.glob("*/*")), *sorted(verdicts_dir().glob("*"))]
    places = [files.models_dir(), files.checkpoints_dir(), *by_model]
    left = [path for place in places for path in temporary.abandoned(place)]
    for path in (*left, *temporary.abandoned_scratch()):
        yield CacheEntry(LEFTOVER, path.name, path, _size(_files_in(path)) if path.is_dir() else path.stat().st_size)


def _names_by_digest() -> dict[str, str]:
    """The names of the models on this machine, by the digits of the ONNX file's SHA-256 used in the engines' cache."""
    found: dict[str, str] = {}
    from_hub = [(entry.name, entry.path) for entry in _from_hub()]
    here = [(folder.name, folder) for folder in (*cached_models(), *shipped_models())]
    for name, folder in (*from_hub, *here):
        with contextlib.suppress(ArtifactError):
            announced = read_artifact(folder).files.values()
            found |= {file.sha256[: files.COMPILED_DIGITS]: name for file in announced if file.precision}
    return found


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
    if entry.kind == LEFTOVER and name == LEFTOVERS:
        return True
    if entry.kind in (ENGINES, VERDICTS) and name in (entry.kind, f"{entry.kind}/{entry.name}"):
        return True
    if entry.kind != HUB:
        return entry.name in (name, known) and not revision
    there = of_known_model(known)
    if entry.name != plain and (there is None or entry.name != there.repo_id):
        return False
    commit = entry.revision or ""
    return not revision or revision in entry.refs or (len(revision) >= 7 and commit.startswith(revision))


def _is_ours(repo_id: str, folder: Path) -> bool:
    """Whether a snapshot is an artifact, perhaps damaged, and not a model of another tool."""
    try:
        read_artifact(folder)
    except ArtifactError:
        pass
    else:
        return True
    with contextlib.suppress(ArtifactError, ValueError):
        config = parse_json(config_bytes(folder))
        if isinstance(config, dict) and "schema_version" not in config:
            return False  # another tool's
    inside = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    known = {there.repo_id for name in registry.models() if (there := of_known_model(name)) is not None}
    return inside <= LAYOUT and (repo_id in known or lock_file(repo_id).is_file())


def _dangling(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() and not path.exists())


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
