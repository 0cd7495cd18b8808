"""Selects the files of an artifact folder to upload: its own files and those generated from them, nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..artifact.file import ArtifactFile
from ..artifact.folder import (
    CARD_FILE,
    CONFIG_FILE,
    CONFORMANCE_FILE,
    MODEL_FILES,
    PREPROCESSOR_FILE,
    Artifact,
    config_bytes,
    parse_config,
)
from ..errors import ArtifactError
from ..precisions import FP32
from .card import model_card, unvalidated
from .card_metadata import EVAL_RESULTS_PREFIX, eval_result_files

ALWAYS_LARGE = 10_000_000
"""Size in bytes from which the Hub stores every file by its SHA-256, so that its content cannot change on the way."""

FIXED: Mapping[str, str | None] = {
    **{path: precision for precision, path in MODEL_FILES.items()},
    PREPROCESSOR_FILE: None,
    CONFORMANCE_FILE: None,
}
"""The files that config.json may list for publishing, with the precision that it must give for each."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file to upload: its bytes, or for a large file its path on this machine."""

    source: Path | bytes
    size: int
    sha256: str

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True, slots=True)
class Package:
    """An artifact ready to upload: path in the repo -> content.

    `left_out`: other files in its folder. `other_card`: the folder's README.md is not the generated card, but an older
    one or one written by hand. `unvalidated`: see `onnxzoo.hub.card.unvalidated`.
    """

    artifact: Artifact
    files: Mapping[str, Content]
    left_out: tuple[str, ...]
    other_card: bool
    unvalidated: Mapping[str, str]


def pack(folder: Path, repo_id: str, *, allow_unvalidated: bool = False) -> Package:
    """Check the artifact in `folder` and collect the files to upload to `repo_id`. The folder is not changed.

    Raises ArtifactError for an artifact that is incomplete, altered, unsafe or, unless `allow_unvalidated` is set, not
    validated; the message names the file.
    """
    config = config_bytes(folder)  # read once, so that the checked bytes are uploaded
    artifact = parse_config(folder, config)
    _require_complete(artifact)
    artifact.verify()
    for precision in artifact.precisions:
        artifact.model_file(precision)  # refuses references to data outside the file
    missing = unvalidated(artifact)
    if missing and not allow_unvalidated:
        which = "; ".join(f"{path}: {why}" for path, why in missing.items())
        raise ArtifactError(
            f"{artifact.name} in {folder} is not validated as it is ({which}); run 'onnxzoo validate {folder} "
            "--record', or give --allow-unvalidated, and the card will say so"
        )
    card = model_card(artifact, repo_id)
    generated = {CARD_FILE: card, **eval_result_files(artifact)}
    files = {path: _of_bytes(text.encode("utf-8")) for path, text in generated.items()}
    files[CONFIG_FILE] = _of_bytes(config)
    for file in artifact.files.values():
        files[file.path] = _of_file(artifact, file)
    local = folder / CARD_FILE
    other_card = local.is_file() and local.read_bytes() not in (
        card.encode("utf-8"),
        model_card(artifact).encode("utf-8"),
    )
    return Package(artifact, files, _left_out(folder, files), other_card, missing)


def replaceable(path: str) -> bool:
    """Whether publishing writes a file with this path, and may remove it if the artifact no longer has it."""
    return path in FIXED or path.startswith(EVAL_RESULTS_PREFIX)


def _of_bytes(data: bytes) -> Content:
    return Content(data, len(data), hashlib.sha256(data).hexdigest())


def _of_file(artifact: Artifact, file: ArtifactFile) -> Content:
    found = artifact.verified(file.path)
    if file.bytes >= ALWAYS_LARGE:
        return Content(found, file.bytes, file.sha256)
    content = _of_bytes(found.read_bytes())
    if content.sha256 != file.sha256:
        raise changed_meanwhile(file.path)
    return content


def changed_meanwhile(path: str) -> ArtifactError:
    """The error for a file that was modified after it was checked."""
    return ArtifactError(f"{path} was changed while it was being published; nothing was published, run it again")


def _require_complete(artifact: Artifact) -> None:
    for path in (MODEL_FILES[FP32], PREPROCESSOR_FILE, CONFORMANCE_FILE):
        if path not in artifact.files:
            raise ArtifactError(
                f"{artifact.folder} is incomplete: its {CONFIG_FILE} lists no {path}; export the model again"
            )
    for file in artifact.files.values():
        if file.path not in FIXED or file.precision != FIXED[file.path]:
            what = f" with the precision {file.precision}" if file.path in FIXED else ""
            raise ArtifactError(
                f"{artifact.config_file} lists {file.path}{what}, which is not an artifact's file; remove it from "
                "the list"
            )


def _left_out(folder: Path, files: Mapping[str, Content]) -> tuple[str, ...]:
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in found)
    return tuple(sorted(name for name in names if name not in files))
