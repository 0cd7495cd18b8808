"""The size of a PVTv2, and what follows from it alone."""

from __future__ import annotations

from dataclasses import dataclass

from ..family import (
    MAX_HEADS,
    MAX_WIDTH,
    Architecture,
    require,
    require_lists,
    require_numbers,
    require_stages,
    require_whole,
)

STAGE_FIELDS = ("embed_dims", "depths", "num_heads", "sr_ratios", "mlp_ratios")
"""Lists with one value per stage."""


@dataclass(frozen=True, slots=True)
class PvtV2Architecture(Architecture):
    """Size of a Pyramid Vision Transformer v2 (Wang et al., arXiv:2106.13797).

    `sr_ratios` are the spatial reductions of keys and values per stage; with `linear` every stage
    pools them to 7 x 7 instead (section 3.2 of the paper) and `sr_ratios` is not used.
    """

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    sr_ratios: tuple[int, ...]
    mlp_ratios: tuple[float, ...]
    linear: bool
    drop_path_rate: float

    def __post_init__(self) -> None:
        require_lists(self, STAGE_FIELDS)
        require_whole("embed_dims", self.embed_dims, 1, MAX_WIDTH)
        require_whole("num_heads", self.num_heads, 1, MAX_HEADS)
        require_whole("sr_ratios", self.sr_ratios, 1, 64)
        require_numbers("mlp_ratios", self.mlp_ratios, 0.01, 64)
        require(type(self.linear) is bool, "linear must be true or false", self.linear)
        require_stages(self, STAGE_FIELDS)
        for dim, heads in zip(self.embed_dims, self.num_heads, strict=True):
            require(dim % heads == 0, f"num_heads must divide {dim}", heads)

    @property
    def num_features(self) -> int:
        """Length of the pooled feature vector before the head."""
        return self.embed_dims[-1]

    @property
    def size_multiple(self) -> int:
        """Image sides must be a multiple of this; the stride is 4 in the first stage and 2 in every later one."""
        return int(4 * 2 ** (len(self.depths) - 1))
