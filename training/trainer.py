"""The training loop: epochs of steps, validation, checkpoints."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..data.dataset import Dataset
from ..errors import InputError, TrainingError
from ..families import ModelSpec
from ..reference.paddle.build import load_state
from ..registry import Preprocess
from ..results import Array
from .batches import Batch, BatchPlan
from .ema import Ema
from .images import Damaged, OnError, training_images
from .metrics import METRICS_FILE, append_record, keep_until
from .network import Network
from .optimizer import Optimizer
from .parallel import Processes
from .recipe import Recipe
from .schedule import learning_rate
from .state import (
    BEST_FILE,
    LAST_FILE,
    STATE_FILE,
    Position,
    TrainingState,
    load_state_file,
    require_same,
    save_state,
    save_weights,
)
from .validation import Validator
from .writing import remove_unfinished


@dataclass(frozen=True)
class Job:
    """A training that is fully described.

    `crop`: the evaluation preprocessing, of `spec.image_size` pixels. `initial`: weights to start from by parameter
    name, None for random ones. `identity`: further properties that must be equal when it is resumed.
    `save_steps`: steps between two saved states within an epoch, 0 to save only at its end. `log_steps`: steps between
    two records of the loss, 0 for none. `threads`: number of threads that read images.
    """

    spec: ModelSpec
    crop: Preprocess
    recipe: Recipe
    train: Dataset
    val: Dataset
    out: Path
    initial: Mapping[str, Array] | None = None
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    on_error: OnError = "stop"
    save_steps: int = 0
    log_steps: int = 50
    threads: int = 1
    compiled: bool = True


class Progress(Protocol):
    """Receives the progress of a training.

    The trainer calls it in the first process only; the others report unreadable images on stderr.
    """

    def say(self, message: str) -> None:
        """Report a note in one line."""

    def begin_epoch(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Report the begin of an epoch; `epoch` and `step` count from 0."""

    def step(self, loss: float, top1: float, images: int) -> None:
        """Report a finished step: means over the epoch so far, and the number of images in this step."""

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        """Report a finished epoch by its record in metrics.jsonl."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Best validation accuracy in [0, 1], its epoch from 0, files of the weights, and the images' side in pixels."""

    best_top1: float
    best_epoch: int
    best: Path
    last: Path
    image_size: int


