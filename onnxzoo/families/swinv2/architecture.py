"""The size of a Swin Transformer V2, and what follows from it alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

from ...errors import InputError
from ..family import (
    MAX_FEATURES,
    MAX_HEADS,
    MAX_WIDTH,
    Architecture,
    require,
    require_lists,
    require_numbers,
    require_stages,
    require_whole,
)

MAX_WINDOW = 256


STAGE_FIELDS = ("depths", "num_heads", "pretrained_window_sizes")
"""Lists with one value per stage."""


@dataclass(frozen=True, slots=True)
class SwinV2Architecture(Architecture):
    """Size of a Swin Transformer V2 (Liu et al., arXiv:2111.09883).

    `window_size` and `pretrained_window_sizes` are in tokens; a pre-trained window size of 0 means
    that the model was trained with the same window size.
    """

    patch_size: int
    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int
    pretrained_window_sizes: tuple[int, ...]
    mlp_ratio: float
    drop_path_rate: float

    def __post_init__(self) -> None:
        require_lists(self, STAGE_FIELDS)
        require_whole("patch_size", (self.patch_size,), 1, 64)
        require_whole("embed_dim", (self.embed_dim,), 1, MAX_WIDTH)
        require_whole("window_size", (self.window_size,), 2, MAX_WINDOW)
        require_whole("num_heads", self.num_heads, 1, MAX_HEADS)
        require_whole("pretrained_window_sizes", self.pretrained_window_sizes, 0, MAX_WINDOW)
        require_numbers("mlp_ratio", (self.mlp_ratio,), 0.01, 64)
        require_stages(self, STAGE_FIELDS)
        for stage, heads in enumerate(self.num_heads):
            dim = self.embed_dim * 2**stage
            require(dim % heads == 0, f"num_heads of stage {stage} must divide {dim}", heads)
        require(self.num_features <= MAX_FEATURES, f"features must be up to {MAX_FEATURES}", self.num_features)

    @property
    def num_features(self) -> int:
        """Length of the pooled feature vector before the head."""
        return int(self.embed_dim * 2 ** (len(self.depths) - 1))

    @property
    def size_multiple(self) -> int:
        """Image sides must be a multiple of this: the patch size, times 2 for every later stage."""
        return int(self.patch_size * 2 ** (len(self.depths) - 1))

    def check_image_size(self, image_size: int) -> None:
        """Raise InputError if windows would not divide the map of a stage that is larger than one window."""
        Architecture.check_image_size(self, image_size)
        for stage in range(len(self.depths)):
            side = self.side(image_size, stage)
            if side > self.window_size and side % self.window_size:
                raise InputError(
                    f"windows of {self.window_size} tokens do not divide the {side} x {side} tokens of stage "
                    f"{stage} at image size {image_size}; choose another image size or window"
                )

    def at_image_size(self, trained: int, wanted: int) -> Self:
        """Windows grow with the image, and the position bias is recomputed from its MLP.

        Offsets are normalised by the window that the weights were trained with, so that the MLP extrapolates
        (section 3.3). Raises InputError if the window would not be a whole number of tokens.
        """
        scaled = self.window_size * wanted / trained
        window = int(scaled)
        if window != scaled or window < 2:
            raise InputError(
                f"image size {wanted} would need windows of {scaled:g} tokens; choose a positive multiple of "
                f"{self.size_multiple}"
            )
        windows = tuple(
            before or min(self.window_size, self.side(trained, stage))
            for stage, before in enumerate(self.pretrained_window_sizes)
        )
        return dataclasses.replace(self, window_size=window, pretrained_window_sizes=windows)

    def side(self, image_size: int, stage: int) -> int:
        """Tokens along a side of the map of a stage."""
        return int(image_size // (self.patch_size * 2**stage))
