"""Where a model's artifact is: on this machine, so far.

Artifacts of small models ship inside the package (`shipped_models`), others come from `onnxzoo export` and lie in the
cache (`cached_models`). A name means the shipped one where there are both, so that it gives the same numbers on every
machine; an export of that model is reached by its folder. Downloading artifacts from the Hugging Face Hub is not part
of this version; when it is, it belongs here, and only here is huggingface_hub imported.
"""

from __future__ import annotations

import os
from pathlib import Path

from .. import registry
from ..artifact import CONFIG_FILE, is_artifact
from ..errors import ArtifactError, InputError, ModelNotFoundError, UnknownModelError
from ..files import models_dir

SHIPPED_DIR = Path(__file__).resolve().parent.parent / "shipped"
"""Artifacts that are part of the package: one folder per model, named as in the registry."""


def find_artifact(name_or_folder: str | os.PathLike[str]) -> Path:
    """The artifact folder of a registry name, an alias, or the path of such a folder.

    A name is looked for among the models that ship with the package, then in the cache. A registry name means that
    model even where a folder has the same name: write `./NAME` for the folder.

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
            return _by_name(entry.name)
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


def shipped_models() -> list[Path]:
    """The artifact folders inside the package, sorted by name; their contents have not been checked."""
    return _artifacts_in(SHIPPED_DIR)


def cached_models() -> list[Path]:
    """The artifact folders in the cache, sorted by name; their contents have not been checked."""
    return _artifacts_in(models_dir())


def _artifacts_in(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    # Names with a leading dot are folders that are still being written.
    return sorted(folder for folder in root.iterdir() if not folder.name.startswith(".") and is_artifact(folder))


def _by_name(name: str) -> Path:
    folders = (SHIPPED_DIR / name, models_dir() / name)
    found = next((folder for folder in folders if is_artifact(folder)), None)
    if found is None:
        here = Path(name)
        hint = f"; to use the folder {here} of the working directory, write ./{here}" if is_artifact(here) else ""
        raise ModelNotFoundError(
            f"{name} is not on this machine ({folders[-1]} is not there); export it: "
            f"pip install 'onnxzoo[export]', then onnxzoo export {name}{hint}"
        )
    return found


def _has_separator(text: str) -> bool:
    return text.startswith("~") or os.sep in text or bool(os.altsep and os.altsep in text)
