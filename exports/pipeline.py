"""Exports a checkpoint to an artifact folder, step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ..artifact.folder import CONFORMANCE_FILE, MODEL_FILES, Artifact, is_artifact, read_artifact
from ..artifact.writing import tool_versions, write_descriptions
from ..conformance import record_conformance
from ..data.labels import read_labels
from ..errors import ExportError, InputError, RegistryError
from ..families import ModelSpec, at_image_size
from ..files import atomic_folder, models_dir, writing
from ..hub import SHIPPED_DIR
from ..hub.card import model_card
from ..precisions import FP32
from ..registry import ModelEntry, default_labels
from ..weights.checkpoint import Checkpoint, read_checkpoint
from ..weights.checkpoint_download import Progress, checkpoint_path
from .child import require_export_tools
from .conversion import TITLES, convert

logger = logging.getLogger(__name__)

STEPS = ("read the checkpoint", *TITLES, "record conformance vectors", "write the artifact")

StepProgress = Callable[[int, int, str], None]
"""Called when a step begins, with its number from 1, the number of steps, and its title."""


def export_model(
    entry: ModelEntry,
    *,
    weights: Path | None = None,
    out: Path | None = None,
    labels_file: Path | None = None,
    image_size: int | None = None,
    progress: StepProgress = lambda _number, _total, _title: None,
    download_progress: Progress | None = None,
) -> Artifact:
    """Export one model and return its artifact.

    `weights`: a `.pdparams` or `.safetensors` file; without it the registry's checkpoint is downloaded.
    `out`: the artifact folder, which is replaced if it is already an artifact; by default the model's folder
    in the cache, where `onnxzoo.load(name)` finds it. `labels_file`: class names (see `onnxzoo.data.labels`);
    by default the registry's, if the checkpoint has the same number of classes. `image_size`: side of the
    input in pixels, by default the checkpoint's (see `at_image_size`).

    Nothing is written to `out` before the last step. Raises CheckpointError, ExportError (with the log of
    the failed tool), InputError, MissingDependencyError or DownloadError.
    """
    require_export_tools()
    # This import fails without Paddle; the line above raises a readable error in that case.
    from ..reference.paddle.engine import PaddleEngine

    def begin(title: str) -> None:
        progress(STEPS.index(title) + 1, len(STEPS), title)

    folder = target_folder(entry, out)
    if out is None and is_artifact(SHIPPED_DIR / entry.name):
        logger.warning(
            "the model %s that ships with the package goes before the export in %s wherever its name is used; "
            "use that folder, or give --out",
            entry.name,
            folder,
        )
    begin(STEPS[0])
    file = weights if weights is not None else checkpoint_path(entry, download_progress)
    checkpoint = read_checkpoint(file, entry)
    spec = ModelSpec(checkpoint.architecture, checkpoint.image_size, checkpoint.num_classes)
    if image_size is not None:
        spec = at_image_size(spec, image_size)
    id2label = _labels(entry, spec, labels_file)
    preprocess = entry.preprocess.at_image_size(spec.image_size)
    with checkpoint.named():
        reference = PaddleEngine.open(spec, checkpoint.state)
    refused = writing(f"the artifact {folder}", ExportError, "make room, or name another --out")
    with refused, atomic_folder(folder) as building:
        model_file = building / MODEL_FILES[FP32]
        model_file.parent.mkdir()
        metadata = {"name": entry.name, "source_sha256": checkpoint.sha256, **tool_versions()}
        opset = convert(spec, checkpoint.state, metadata, model_file, begin)
        begin(STEPS[-2])
        record_conformance(reference, preprocess, building / CONFORMANCE_FILE)
        begin(STEPS[-1])
        write_descriptions(
            building,
            entry=entry,
            spec=spec,
            preprocess=preprocess,
            id2label=id2label,
            source=_source(entry, checkpoint, downloaded=weights is None),
            tools=tool_versions(),
            opset=opset,
            card=model_card,
        )
        read_artifact(building).verify()
    return read_artifact(folder)


def target_folder(entry: ModelEntry, out: Path | None) -> Path:
    """The folder for the artifact, `out` or the model's in the cache; raises InputError if it must not be written."""
    folder = (out if out is not None else models_dir() / entry.name).resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --out must name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not is_artifact(folder):
        raise InputError(f"{folder} is neither empty nor an artifact, and will not be replaced; name another folder")
    return folder


def _labels(entry: ModelEntry, spec: ModelSpec, labels_file: Path | None) -> tuple[str, ...]:
    if labels_file is None:
        return default_labels(entry, spec.num_classes)
    try:
        names = read_labels(labels_file)
    except RegistryError as error:
        raise InputError(str(error)) from None
    if len(names) != spec.num_classes:
        raise InputError(f"{labels_file} has {len(names)} labels, the checkpoint has {spec.num_classes} classes")
    return names


def _source(entry: ModelEntry, checkpoint: Checkpoint, *, downloaded: bool) -> dict[str, str | int | None]:
    return {
        "url": entry.source.url if downloaded else None,
        "file": checkpoint.path.name,
        "sha256": checkpoint.sha256,
        "bytes": checkpoint.bytes,
        "framework": checkpoint.naming,
    }
