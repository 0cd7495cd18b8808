"""The hyperparameters of training, with PaddleClas's values for these families as defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..registry import ModelEntry

CROPS = ("resized", "shift")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines the trained weights, besides data, model and initial weights.

    The defaults are those of PaddleClas, `ppcls/configs/ImageNet/{PVTV2,SwinTransformerV2}/*.yaml` (commit d178931).
    These agree with each other except for the stochastic depth (see `default_recipe`) and for `clip_grad: 1.0` of
    PVT_V2_B3 to B5, which has no effect, as PaddleClas's AdamW has no such argument. `lr`, `lr_min` and `lr_start` are
    for `lr_batch_size` images per step (PaddleClas: 8 cards of 128) and scale linearly with `batch_size`; with
    `lr_batch_size` 0 they are not scaled.

    `batch_size`: images per step over all processes. `warmup_epochs`: linear rise from `lr_start` to `lr`, then a
    cosine to `lr_min`. `weight_decay`: decoupled, on matrices and kernels only (see `decays`). `clip_norm`: largest
    global norm of the gradient, 0 for no limit. `label_smoothing`: fraction of the target spread over all classes.
    `crop`: `resized` cuts a random area of `crop_min_area`..1 of the image, aspect 3/4 to 4/3, and resizes it;
    `shift` takes the evaluation crop and moves it by up to `shift` pixels each way, with the border repeated.
    `flip`: probability of a horizontal flip. `rand_layers`, `rand_magnitude` (0 to 10), `rand_std`: RandAugment, in the
    increasing form of timm's `rand-m9-mstd0.5-inc1`. `erase`: probability of erasing a rectangle with
    noise. `mixup`, `cutmix`: alpha of the Beta distribution, 0 for never; if both are given, each is used for half of
    the batches. `drop_path`: stochastic depth of the last block. `ema`: decay of the average of the weights per step,
    0 for none. `seed`: for initial weights, order, augmentation and stochastic depth.
    """

    epochs: int = 300
    batch_size: int = 1024
    lr: float = 1e-3
    lr_min: float = 1e-5
    lr_start: float = 1e-6
    lr_batch_size: int = 1024
    warmup_epochs: float = 20.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.05
    clip_norm: float = 0.0
    label_smoothing: float = 0.1
    crop: str = "resized"
    crop_min_area: float = 0.08
    shift: int = 2
    flip: float = 0.5
    rand_layers: int = 2
    rand_magnitude: float = 9.0
    rand_std: float = 0.5
    erase: float = 0.25
    mixup: float = 0.8
    cutmix: float = 1.0
    drop_path: float = 0.1
    ema: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{field.name} must be a number, got {value}")
        _require(self.epochs >= 1, "epochs must be at least 1", self.epochs)
        _require(self.batch_size >= 1, "batch_size must be at least 1", self.batch_size)
        _require(self.lr > 0, "lr must be positive", self.lr)
        for name in ("lr_min", "lr_start"):
            _require(
                0 <= getattr(self, name) <= self.lr,
                f"{name} must be between 0 and lr, {self.lr:g}",
                getattr(self, name),
            )
        _require(0 <= self.warmup_epochs < self.epochs, "warmup_epochs must be below epochs", self.warmup_epochs)
        for name in ("beta1", "beta2", "label_smoothing", "drop_path", "ema"):
            _require(0 <= getattr(self, name) < 1, f"{name} must be in [0, 1)", getattr(self, name))
        for name in ("flip", "erase"):
            _require(0 <= getattr(self, name) <= 1, f"{name} must be in [0, 1]", getattr(self, name))
        for name in ("weight_decay", "clip_norm", "mixup", "cutmix", "rand_layers", "rand_std", "shift", "seed"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative", getattr(self, name))
        _require(self.lr_batch_size >= 0, "lr_batch_size must not be negative", self.lr_batch_size)
        # The other bits of the 64 identify the purpose of random numbers (see `streams`).
        _require(self.seed < 2**56, "seed must be below 2^56", self.seed)
        _require(self.epsilon > 0, "epsilon must be positive", self.epsilon)
        _require(self.crop in CROPS, f"crop must be one of {CROPS}", self.crop)
        _require(0 < self.crop_min_area <= 1, "crop_min_area must be in (0, 1]", self.crop_min_area)
        _require(0 <= self.rand_magnitude <= 10, "rand_magnitude must be in [0, 10]", self.rand_magnitude)

    @property
    def lr_factor(self) -> float:
        """The factor on the learning rates for this batch size."""
        return self.batch_size / self.lr_batch_size if self.lr_batch_size else 1.0


def default_recipe(entry: ModelEntry, changes: Mapping[str, Any] | None = None) -> Recipe:
    """PaddleClas's recipe for a model of the registry, with `changes` by field.

    The stochastic depth is the architecture's. With fewer epochs the warm-up keeps its fraction of them, unless the
    changes set it. Raises InputError as `Recipe` does.
    """
    recipe = Recipe(drop_path=entry.architecture.drop_path_rate)
    given = dict(changes or {})
    epochs = given.get("epochs", recipe.epochs)
    if isinstance(epochs, int) and 1 <= epochs < recipe.epochs:
        given.setdefault("warmup_epochs", recipe.warmup_epochs * epochs / recipe.epochs)
    return dataclasses.replace(recipe, **given)


def decays(name: str, shape: tuple[int, ...]) -> bool:
    """Whether weight decay applies to this parameter.

    It does not apply to biases, norms and other parameters with one dimension (PaddleClas:
    `one_dim_param_no_weight_decay`), nor to SwinV2's `logit_scale` and `cpb_mlp`. PaddleClas decays these two, as its
    list of exceptions has Swin V1's `relative_position_bias_table` instead. This follows the paper's authors
    (`no_weight_decay_keywords` in github.com/microsoft/Swin-Transformer, models/swin_transformer_v2.py).
    """
    return len(shape) > 1 and not name.endswith(".bias") and "logit_scale" not in name and "cpb_mlp" not in name


def _require(condition: bool, expected: str, got: object) -> None:
    if not condition:
        raise InputError(f"{expected}, got {got!r}")
