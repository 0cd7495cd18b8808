"""The names of Swin Transformer V2's parameters in timm and transformers.

timm's files come with timm's own names or with those of the papers' authors, which are Paddle's. Read from timm 1.0.31
and transformers 5.23.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..family import Architecture, Names, Naming, Rules

TRANSFORMERS: Rules = (
    (r"^swinv2\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers\.", "layers."),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)

INVERSE_TIMM: Rules = (
    # In timm, downsampling belongs to the stage after it.
    (r"^layers\.(\d{1,3})\.downsample\.", lambda match: f"layers.{int(match[1]) + 1}.downsample."),
    (r"^head\.", "head.fc."),
)

INVERSE_TRANSFORMERS: Rules = (
    (r"^patch_embed\.proj\.", "swinv2.embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "swinv2.embeddings.norm."),
    (r"^layers\.", "swinv2.encoder.layers."),
    (r"\.attn\.cpb_mlp\.", ".attention.self.continuous_position_bias_mlp."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"^norm\.", "swinv2.layernorm."),
    (r"^head\.", "classifier."),
)

JOINED = (
    ("qkv.weight", ("query.weight", "key.weight", "value.weight")),
    ("q_bias", ("query.bias",)),
    ("v_bias", ("value.bias",)),
)

_DOWNSAMPLE = re.compile(r"^layers\.(\d{1,3})\.downsample\.")


def settled(names: Mapping[str, str], naming: Naming, architecture: Architecture) -> tuple[dict[str, str], Naming]:
    """Tell timm's files from Paddle's, which share all names but two, and map those two to Paddle's."""
    if naming != "paddle":
        return dict(names), naming
    if any(name.startswith(f"layers.{len(architecture.depths) - 1}.downsample.") for name in names):
        # In Paddle, downsampling belongs to the stage before it, so the last stage has none; in timm to the one after.
        def earlier(name: str) -> str:
            return _DOWNSAMPLE.sub(lambda match: f"layers.{int(match[1]) - 1}.downsample.", name)

        return {name: earlier(paddle) for name, paddle in names.items()}, "timm"
    return dict(names), "timm" if "head.fc.weight" in names else naming


NAMES = Names(
    signatures={
        "transformers": r"(swinv2\.)?encoder\.layers\.\d+\.blocks\.\d+\.attention\.self\.",
        "paddle": r"layers\.\d+\.blocks\.\d+\.attn\.(logit_scale|cpb_mlp\.)",
    },
    rules={"paddle": ((r"^head\.fc\.", "head."),), "transformers": TRANSFORMERS},
    inverse={"timm": INVERSE_TIMM, "transformers": INVERSE_TRANSFORMERS},
    joined=JOINED,
    buffers=frozenset({"relative_coords_table", "relative_position_index", "attn_mask", "k_bias"}),
    settled=settled,
)
