"""The way from a checkpoint to an artifact folder, step by step."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..artifact.folder import CONFORMANCE_FILE, MODEL_FILES, Artifact, is_artifact, read_artifact
from ..data.labels import read_labels
from ..errors import ExportError, InputError, OnnxzooError, RegistryError
from ..families import ModelSpec, at_image_size, constants
from ..files import atomic_folder, models_dir
from ..hub import SHIPPED_DIR
from ..precisions import FP32
from ..registry import ModelEntry, default_labels
from ..temporary import scratch_folder
from ..weights.checkpoint import Checkpoint, read_checkpoint
from ..weights.checkpoint_download import Progress, checkpoint_path
from .artifact_writer import tool_versions, write_descriptions
from .child import require_export_tools, run_step

logger = logging.getLogger(__name__)

STEPS = (
    "read the checkpoint",
    "build the static Paddle program",
    "convert with paddle2onnx",
    "simplify with onnxsim",
    "check the graph",
    "record conformance vectors",
    "write the artifact",
)

STEPS_PACKAGE = f"{__package__}.steps"

StepProgress = Callable[[int, int, str], None]
"""Called with the step's number from 1, the number of steps, and the step's title as it begins."""


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
    `out`: the artifact folder, replaced whole if it is an artifact already; by default the model's place
    in the cache, where `onnxzoo.load(name)` finds it. `labels_file`: class names (see `onnxzoo.data.labels`);
    by default the registry's, if the checkpoint has as many classes. `image_size`: side of the
    input in pixels, by default the checkpoint's (see `at_image_size`).

    Nothing is written to `out` before the last step. Raises CheckpointError, ExportError (with the log of
    the tool that failed), InputError, MissingDependencyError or DownloadError.
    """
    require_export_tools()
    # Fails on a machine without Paddle, which only the line above turns into one readable line.
    from ..reference.paddle.engine import PaddleEngine

    def begin(number: int) -> str:
        progress(number, len(STEPS), STEPS[number - 1])
        return STEPS[number - 1]

    folder = target_folder(entry, out)
    if out is None and is_artifact(SHIPPED_DIR / entry.name):
        logger.warning(
            "the model %s that ships with the package goes before the export in %s wherever its name is used; "
            "use that folder, or give --out",
            entry.name,
            folder,
        )
    begin(1)
    file = weights if weights is not None else checkpoint_path(entry, download_progress)
    checkpoint = read_checkpoint(file, entry)
    spec = ModelSpec(checkpoint.architecture, checkpoint.image_size, checkpoint.num_classes)
    if image_size is not None:
        spec = at_image_size(spec, image_size)
    id2label = _labels(entry, spec, labels_file)
    preprocess = entry.preprocess.at_image_size(spec.image_size)
    with checkpoint.named():
        reference = PaddleEngine.open(spec, checkpoint.state)
    with _as_export_error(folder), atomic_folder(folder) as building:
        model_file = building / MODEL_FILES[FP32]
        model_file.parent.mkdir()
        opset = _convert(entry, spec, checkpoint, model_file, begin)
        begin(6)
        from .conformance import record_conformance

        record_conformance(reference, preprocess, building / CONFORMANCE_FILE)
        begin(7)
        write_descriptions(
            building,
            entry=entry,
            spec=spec,
            preprocess=preprocess,
            id2label=id2label,
            source=_source(entry, checkpoint, downloaded=weights is None),
            opset=opset,
        )
        read_artifact(building).verify()
    return read_artifact(folder)


@contextlib.contextmanager
def _as_export_error(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into an ExportError."""
    try:
        yield
    except OnnxzooError:
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ExportError(
            f"the artifact {folder} cannot be written: {error.strerror or error}{where}; "
            "make room, or name another --out"
        ) from error


def _convert(
    entry: ModelEntry, spec: ModelSpec, checkpoint: Checkpoint, target: Path, begin: Callable[[int], str]
) -> int:
    """Steps 2 to 5: write the checked ONNX file `target`; returns its operator set version."""
    with scratch_folder("export") as work:
        spec_file, constants_file = work / "spec.json", work / "constants.npz"
        document = {
            "family": entry.family,
            "architecture": spec.architecture.to_dict(),
            "image_size": spec.image_size,
            "num_classes": spec.num_classes,
        }
        spec_file.write_text(json.dumps(document), encoding="utf-8")
        np.savez(constants_file, **constants(spec, checkpoint.state))
        program, parameters = work / "model.json", work / "model.pdiparams"
        converted, simplified = work / "converted.onnx", work / "simplified.onnx"
        run_step(f"{STEPS_PACKAGE}.static_program", begin(2), [spec_file, constants_file, work], program)
        run_step(f"{STEPS_PACKAGE}.paddle_to_onnx", begin(3), [program, parameters, converted], converted)
        run_step(f"{STEPS_PACKAGE}.simplify", begin(4), [converted, simplified], simplified)
        begin(5)
        return _finish(entry, spec, checkpoint, simplified, target)


def _finish(entry: ModelEntry, spec: ModelSpec, checkpoint: Checkpoint, simplified: Path, target: Path) -> int:
    import onnx

    from .check import check_graph
    from .finish import finish
    from .steps import OPSET

    model = onnx.load(simplified)
    try:
        finish(model, {"name": entry.name, "source_sha256": checkpoint.sha256, **tool_versions()})
    except ValueError as error:
        raise ExportError(f"the converted graph does not have the expected form: {error}") from error
    check_graph(model, spec, OPSET)
    onnx.save(model, target)
    return OPSET


def target_folder(entry: ModelEntry, out: Path | None) -> Path:
    """Where the artifact goes: `out`, or the model's place in the cache. Raises InputError where it may not."""
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
