"""Finds and verifies the files of a Hub repo in huggingface_hub's cache, without any request."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from ..artifact.file import ArtifactFile
from ..artifact.folder import CONFIG_FILE, Artifact, read_artifact
from ..errors import ArtifactError, ModelNotFoundError
from ..files import git_blob_id, models_dir, sha256_of
from . import client
from .names import DEFAULT_REVISION, HubName

log = logging.getLogger("onnxzoo")

HASH_LENGTHS = (40, 64)
"""Number of hexadecimal digits of an etag: the SHA-1 of a git blob or the SHA-256 of a large file."""


def from_cache(
    name: HubName, precision: str | None, files: Sequence[str] | None, *, why: str
) -> tuple[Artifact, dict[str, Path]]:
    """The artifact and its checked files by path, as in `snapshot.take`, but from the cache alone.

    `why`: the reason for not using the Hub, for messages.
    """
    config = client.cached_file(name.repo_id, CONFIG_FILE, name.wanted)
    if config is None:
        places = [str(client.repo_folder(name.repo_id))]
        if name.known_as is not None and name.revision is None:
            places.insert(0, str(models_dir() / name.known_as))
        fix = f"download it when online: {_command(name)}" + (f"; or {name.otherwise}" if name.otherwise else "")
        raise ModelNotFoundError(f"{name} is not on this machine (not in {' nor in '.join(places)}), and {why}; {fix}")
    wrong = config_problem(config, None)
    if wrong is not None:
        raise ArtifactError(f"{config} {wrong}, and {why}; load the model online to have it fetched again")
    try:
        return _checked_in_cache(name, config, precision, files, why=why)
    except ModelNotFoundError as error:
        if name.wanted != DEFAULT_REVISION:
            raise
        for older in _others_by_age(config):
            with contextlib.suppress(ArtifactError, ModelNotFoundError):
                if precision is None or read_artifact(older.parent).announced_model(precision) is not None:
                    found = _checked_in_cache(name, older, precision, files, why=why)
                    log.warning("%s; using another copy that is whole, commit %s", error, older.parent.name)
                    return found
        raise


def _others_by_age(config: Path) -> list[Path]:
    """The config.json of the repo's other commits in the cache, newest download first, without damaged ones."""
    others = (path for path in config.parent.parent.glob(f"*/{CONFIG_FILE}") if path != config)
    found = [path for path in others if config_problem(path, None) is None]
    return sorted(found, key=lambda path: path.parent.stat().st_mtime, reverse=True)


def _checked_in_cache(
    name: HubName, config: Path, precision: str | None, files: Sequence[str] | None, *, why: str
) -> tuple[Artifact, dict[str, Path]]:
    """The files listed in config.json. Raises ModelNotFoundError if one is missing, ArtifactError if one is wrong."""
    artifact = read_artifact(config.parent)
    return artifact, {
        file.path: cached_file_of(artifact, file, name, why=why) for file in needed(artifact, precision, files)
    }


def cached_file_of(artifact: Artifact, file: ArtifactFile, name: HubName, *, why: str) -> Path:
    """A file of an artifact in the cache. Raises ModelNotFoundError if it is missing, ArtifactError if it is wrong."""
    if client.cached_file(name.repo_id, file.path, artifact.folder.name) is None:
        raise ModelNotFoundError(
            f"{file.path} of {name} is not on this machine (not in {artifact.folder}), and {why}; "
            f"download it when online: {_command(name, file.precision)}"
        )
    return artifact.verified(file.path)


def _command(name: HubName, precision: str | None = None) -> str:
    revision = f" --revision {name.revision}" if name.known_as and name.revision else ""
    return f"onnxzoo download {name.argument}{revision}" + (f" --precision {precision}" if precision else "")


def needed(artifact: Artifact, precision: str | None, files: Sequence[str] | None) -> list[ArtifactFile]:
    if files is None:
        return list(artifact.fetched_files)
    model = None if precision is None else artifact.announced_model(precision)
    return [*([] if model is None else [model]), *(file for file in artifact.fetched_files if file.path in files)]


def config_problem(found: Path, facts: client.RemoteFile | None) -> str | None:
    """What is wrong with config.json, which can only be checked by its etag, from the Hub or the name of its blob."""
    etag = facts.etag if facts else _etag_in_cache(found)
    if etag is not None and len(etag) in HASH_LENGTHS:
        return etag_problem(found, etag)
    try:
        read_artifact(found.parent)
    except ArtifactError as error:
        return f"cannot be read ({error})"
    return None


def blob_problem(found: Path) -> str | None:
    """What is wrong with a file of huggingface_hub's cache by its recorded hash; None also if none is recorded."""
    etag = _etag_in_cache(found)
    return None if etag is None else etag_problem(found, etag)


def etag_problem(found: Path, etag: str) -> str | None:
    """What is wrong with a file that has this etag on the Hub; None also for an etag that is not a hash."""
    if len(etag) not in HASH_LENGTHS:
        return None
    digest = sha256_of(found) if len(etag) == 64 else git_blob_id(found.read_bytes())
    return None if digest == etag else f"was altered: its hash is {digest}, expected {etag}"


def _etag_in_cache(found: Path) -> str | None:
    """The name of the blob that a file in a snapshot links to; None in a cache without links."""
    return found.readlink().name if found.is_symlink() else None
