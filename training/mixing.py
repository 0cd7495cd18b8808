"""The targets of a batch, and mixup and CutMix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..results import Array
from .recipe import Recipe
from .streams import MIXING, stream


@dataclass(frozen=True, slots=True)
class Mix:
    """How each image of a batch is mixed with another one.

    `partners`: position in the batch of each image's partner, int64 [B]. `share`: weight of the image itself,
    in [0, 1]. `box`: rows and columns (top, bottom, left, right) taken from the partner; None for mixup, which adds
    the two.
    """

    partners: npt.NDArray[np.int64]
    share: float
    box: tuple[int, int, int, int] | None


def draw_mix(recipe: Recipe, epoch: int, step: int, batch: int, side: int) -> Mix | None:
    """The mixing of one batch of images of `side` pixels; None if the recipe has none.

    Mixup: Zhang et al., arXiv:1710.09412; CutMix: Yun et al., arXiv:1905.04899, with the share from the clipped area.
    If both are on, one of the two is chosen for each batch, as in PaddleClas's OpSampler.
    """
    kinds = [kind for kind, alpha in (("mixup", recipe.mixup), ("cutmix", recipe.cutmix)) if alpha > 0]
    if not kinds or batch < 2:
        return None
    random = stream(MIXING, recipe.seed, epoch, step)
    kind = kinds[int(random.integers(len(kinds)))]
    partners = random.permutation(batch)
    if kind == "mixup":
        return Mix(partners, float(random.beta(recipe.mixup, recipe.mixup)), None)
    share = float(random.beta(recipe.cutmix, recipe.cutmix))
    cut = side * math.sqrt(1 - share) / 2
    y, x = random.integers(side, size=2)
    top, bottom = max(int(y - cut), 0), min(int(y + cut), side)
    left, right = max(int(x - cut), 0), min(int(x + cut), side)
    return Mix(partners, 1 - (bottom - top) * (right - left) / side**2, (top, bottom, left, right))


def mixed_images(own: Array, partners: Array, mix: Mix) -> Array:
    """Images float32 [n, 3, S, S] and their partners' -> mixed ones, a new array."""
    if mix.box is None:
        mixed: Array = own * np.float32(mix.share) + partners * np.float32(1 - mix.share)
        return mixed
    top, bottom, left, right = mix.box
    mixed = own.copy()
    mixed[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
    return mixed


def smoothed(labels: npt.NDArray[np.int64], classes: int, smoothing: float) -> Array:
    """Targets float32 [n, classes]: 1 - smoothing on the label, the rest spread evenly over all classes."""
    targets = np.full((len(labels), classes), smoothing / classes, dtype=np.float32)
    targets[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    return targets
