"""The learning rate as a function of the step only, so that nothing has to be saved for resuming."""

from __future__ import annotations

import math

from .recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of `step`, counted from 0 over the whole training, already scaled to the batch size.

    It rises linearly from `lr_start` to `lr` during the warm-up, then follows half a cosine to `lr_min` after the last
    step.
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    total = recipe.epochs * steps_per_epoch
    if step < warmup:
        rate = recipe.lr_start + (recipe.lr - recipe.lr_start) * step / warmup
    else:
        progress = min((step - warmup) / max(total - warmup, 1), 1.0)
        rate = recipe.lr_min + (recipe.lr - recipe.lr_min) * (1 + math.cos(math.pi * progress)) / 2
    return rate * recipe.lr_factor
