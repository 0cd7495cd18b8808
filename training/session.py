"""Runs a requested training: opens the data, adapts the model to it, trains, and describes the result in files."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import remake
from ..data.dataset import listing
from ..data.layouts import Dataset, is_one_split, open_dataset
from ..data.subsets import named, require_same_classes, split_off, subset_of_classes
from ..errors import CheckpointError, DatasetError, TrainingError
from ..families import ModelSpec, at_image_size
from ..reference.paddle.build import build_model
from ..reference.paddle.importing import require_paddle
from ..registry import ModelEntry, labels
from ..results import Array
from ..weights.checkpoint import Checkpoint, read_checkpoint
from .images import OnError
from .recipe import Recipe
from .state import BEST_FILE, STATE_FILE
from .trainer import Job, Outcome, Progress, Trainer
from .writing import written

LABELS_FILE, DESCRIPTION_FILE, ARTIFACT_FOLDER = "labels.txt", "train.json", "artifact"
PACKAGES = ("onnxzoo", "numpy", "pillow")


@dataclass(frozen=True, slots=True)
class Request:
    """A request for training. `data`, `classes`, `holdout` as in `open_data`; the rest as in `Job`.

    `image_size`: pixels; None for the checkpoint's, or without a checkpoint the registry's. `init`: a checkpoint to
    start from. `command`: the user's command, to be recorded.
    """

    entry: ModelEntry
    data: Path
    out: Path
    recipe: Recipe
    classes: Sequence[str] | None = None
    holdout: int = 0
    init: Path | None = None
    image_size: int | None = None
    on_error: OnError = "stop"
    save_steps: int = 0
    log_steps: int = 50
    threads: int = 1
    command: str = ""


def run(request: Request, progress: Progress, *, resume: bool) -> Outcome:
    """Train, or with `resume` continue where an earlier run of the same request stopped.

    The folder `request.out` receives `best.pdparams` and `last.pdparams` (read by `onnxzoo export --weights`),
    `labels.txt`, `metrics.jsonl`, `train.json`, and `state.npz` to resume from.

    Raises DatasetError, CheckpointError, InputError, TrainingError or MissingDependencyError.
    """
    require_paddle()
    state_file = request.out / STATE_FILE
    if state_file.exists() and not resume:
        raise TrainingError(
            f"{request.out} contains a training run; continue it with --resume, give another --out, "
            f"or remove {state_file}"
        )
    job = prepare(request, progress)
    trainer = Trainer(job, progress)
    if state_file.exists():
        trainer.resume()
    elif resume:
        progress.say(f"no {state_file} yet: starting from the beginning")
    # This comes after resuming, which refuses a different training, whose description must not be overwritten.
    if trainer.processes.first:
        _write_description(request, job)
    return trainer.run()


def prepare(request: Request, progress: Progress) -> Job:
    """Open the data and the initial checkpoint, and adapt the checkpoint to the data."""
    entry = request.entry
    train, val = open_data(request, progress)
    checkpoint = read_checkpoint(request.init, entry) if request.init is not None else None
    spec = fitted_spec(entry, checkpoint, request.image_size, len(train.classes))
    identity: dict[str, Any] = {"model": entry.name, "initial weights": checkpoint.sha256 if checkpoint else None}
    return Job(
        spec=spec,
        crop=entry.preprocess.at_image_size(spec.image_size),
        recipe=request.recipe,
        train=train,
        val=val,
        out=request.out,
        initial=None if checkpoint is None else fitted_weights(checkpoint, spec, request.recipe.seed, progress),
        identity=identity,
        on_error=request.on_error,
        save_steps=request.save_steps,
        log_steps=request.log_steps,
        threads=request.threads,
    )


def open_data(request: Request, progress: Progress) -> tuple[Dataset, Dataset]:
    """Training and validation data; with `holdout`, this number of random training images is used for validation.

    Data without class names gets those of the model's label set if their number is the same, with a note.
    Raises DatasetError, also if the two have different classes, or fewer than two.
    """
    path, classes = request.data, request.classes
    whole = open_dataset(path, "train")
    if whole.skipped:
        progress.say(f"{path}: {whole.skipped}")
    known = labels(request.entry.labels)
    if len(known) == len(whole.classes) and named(whole, known) is not whole:
        whole = named(whole, known)
        progress.say(
            f"{path} names no classes: its {len(known)} are taken to be those of {request.entry.labels} "
            f"({listing(known)}); if they are not, name them in a file labels.txt there"
        )
    train = whole if classes is None else subset_of_classes(whole, classes)
    if len(train.classes) < 2:
        raise DatasetError(f"{path}: only the class {train.classes[0]!r}, but a classifier needs at least 2")
    if request.holdout:
        return split_off(train, request.holdout, request.recipe.seed)
    if path.is_file():
        raise DatasetError(f"{path} is one list; give the folder of train_list.txt and val_list.txt, or --holdout")
    if is_one_split(path):
        raise DatasetError(
            f"{path} has class folders but no train and val, and images trained on must not validate; "
            "give a folder with train/CLASS and val/CLASS, or --holdout N"
        )
    val = named(open_dataset(path, "val"), whole.classes)
    require_same_classes(whole, val)
    return train, val if classes is None else subset_of_classes(val, classes)


def fitted_spec(entry: ModelEntry, checkpoint: Checkpoint | None, image_size: int | None, classes: int) -> ModelSpec:
    """The registry's model at `image_size`, by default the checkpoint's or its own, which an export will also use.

    Raises CheckpointError if the checkpoint is of another model; an export could not detect this, as weights are saved
    without buffers. Raises InputError for a size that the model does not support.
    """
    registered = ModelSpec(entry.architecture, entry.image_size, classes)
    own = registered
    if checkpoint is not None:
        own = ModelSpec(checkpoint.architecture, checkpoint.image_size, classes)
    size = image_size if image_size is not None else own.image_size
    spec = at_image_size(registered, size)
    if checkpoint is not None and at_image_size(own, size) != spec:
        raise CheckpointError(
            f"{checkpoint.path} holds another model than {entry.name}: {own}, expected {spec}; "
            "name the registry's model with these windows"
        )
    return spec


def fitted_weights(checkpoint: Checkpoint, spec: ModelSpec, seed: int, progress: Progress) -> Mapping[str, Array]:
    """The checkpoint's weights, with a new head and a note if the number of classes differs."""
    if checkpoint.num_classes == spec.num_classes:
        return checkpoint.state
    import paddle

    paddle.seed(seed)
    head = {
        name: np.array(parameter.numpy())
        for name, parameter in build_model(spec).named_parameters()
        if name.startswith("head.")
    }
    progress.say(
        f"{checkpoint.path.name} has {checkpoint.num_classes} classes, the data {spec.num_classes}: "
        "the head starts from random weights"
    )
    return {**checkpoint.state, **head}


