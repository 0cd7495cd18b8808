"""The constants of PVTv2's exported graph, computed from a checkpoint's parameters.

The graph runs its MLPs as convolutions; exports/forms/pvt_v2.py derives it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..family import Constants, ModelSpec, State, parameters
from .architecture import PvtV2Architecture

BLOCK_EPSILON = 1e-6
"""Epsilon of the LayerNorms in blocks and at the end of stages."""
EMBED_EPSILON = 1e-5
"""Epsilon of the LayerNorms in patch embeddings and after the reduction of keys and values."""
POOLED_SIDE = 7
"""Side of the map that the linear variant pools keys and values to (section 3.2)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a model at its image size.

    `number`: from 1, as in the names of its layers. `side`: tokens along a side of its map. `reduction`: factor by
    which the side of the map of keys and values is reduced; 1 for no reduction, 0 for pooling to POOLED_SIDE.
    """

    number: int
    depth: int
    side: int
    dim: int
    heads: int
    hidden: int
    reduction: int

    @property
    def pools(self) -> bool:
        """Whether keys and values come from a map that must be pooled."""
        return self.reduction == 0 and self.side != POOLED_SIDE

    @property
    def source_side(self) -> int:
        """Tokens along a side of the map that keys and values come from."""
        return self.side // self.reduction if self.reduction else POOLED_SIDE

    @property
    def kernel(self) -> int:
        """Side of the kernel of the patch embedding in front of the stage, in tokens or pixels."""
        return 7 if self.number == 1 else 3

    @property
    def stride(self) -> int:
        """Stride of that patch embedding."""
        return 4 if self.number == 1 else 2


def stages(spec: ModelSpec) -> list[Stage]:
    """The stages of a model, from the first to the last; raises TypeError for a model of another family."""
    size = spec.architecture
    if not isinstance(size, PvtV2Architecture):
        raise TypeError(f"expected a PVTv2, got {type(size).__name__}")
    return [
        Stage(
            number=index + 1,
            depth=size.depths[index],
            side=spec.image_size // (4 * 2**index),
            dim=dim,
            heads=size.num_heads[index],
            hidden=int(dim * size.mlp_ratios[index]),
            reduction=0 if size.linear else size.sr_ratios[index],
        )
        for index, dim in enumerate(size.embed_dims)
    ]


# Constants of the exported graph


def constants(spec: ModelSpec, state: State) -> Constants:
    """The constants of the exported graph of `spec`, computed from a checkpoint's parameters.

    Parameters keep their names. The scale of the scores is folded into the weights of the queries, in float64 and
    rounded once; linear layers that the graph runs as 1 x 1 convolutions have the layout [out, in, 1, 1];
    `attn.pooling` is the pooling matrix of the linear variant, unless the map already has that size. Raises KeyError
    for a parameter missing in `state`.
    """
    found: Constants = {}
    for stage in stages(spec):
        for layer in ("proj", "norm"):
            found |= parameters(state, f"patch_embed{stage.number}.{layer}")
        for block in range(stage.depth):
            found |= _block(f"block{stage.number}.{block}", stage, state)
        found |= parameters(state, f"norm{stage.number}")
    return found | parameters(state, "head")


def _block(name: str, stage: Stage, state: State) -> Constants:
    attn, mlp = f"{name}.attn", f"{name}.mlp"
    found: Constants = {}
    scale = (stage.dim // stage.heads) ** -0.5
    for part in ("weight", "bias"):
        found[f"{attn}.q.{part}"] = (state[f"{attn}.q.{part}"].astype(np.float64) * scale).astype(np.float32)
    for layer in (f"{name}.norm1", f"{name}.norm2", f"{attn}.kv", f"{attn}.proj", f"{mlp}.dwconv.dwconv"):
        found |= parameters(state, layer)
    for layer in (f"{mlp}.fc1", f"{mlp}.fc2"):
        found[f"{layer}.weight"] = np.ascontiguousarray(state[f"{layer}.weight"].T)[:, :, None, None]
        found[f"{layer}.bias"] = state[f"{layer}.bias"]
    if stage.reduction != 1:
        found |= parameters(state, f"{attn}.sr") | parameters(state, f"{attn}.norm")
    if stage.reduction == 0:
        # A 1 x 1 convolution over tokens is a linear layer.
        found[f"{attn}.sr.weight"] = np.ascontiguousarray(state[f"{attn}.sr.weight"][:, :, 0, 0].T)
    if stage.pools:
        found[f"{attn}.pooling"] = pooling_matrix(stage.side, POOLED_SIDE)
    return found


def pooling_matrix(side: int, pooled: int) -> npt.NDArray[np.float32]:
    """Adaptive average pooling of a row-major map as a matrix: float32 [pooled^2, side^2], rows sum to 1.

    Bin i of an axis covers floor(i * side / pooled) up to ceil((i + 1) * side / pooled).
    """
    axis = np.zeros((pooled, side))
    for i in range(pooled):
        start, end = i * side // pooled, -(-(i + 1) * side // pooled)
        axis[i, start:end] = 1 / (end - start)
    return np.asarray(np.kron(axis, axis), dtype=np.float32)
