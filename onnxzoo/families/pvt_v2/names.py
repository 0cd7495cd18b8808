"""The names of PVTv2's parameters in timm and transformers. Read from timm 1.0.31 and transformers 5.23."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..family import Names, Rules


def _next(template: str) -> Callable[[re.Match[str]], str]:
    """A replacement that numbers stages from 1 as Paddle does, not from 0."""
    return lambda match: template.format(int(match[1]) + 1)


TIMM: Rules = (
    (r"^patch_embed\.", "patch_embed1."),
    (r"^stages\.(\d{1,3})\.downsample\.", _next("patch_embed{}.")),
    (r"^stages\.(\d{1,3})\.blocks\.", _next("block{}.")),
    (r"^stages\.(\d{1,3})\.norm\.", _next("norm{}.")),
    (r"\.mlp\.dwconv\.(?!dwconv\.)", ".mlp.dwconv.dwconv."),
)

TRANSFORMERS: Rules = (
    (r"^pvt_v2\.", ""),
    (r"\.patch_embedding\.layer_norm\.", ".patch_embedding.norm."),
    (r"^encoder\.layers\.(\d{1,3})\.patch_embedding\.", _next("patch_embed{}.")),
    (r"^encoder\.layers\.(\d{1,3})\.blocks\.", _next("block{}.")),
    (r"^encoder\.layers\.(\d{1,3})\.layer_norm\.", _next("norm{}.")),
    (r"\.layer_norm_([12])\.", r".norm\1."),
    (r"\.attention\.spatial_reduction\.", ".attn.sr."),
    (r"\.attention\.layer_norm\.", ".attn.norm."),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
    (r"^classifier\.", "head."),
)


def _previous(template: str) -> Callable[[re.Match[str]], str]:
    """A replacement that numbers stages from 0, not from 1 as Paddle does."""
    return lambda match: template.format(int(match[1]) - 1)


INVERSE_TIMM: Rules = (
    (r"^patch_embed1\.", "patch_embed."),
    (r"^patch_embed(\d{1,3})\.", _previous("stages.{}.downsample.")),
    (r"^block(\d{1,3})\.", _previous("stages.{}.blocks.")),
    (r"^norm(\d{1,3})\.", _previous("stages.{}.norm.")),
    (r"\.mlp\.dwconv\.dwconv\.", ".mlp.dwconv."),
)

INVERSE_TRANSFORMERS: Rules = (
    (r"^patch_embed(\d{1,3})\.", _previous("pvt_v2.encoder.layers.{}.patch_embedding.")),
    (r"\.patch_embedding\.norm\.", ".patch_embedding.layer_norm."),
    (r"^block(\d{1,3})\.", _previous("pvt_v2.encoder.layers.{}.blocks.")),
    (r"^norm(\d{1,3})\.", _previous("pvt_v2.encoder.layers.{}.layer_norm.")),
    (r"\.norm([12])\.", r".layer_norm_\1."),
    (r"\.attn\.sr\.", ".attention.spatial_reduction."),
    (r"\.attn\.norm\.", ".attention.layer_norm."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.fc([12])\.", r".mlp.dense\1."),
    (r"^head\.", "classifier."),
)

JOINED = (
    ("q.weight", ("query.weight",)),
    ("q.bias", ("query.bias",)),
    ("kv.weight", ("key.weight", "value.weight")),
    ("kv.bias", ("key.bias", "value.bias")),
)

NAMES = Names(
    signatures={
        "transformers": r"(pvt_v2\.)?encoder\.layers\.\d+\.blocks\.\d+\.attention\.(query|value)\.",
        "timm": r"stages\.\d+\.blocks\.\d+\.attn\.(q|kv)\.",
        "paddle": r"block\d+\.\d+\.attn\.(q|kv)\.",
    },
    rules={"paddle": (), "timm": TIMM, "transformers": TRANSFORMERS},
    inverse={"timm": INVERSE_TIMM, "transformers": INVERSE_TRANSFORMERS},
    joined=JOINED,
)
