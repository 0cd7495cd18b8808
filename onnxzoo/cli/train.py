"""`onnxzoo train`: trains a model from random weights or a checkpoint, on the user's images."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from tqdm import tqdm  # type: ignore[import-untyped]

from ..cpu import worker_threads
from ..registry import find
from ..terminal import bar_size
from ..text import escaped
from ..training.recipe import CROPS, Recipe, default_recipe
from .completion import model_names
from .output import say
from .parameters import FILE, FILE_OR_FOLDER, OUTPUT, Whole

F = TypeVar("F", bound=Callable[..., Any])

HELP = {
    "epochs": "Passes over the training images.",
    "batch_size": "Images per step, over all processes.",
    "lr": "Highest learning rate, for --lr-batch-size images per step.",
    "lr_min": "Learning rate at the end.",
    "lr_start": "Learning rate at the beginning of the warm-up.",
    "lr_batch_size": "Batch size that the learning rates are for; 0: the actual one.",
    "warmup_epochs": "Epochs of rising learning rate.",
    "beta1": "AdamW's decay of the mean gradient per step.",
    "beta2": "AdamW's decay of the mean squared gradient per step.",
    "epsilon": "AdamW's epsilon, added to the root of the mean square.",
    "weight_decay": "AdamW's weight decay, on matrices and kernels only.",
    "clip_norm": "Largest norm of the gradient; 0: no limit.",
    "label_smoothing": "Share of the target spread over all classes.",
    "crop": "Random area of the image, or the evaluation crop moved a little.",
    "crop_min_area": "Smallest share of the image with --crop resized.",
    "shift": "Maximum shift in pixels with --crop shift.",
    "flip": "Probability of a horizontal flip.",
    "rand_layers": "RandAugment: operations per image; 0: none.",
    "rand_magnitude": "RandAugment: strength from 0 to 10.",
    "rand_std": "RandAugment: standard deviation of the strength.",
    "erase": "Probability of erasing a rectangle.",
    "mixup": "Alpha of mixup; 0: none.",
    "cutmix": "Alpha of CutMix; 0: none.",
    "drop_path": "Stochastic depth of the last block.",
    "ema": "Decay of the average of the weights; 0: none.",
    "seed": "Seed of initial weights, order and augmentation.",
}
# Defaults that are shown differently from the field's value.
DEFAULTS = {"warmup_epochs": "1/15 of --epochs, at most 20", "drop_path": "the model's"}


def recipe_options(function: F) -> F:
    """Add an option for every field of `Recipe`; the model's default applies if it is not given."""
    for field in reversed(dataclasses.fields(Recipe)):
        kind = type(field.default)
        option = click.option(
            f"--{field.name.replace('_', '-')}",
            field.name,
            type=click.Choice(CROPS) if field.name == "crop" else kind,
            help=f"{HELP[field.name]}  [{DEFAULTS.get(field.name, field.default)}]",
        )
        function = option(function)
    return function