def export_command(request: Request, image_size: int) -> str:
    """The command that exports the best weights as the trained model."""
    out, entry = request.out, request.entry
    return remake.export_command(
        entry,
        weights=out / BEST_FILE,
        labels=out / LABELS_FILE,
        image_size=image_size,
        out=out / ARTIFACT_FOLDER,
    )


def _write_description(request: Request, job: Job) -> None:
    """Write `train.json` and `labels.txt`: the request, the versions, and the command for exporting."""
    import paddle

    description = {
        "command": request.command,
        "export": export_command(request, job.spec.image_size),
        "model": request.entry.name,
        "architecture": job.spec.architecture.to_dict(),
        "image_size": job.spec.image_size,
        "recipe": dataclasses.asdict(job.recipe),
        "classes": list(job.train.classes),
        "training_images": len(job.train),
        "validation_images": len(job.val),
        "held_out_of_training_data": bool(request.holdout),
        "initial_weights_sha256": job.identity["initial weights"],
        "versions": {
            "python": platform.python_version(),
            # The installed package may be paddlepaddle or paddlepaddle-gpu.
            "paddlepaddle": paddle.__version__,
            **{package: importlib.metadata.version(package) for package in PACKAGES},
        },
    }
    with written(request.out / DESCRIPTION_FILE) as stream:
        stream.write((json.dumps(description, indent=2, allow_nan=False) + "\n").encode())
    names = "".join(f"{number} {name}\n" for number, name in enumerate(job.train.classes))
    with written(request.out / LABELS_FILE) as stream:
        stream.write(names.encode())