class Trainer:
    """Trains one job. In one process with one thread the same job gives the same weights, resumed or not."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self.job, self.recipe, self._progress = job, job.recipe, progress
        self.processes = Processes()
        self._damaged = Damaged(job.on_error, progress.say if self.processes.first else self._say_as_another)
        source = training_images(job.train, job.recipe, job.crop, self._damaged, job.threads)
        plan = BatchPlan(source, job.train.labels, len(job.train.classes), job.spec.image_size, job.recipe, slice(None))
        if plan.batch_size < self.processes.count:
            raise InputError(f"{self.processes.count} processes share batches of {plan.batch_size} images; use fewer")
        self.plan = dataclasses.replace(plan, part=self.processes.part(plan.batch_size))
        self.network = Network(job.spec, job.recipe, compiled=job.compiled)
        if job.initial is not None:
            load_state(self.network.model, job.initial)
        self.optimizer = Optimizer(self.network.parameters, job.recipe)
        self.ema = Ema(self.network.parameters, job.recipe.ema) if job.recipe.ema else None
        self.validator = Validator(job.val, job.spec, job.crop, self._damaged, self.processes, job.threads)
        self.position = Position()

    def resume(self) -> None:
        """Continue from the state in the output folder. Raises TrainingError if it is from another training."""
        state = load_state_file(self.job.out / STATE_FILE)
        require_same(state.identity, self._identity())
        load_state(self.network.model, state.weights)
        self.optimizer.load(state.optimizer)
        if self.ema is not None:
            self.ema.load(state.ema)
        self.position = state.position
        epoch, step = self.position.epoch, self.position.step
        if not self.processes.first:
            return
        if epoch >= self.recipe.epochs:
            self._progress.say(f"nothing left to do: all {self.recipe.epochs} epochs are done")
        else:
            place = f"step {step + 1}" if step < self.plan.steps else "its validation"
            self._progress.say(f"resumed at epoch {epoch + 1}, {place}")

    def run(self) -> Outcome:
        """Train to the end.

        Raises TrainingError if the loss is no longer a number or a file cannot be written, DatasetError for a damaged
        image if these are not skipped.
        """
        if self.processes.first:
            self._tidy()
        self.processes.wait()
        while self.position.epoch < self.recipe.epochs:
            self._epoch()
        now, out = self.position, self.job.out
        return Outcome(now.best_top1, now.best_epoch, out / BEST_FILE, out / LAST_FILE, self.job.spec.image_size)

    def _tidy(self) -> None:
        """Remove an earlier run's records after this position, and its temporary files if it was killed."""
        out, done = self.job.out, self.position.epoch * self.plan.steps + self.position.step
        remove_unfinished(out / name for name in (STATE_FILE, BEST_FILE, LAST_FILE, METRICS_FILE))
        keep_until(out / METRICS_FILE, done, self.position.epoch)

    def _epoch(self) -> None:
        epoch, started, seen = self.position.epoch, time.perf_counter(), 0
        if self.processes.first:
            self._progress.begin_epoch(epoch, self.recipe.epochs, self.position.step, self.plan.steps)
        for batch in self.plan.epoch(epoch, self.position.step):
            seen += self._step(epoch, batch)
            step = self.position.step
            if self.job.save_steps and step % self.job.save_steps == 0 and step < self.plan.steps:
                self._save()
        self._finish_epoch(epoch, time.perf_counter() - started, seen)

    def _step(self, epoch: int, batch: Batch) -> int:
        """Run one step; returns its number of images over all processes."""
        whole = self.plan.batch_size
        images = int(self.processes.summed([batch.readable])[0])
        if not images:
            raise TrainingError(f"epoch {epoch + 1}, step {batch.step + 1}: no image of the batch could be read")
        kept = self.network.draw_depths(epoch, batch.step, whole)
        part = None if kept is None else np.ascontiguousarray(kept[:, self.plan.part])
        loss, logits = self.network.loss(batch.images, batch.targets, 1 / images, part)
        correct = int((logits.argmax(axis=1) == batch.labels).sum())
        value, all_correct = self.processes.summed([float(loss), correct])
        done = epoch * self.plan.steps + batch.step
        rate = learning_rate(self.recipe, done, self.plan.steps)
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at epoch {epoch + 1}, step {batch.step + 1} (step {done + 1} of the training, "
                f"learning rate {rate:.3g}); {self._advice()}"
            )
        loss.backward()
        self.processes.sum_gradients(self.network.parameters.values())
        self.optimizer.step(rate)
        if self.ema is not None:
            self.ema.update(done)
        self._count(batch.step, float(value), int(all_correct), images, done, rate)
        return images

    def _count(self, step: int, loss: float, correct: int, images: int, done: int, rate: float) -> None:
        now = self.position
        now = dataclasses.replace(
            now,
            step=step + 1,
            loss_sum=now.loss_sum + loss * images,
            correct=now.correct + correct,
            images=now.images + images,
        )
        self.position = now
        if not self.processes.first:
            return
        if self.job.log_steps and done % self.job.log_steps == 0:
            record = {"kind": "step", "step": done + 1, "epoch": now.epoch + 1, "loss": loss, "lr": rate}
            append_record(self.job.out / METRICS_FILE, record)
        self._progress.step(now.loss_sum / now.images, now.correct / now.images, images)

    def _finish_epoch(self, epoch: int, seconds: float, seen: int) -> None:
        # Save before the validation, so that its failure does not lose the epoch.
        self._save()
        now = self.position
        weights = self.ema.state() if self.ema is not None else self.network.state()
        score = self.validator.score(weights)
        if not math.isfinite(score.loss):
            raise TrainingError(f"the validation loss is {score.loss} after epoch {epoch + 1}; {self._advice()}")
        better = score.top1 > now.best_top1
        record = {
            "kind": "epoch",
            "step": (epoch + 1) * self.plan.steps,
            "epoch": epoch + 1,
            "lr": learning_rate(self.recipe, (epoch + 1) * self.plan.steps - 1, self.plan.steps),
            "train_loss": now.loss_sum / max(now.images, 1),
            "train_top1": now.correct / max(now.images, 1),
            "val_loss": score.loss,
            "val_top1": score.top1,
            "val_top5": score.top5,
            "val_images": score.images,
            "best": better,
            "images_per_s": round(seen / seconds, 1) if seconds else None,
            "seconds": round(seconds, 1),
            "skipped_images": len(self.processes.union(self._damaged.names)),
        }
        self.position = Position(
            epoch=epoch + 1,
            best_top1=score.top1 if better else now.best_top1,
            best_epoch=epoch if better else now.best_epoch,
        )
        if self.processes.first:
            # The state is written last: after an earlier kill the epoch is repeated and writes the same files again.
            if better:
                save_weights(self.job.out / BEST_FILE, weights)
            save_weights(self.job.out / LAST_FILE, weights)
            append_record(self.job.out / METRICS_FILE, record)
            self._progress.end_epoch(record)
        self._save()

    def _save(self) -> None:
        weights, average = self.network.state(), self.ema.state() if self.ema is not None else {}
        for name, array in (*weights.items(), *average.items()):
            if not np.isfinite(array).all():
                raise TrainingError(
                    f"the weights {name} hold NaN or infinite values after epoch {self.position.epoch + 1}, "
                    f"step {self.position.step}; {self._advice()}"
                )
        if self.processes.first:
            state = TrainingState(self.position, self._identity(), weights, average, self.optimizer.state())
            save_state(self.job.out / STATE_FILE, state)
        self.processes.wait()

    def _advice(self) -> str:
        """Advice for a training that has diverged."""
        state = self.job.out / STATE_FILE
        return (
            f"lower --lr or set --clip-norm, and give another --out, or remove {state} if it is there; "
            "the files of earlier epochs are whole"
        )

    def _say_as_another(self, message: str) -> None:
        sys.stderr.write(f"process {self.processes.rank}: {message}\n")

    def _identity(self) -> dict[str, Any]:
        job = self.job
        own = {
            **{f"recipe {key}": value for key, value in dataclasses.asdict(job.recipe).items()},
            "architecture": job.spec.architecture.to_dict(),
            "image size": job.spec.image_size,
            "classes": list(job.train.classes),
            "training images": len(job.train),
            "validation images": len(job.val),
        }
        plain: dict[str, Any] = json.loads(json.dumps({**own, **job.identity}))
        return plain