@click.command("train", short_help="Train or fine-tune a model with PaddlePaddle.")
@click.argument("name", shell_complete=model_names)
@click.option(
    "--data",
    type=FILE_OR_FOLDER,
    required=True,
    help="Folder with train/CLASS/* and val/CLASS/*, with train_list.txt and val_list.txt, or with IDX files.",
)
@click.option("--out", type=OUTPUT, help="Output folder.  [out/train/NAME]")
@click.option("--init", type=FILE, help="Checkpoint to start from.")
@click.option("--image-size", type=Whole(1), help="Side of the images in pixels.")
@click.option("--classes", help="Only these classes: names or ids, separated by commas.")
@click.option("--holdout", type=Whole(0), default=0, help="Validate on this number of training images instead.")
@click.option("--resume", is_flag=True, help="Continue the training in --out where it stopped.")
@click.option(
    "--on-error",
    type=click.Choice(("stop", "skip")),
    default="stop",
    show_default=True,
    help="What to do with a damaged image.",
)
@click.option("--save-steps", type=Whole(0), default=0, help="Also save after every this many steps.")
@click.option("--log-steps", type=Whole(0), default=50, help="Record the loss after every this many steps. [50]")
@click.option(
    "--threads",
    type=Whole(1),
    default=None,
    help="Threads that read images.",
)
@recipe_options
def command(
    name: str,
    data: Path,
    out: Path | None,
    init: Path | None,
    image_size: int | None,
    classes: str | None,
    holdout: int,
    resume: bool,
    on_error: str,
    save_steps: int,
    log_steps: int,
    threads: int | None,
    **recipe_values: Any,
) -> None:
    """Train or fine-tune a model with PaddlePaddle.

    NAME is a model of the registry; the recipe is PaddleClas's for its family unless options change it. The folder
    --out receives best.pdparams and last.pdparams for 'onnxzoo export NAME --weights', labels.txt for its --labels,
    metrics.jsonl, train.json, and state.npz for --resume. The last line on stderr is the command that exports the
    trained model, with the necessary --image-size. For several processes or devices:
    'python -m paddle.distributed.launch --nproc_per_node 2 $(which onnxzoo) train ...'.
    """
    from ..reference.paddle.importing import require_paddle

    _quiet_paddle()
    require_paddle()
    from ..training.session import Request, export_command, run

    entry = find(name)
    changes = {key: value for key, value in recipe_values.items() if value is not None}
    recipe = default_recipe(entry, changes)
    request = Request(
        entry=entry,
        data=data,
        out=out if out is not None else Path("out") / "train" / entry.name,
        recipe=recipe,
        classes=None if classes is None else [item.strip() for item in classes.split(",")],
        holdout=holdout,
        init=init,
        image_size=image_size,
        on_error="skip" if on_error == "skip" else "stop",
        save_steps=save_steps,
        log_steps=log_steps,
        threads=threads or worker_threads(),
        command=shlex.join(["onnxzoo", *sys.argv[1:]]),
    )
    # In distributed training only the first process prints.
    quiet = int(os.environ.get("PADDLE_TRAINER_ID", "0")) > 0
    progress = TerminalProgress(quiet=quiet)
    try:
        outcome = run(request, progress, resume=resume)
    finally:
        progress.close()
    if quiet:
        return
    say(f"best validation top-1 {outcome.best_top1:.4f} in epoch {outcome.best_epoch + 1}: {outcome.best}", err=True)
    say(f"to export it: {export_command(request, outcome.image_size)}", err=True)
    say(str(outcome.best))


def _quiet_paddle() -> None:
    """Silence Paddle's notes, but not its errors. Call it before Paddle's first import."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", category=UserWarning, module="paddle")


class TerminalProgress:
    """Shows a progress bar per epoch on a terminal, and one line per epoch everywhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._title = ""

    def say(self, message: str) -> None:
        if not self._quiet:
            tqdm.write(escaped(message), file=sys.stderr)

    def begin_epoch(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        self._title = f"epoch {epoch + 1}/{epochs}"
        self._bar = tqdm(
            total=steps,
            initial=step,
            desc=self._title,
            unit="step",
            file=sys.stderr,
            disable=None,
            leave=False,
            **bar_size(),
        )
        self._images = 0

    def step(self, loss: float, top1: float, images: int) -> None:
        if self._bar.disable:
            return
        self._images += images
        elapsed = self._bar.format_dict["elapsed"]
        speed = self._images / elapsed if elapsed else 0.0
        self._bar.set_postfix_str(f"loss {loss:.3f}, top-1 {top1:.3f}, {speed:.0f} images/s", refresh=False)
        self._bar.update()

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        self.close()
        mark = " *" if record["best"] else ""
        self.say(
            f"{self._title}: loss {record['train_loss']:.4f}, top-1 {record['train_top1']:.4f}; validation loss "
            f"{record['val_loss']:.4f}, top-1 {record['val_top1']:.4f}{mark}; {record['images_per_s']} images/s, "
            f"{record['seconds']:.0f} s"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
