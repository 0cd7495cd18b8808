"""The command that exports an artifact, for newly trained weights and for outdated artifacts."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ..registry import ModelEntry, default_labels, models

if TYPE_CHECKING:
    from .folder import Artifact

OLD_INPUT_NAME = "image"
"""Former name of the ONNX input; nothing was published with it."""


def export_command(
    entry: ModelEntry, *, weights: str | Path | None, labels: Path | None, image_size: int, out: Path
) -> str:
    """The `onnxzoo export` command, quoted for a shell, that makes the artifact `out`.

    `weights`: None for the registry's checkpoint. `labels`: None for the default names of an export.
    `image_size`: in pixels; part of the command if it is not the model's own.
    """
    words: list[str | Path | int] = ["onnxzoo", "export", entry.name]
    if weights is not None:
        words += ["--weights", weights]
    if labels is not None:
        words += ["--labels", labels]
    if image_size != entry.image_size:
        words += ["--image-size", image_size]
    return shlex.join(map(str, [*words, "--out", out]))


def hub_repo_of(folder: Path) -> str | None:
    """USER/NAME of the Hub repo if this folder is a snapshot in huggingface_hub's cache, else None."""
    resolved = folder.resolve()
    repo = resolved.parent.parent.name
    if resolved.parent.name != "snapshots" or not repo.startswith("models--"):
        return None
    return repo.removeprefix("models--").replace("--", "/")


def renewal(artifact: Artifact, inputs: Collection[str]) -> str:
    """How to renew an artifact whose ONNX file has these inputs, as the end of a sentence.

    Empty unless the outdated name of the input is the only problem.
    """
    if set(inputs) != {OLD_INPUT_NAME}:
        return ""
    outdated = ", because an older onnxzoo made it"
    if repo_id := hub_repo_of(artifact.folder):
        return f"{outdated}; when its author has published it again, run: onnxzoo download {repo_id}"
    entry = models().get(artifact.name)
    if entry is None:
        return f"{outdated}; export the model again"
    source = artifact.source
    downloaded = source.get("url") is not None and source["url"] == entry.source.url
    named = artifact.id2label != default_labels(entry, artifact.num_classes)
    command = export_command(
        entry,
        weights=None if downloaded else str(source.get("file") or "FILE"),
        labels=artifact.config_file if named else None,
        image_size=artifact.image_size,
        out=artifact.folder,
    )
    return f"{outdated}; make it again: {command}"
