"""The probe points: the places at which two runs of one model can be compared.

A layer is named as in the checkpoint; `NAME:input` is its input. The list of layers is determined by the architecture
alone, independent of any converter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..families import Architecture
from ..families.pvt_v2.architecture import PvtV2Architecture
from ..families.swinv2.architecture import SwinV2Architecture
from ..results import Array

INPUT = ":input"


class LayerSource(Protocol):
    """A source of the values of a model's layers for images."""

    def run_layers(self, images: Array, names: Sequence[str]) -> Mapping[str, Array]:
        """The output of every layer in `names` (`NAME:input`: its input) for images float32 [N, 3, S, S].

        Layers that the source does not have are left out.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProbePoint:
    """A place in the model where values are compared.

    `name`: of the layer, for a reference. `anchor`: the layer whose parameters identify the place in a graph; the value
    is its output, its `input`, or the residual `sum` to which its output is added. `part`: the part of the model to
    report if an error starts here. `width`: number of channels. `block`: whether it ends a block; these probe points
    are compared first, the others only inside the first wrong block.
    """

    name: str
    anchor: str
    side: Literal["output", "input", "sum"]
    part: str
    width: int
    block: bool = False


def probe_points_of(architecture: Architecture, num_classes: int) -> tuple[ProbePoint, ...]:
    """The probe points of a model in the order of execution."""
    if isinstance(architecture, SwinV2Architecture):
        layers = _swinv2(architecture)
    elif isinstance(architecture, PvtV2Architecture):
        layers = _pvt_v2(architecture)
    else:
        raise TypeError(f"the layers of {type(architecture).__name__} are not known")
    width = architecture.num_features
    pooled = ProbePoint(f"head{INPUT}", "head", "input", "embedding", width, block=True)
    return (*layers, pooled, ProbePoint("head", "head", "output", "head", num_classes, block=True))


def _swinv2(architecture: SwinV2Architecture) -> Iterator[ProbePoint]:
    last = len(architecture.depths) - 1
    yield ProbePoint("patch_embed.proj", "patch_embed.proj", "output", "patch_embed", architecture.embed_dim)
    yield ProbePoint(
        "patch_embed.norm", "patch_embed.norm", "output", "patch_embed", architecture.embed_dim, block=True
    )
    for stage, depth in enumerate(architecture.depths):
        dim = architecture.embed_dim * 2**stage
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}"
            # The reference calls the product with qkv's weight as a function, so the layer with this input is attn.
            yield ProbePoint(f"{block}.attn{INPUT}", f"{block}.attn.qkv", "input", block, dim)
            yield ProbePoint(f"{block}.attn.proj", f"{block}.attn.proj", "output", f"{block}.attn", dim)
            yield ProbePoint(f"{block}.norm1", f"{block}.norm1", "output", f"{block}.norm1", dim)
            yield ProbePoint(f"{block}.mlp{INPUT}", f"{block}.mlp.fc1", "input", block, dim)
            hidden = int(dim * architecture.mlp_ratio)
            yield ProbePoint(f"{block}.mlp.fc1", f"{block}.mlp.fc1", "output", f"{block}.mlp", hidden)
            yield ProbePoint(f"{block}.mlp.fc2", f"{block}.mlp.fc2", "output", f"{block}.mlp", dim)
            yield ProbePoint(f"{block}.norm2", f"{block}.norm2", "output", f"{block}.norm2", dim)
            yield ProbePoint(block, f"{block}.norm2", "sum", block, dim, block=True)
        if stage < last:
            merging = f"layers.{stage}.downsample"
            yield ProbePoint(f"{merging}.reduction{INPUT}", f"{merging}.reduction", "input", merging, 4 * dim)
            yield ProbePoint(f"{merging}.reduction", f"{merging}.reduction", "output", merging, 2 * dim)
            yield ProbePoint(f"{merging}.norm", f"{merging}.norm", "output", merging, 2 * dim, block=True)
    yield ProbePoint("norm", "norm", "output", "norm", architecture.num_features, block=True)


def _pvt_v2(architecture: PvtV2Architecture) -> Iterator[ProbePoint]:
    for stage, depth in enumerate(architecture.depths):
        dim, number = architecture.embed_dims[stage], stage + 1
        embed = f"patch_embed{number}"
        yield ProbePoint(f"{embed}.proj", f"{embed}.proj", "output", embed, dim)
        yield ProbePoint(f"{embed}.norm", f"{embed}.norm", "output", embed, dim, block=True)
        for index in range(depth):
            block = f"block{number}.{index}"
            yield ProbePoint(f"{block}.norm1", f"{block}.norm1", "output", f"{block}.norm1", dim)
            attn, mlp = f"{block}.attn", f"{block}.mlp"
            if architecture.linear or architecture.sr_ratios[stage] > 1:
                yield ProbePoint(f"{attn}.sr", f"{attn}.sr", "output", attn, dim)
                yield ProbePoint(f"{attn}.norm", f"{attn}.norm", "output", attn, dim)
            # There is no probe point at the queries, as the scale of the scores may be folded into their weights.
            yield ProbePoint(f"{attn}.kv", f"{attn}.kv", "output", attn, 2 * dim)
            yield ProbePoint(f"{attn}.proj", f"{attn}.proj", "output", attn, dim)
            yield ProbePoint(f"{block}.norm2{INPUT}", f"{block}.norm2", "input", block, dim)
            yield ProbePoint(f"{block}.norm2", f"{block}.norm2", "output", f"{block}.norm2", dim)
            hidden = int(dim * architecture.mlp_ratios[stage])
            yield ProbePoint(f"{mlp}.fc1", f"{mlp}.fc1", "output", mlp, hidden)
            yield ProbePoint(f"{mlp}.dwconv.dwconv", f"{mlp}.dwconv.dwconv", "output", mlp, hidden)
            yield ProbePoint(f"{mlp}.fc2", f"{mlp}.fc2", "output", mlp, dim)
            # A block ends in a sum, which is the input of the next norm.
            following = f"block{number}.{index + 1}.norm1" if index + 1 < depth else f"norm{number}"
            yield ProbePoint(f"{following}{INPUT}", following, "input", block, dim, block=True)
        yield ProbePoint(f"norm{number}", f"norm{number}", "output", f"norm{number}", dim, block=True)
