"""Where a model's artifact is: on this machine, so far.

Artifacts come from `onnxzoo export`. Downloading them from the Hugging Face Hub is not part of this
version; when it is, it belongs here, and only here is huggingface_hub imported.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import registry
from .artifact import CONFIG_FILE, is_artifact
from .errors import ArtifactError, InputError, ModelNotFoundError, UnknownModelError
from .files import models_dir


def find_artifact(name_or_folder: str | os.PathLike[str]) -> Path:
    """The artifact folder of a registry name, an alias, or the path of such a folder.

    A registry name means that model even where a folder has the same name: write `./NAME` for the folder.

    Raises UnknownModelError for a plain name that is neither, ModelNotFoundError for a known model
    without an artifact here or a path where nothing is, ArtifactError for a path that is no artifact.
    """
    if isinstance(name_or_folder, str) and not _has_separator(name_or_folder):
        try:
            entry = registry.find(name_or_folder)
        except UnknownModelError:
            if not name_or_folder or not Path(name_or_folder).expanduser().exists():
                raise
        else:
            return _exported(entry.name)
    elif not isinstance(name_or_folder, str | os.PathLike):
        raise InputError(f"a model is a name or the path of a folder, got {type(name_or_folder).__name__}")
    folder = Path(name_or_folder).expanduser()
    if not folder.exists():
        raise ModelNotFoundError(
            f"there is no folder {folder}; give an artifact's folder or a name that 'onnxzoo list' shows"
        )
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is a file; give the artifact's folder, the one that holds {CONFIG_FILE}")
    if not is_artifact(folder):
        raise ArtifactError(f"{folder} is not an artifact: it has no {CONFIG_FILE}")
    return folder


def cached_models() -> list[Path]:
    """The artifact folders in the cache, sorted by name; their contents have not been checked."""
    root = models_dir()
    if not root.is_dir():
        return []
    # Names with a leading dot are folders that are still being written.
    return sorted(folder for folder in root.iterdir() if not folder.name.startswith(".") and is_artifact(folder))


def _exported(name: str) -> Path:
    folder = models_dir() / name
    if not is_artifact(folder):
        raise ModelNotFoundError(
            f"{name} is not on this machine ({folder} is not there); export it: "
            f"pip install 'onnxzoo[export]', then onnxzoo export {name}"
        )
    return folder


def _has_separator(text: str) -> bool:
    return text.startswith("~") or os.sep in text or bool(os.altsep and os.altsep in text)
