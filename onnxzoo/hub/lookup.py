"""Resolves a name to an artifact shipped with the package, exported on this machine, or on the Hub.

A registry name is resolved to the shipped model if there is one, so that it gives the same numbers on every machine;
then to the one in the cache folder; then, if ONNXZOO_NAMESPACE is set, to the repo `{namespace}/{name}` on the Hub.
Otherwise the artifact has to be assembled from the official weights. A pinned revision always refers to the Hub.
`USER/NAME` is a Hub repo, unless the current folder has a folder of that name; `./USER/NAME` is always the folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn, TypeAlias

from .. import registry
from ..artifact.folder import CONFIG_FILE, is_artifact, read_artifact
from ..artifact.remake import hub_repo_of
from ..errors import ArtifactError, InputError, ModelNotFoundError, OnnxzooError, UnknownModelError, one_line
from ..files import models_dir, readable
from ..text import beginning
from . import names

SHIPPED_DIR = Path(__file__).resolve().parent.parent / "shipped"
"""Artifacts that are part of the package: one folder per model, named as in the registry."""


Place: TypeAlias = names.HubName | Path | registry.ModelEntry
"""A model's location: a repo on the Hub, an artifact folder, or the registry entry of a model to be assembled."""


def locate(model: str | os.PathLike[str], revision: str | None = None) -> Place:
    """The location of a model: an artifact folder, a repo on the Hub, or its registry entry if it has to be assembled.

    `model`: a registry name, an alias, a path, or `USER/NAME[@REVISION]`. `revision` pins a branch, a tag or a commit.
    No request is made.

    Raises UnknownModelError for a plain name that is neither a registry name nor an alias, ModelNotFoundError for a
    path that does not exist and for a registry model that is not here while ONNXZOO_NAMESPACE is not set,
    ArtifactError for a path that is not an artifact, InputError for a malformed argument.
    """
    if not isinstance(model, str | os.PathLike):
        raise InputError(f"a model is a name or the path of a folder, got {type(model).__name__}")
    names.checked_revision(revision)
    if isinstance(model, str) and not _is_path(model):
        place = _by_name(model, revision)
        if place is not None:
            return place
    if revision is not None:
        raise InputError(f"{model} is a folder, which has no revisions; leave revision={revision!r} out")
    try:
        return _artifact_at(Path(model).expanduser())
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OnnxzooError):
            raise
        raise InputError(f"{beginning(str(model))!r} is neither a model nor a folder: {_reason(error)}") from None


def require_own(folder: Path) -> None:
    """Refuse to write into an artifact that is not the user's own: a shipped one, or one in the Hub's cache.

    Raises ArtifactError, which tells the user to make a copy.
    """
    shipped = folder.resolve().is_relative_to(SHIPPED_DIR.resolve())
    if shipped or hub_repo_of(folder):
        where = "is part of the installed package" if shipped else "is the cached copy of a Hub repository"
        raise ArtifactError(f"{folder} {where}, nothing is written there; copy the folder and use the copy")


def shipped_models() -> list[Path]:
    """The artifact folders inside the package, sorted by name; their contents have not been checked."""
    return _artifacts_in(SHIPPED_DIR)


def cached_models() -> list[Path]:
    """The artifact folders that were exported into the cache, sorted by name; their contents have not been checked."""
    return _artifacts_in(models_dir())


def was_assembled(folder: Path) -> bool:
    """Whether the artifact in a folder was assembled from official weights; a damaged one counts as exported."""
    try:
        return read_artifact(folder).assembled
    except ArtifactError:
        return False


def _by_name(text: str, revision: str | None) -> Place | None:
    """The location of a name; None if it can only be a folder's."""
    if _has_separator(text):
        return None if revision is None and _exists(text) else names.parse(text, revision)
    name, at, stated = text.partition("@")
    try:
        entry = registry.find(name)
    except UnknownModelError:
        if not text or not _exists(text):
            raise
        return None
    revision = names.one_revision(stated if at else None, revision)
    if revision is None:
        if is_artifact(found := SHIPPED_DIR / entry.name):
            return found
        # The cache folder is determined late, as a shipped model does not need it.
        if is_artifact(found := models_dir() / entry.name):
            return found
    there = names.of_known_model(entry.name, revision)
    if there is None and revision is None and entry.source.timm_repo is not None:
        return entry
    return there or _nowhere(entry.name, revision)


def _nowhere(name: str, revision: str | None) -> NoReturn:
    """Raise the error for a registry model that is neither here nor in a namespace on the Hub, with the fix."""
    there = f"name a Hub repository (USER/{name}), or the user that has it with {names.NAMESPACE_VARIABLE}=USER"
    if revision is not None:
        raise ModelNotFoundError(f"{name}@{revision} is a revision, and {name} names no repository of the Hub; {there}")
    raise ModelNotFoundError(
        f"{name} is not on this machine: it does not ship with onnxzoo and is not in {models_dir() / name}; {there}; "
        f"or {names.export_hint(name)}"
    )


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except PermissionError:  # it is in a folder that may not be searched, which reading it reports
        return True
    except (OSError, ValueError):  # no file system allows such a name
        return False


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or one_line(error)


def _artifact_at(folder: Path) -> Path:
    if not folder.exists():
        raise ModelNotFoundError(
            f"there is no folder {folder}; give an artifact's folder, a name that 'onnxzoo list' shows, or USER/NAME "
            "for a model on the Hub"
        )
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is a file; give the artifact's folder, the one that holds {CONFIG_FILE}")
    if not is_artifact(folder):
        raise ArtifactError(f"{folder} is not an artifact: it has no {CONFIG_FILE}")
    return folder


def _artifacts_in(root: Path) -> list[Path]:
    with readable(root):
        if not root.is_dir():
            return []
        # Folders with a leading dot are still being written.
        return sorted(folder for folder in root.iterdir() if not folder.name.startswith(".") and is_artifact(folder))


def _has_separator(text: str) -> bool:
    return os.sep in text or bool(os.altsep and os.altsep in text)


def _is_path(text: str) -> bool:
    """Whether the text can only be a path: ./a, ../a, ~/a, /a, and C:\\a on Windows."""
    return text.startswith(("~", ".")) or Path(text).is_absolute()
