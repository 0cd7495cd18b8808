"""Bring the weights of Paddle, timm and transformers to one naming and layout: Paddle's.

Three things differ between them: the names, the layout of linear weights (Paddle [in, out], PyTorch [out, in]),
and whether query, key and value are one matrix. Convolutions are [out, in, kh, kw] everywhere. In both families
every 2-D parameter named `weight` is a linear layer's. The names were read from PaddleClas release/2.5.1,
timm 1.0.31 and transformers 5.23.

timm's files come with timm's own names or with those of the papers' authors. The authors' names are Paddle's
names, so there only the layout tells the two apart; it is read from the shapes, never from the names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError
from ..families import Architecture

Naming: TypeAlias = Literal["paddle", "timm", "transformers"]
Array: TypeAlias = npt.NDArray[Any]

BUFFERS = frozenset({"relative_coords_table", "relative_position_index", "attn_mask", "k_bias"})
"""Last parts of names of SwinV2's constants. Models regenerate them and never trust a file's."""

MAX_WRAPPERS = 8
"""Parts that are looked for in front of all names; two or three are seen."""

_SIGNATURES: tuple[tuple[str, Naming, re.Pattern[str]], ...] = (
    ("swinv2", "transformers", re.compile(r"(swinv2\.)?encoder\.layers\.\d+\.blocks\.\d+\.attention\.self\.")),
    ("swinv2", "paddle", re.compile(r"layers\.\d+\.blocks\.\d+\.attn\.(logit_scale|cpb_mlp\.)")),
    ("pvt_v2", "transformers", re.compile(r"(pvt_v2\.)?encoder\.layers\.\d+\.blocks\.\d+\.attention\.(query|value)\.")),
    ("pvt_v2", "timm", re.compile(r"stages\.\d+\.blocks\.\d+\.attn\.(q|kv)\.")),
    ("pvt_v2", "paddle", re.compile(r"block\d+\.\d+\.attn\.(q|kv)\.")),
)
"""Names that only one family in one naming has. timm's SwinV2 shares Paddle's and is told apart later."""


def _next(template: str) -> Any:
    """A replacement that numbers stages from 1, as Paddle's PVTv2 does, instead of from 0."""
    return lambda match: template.format(int(match[1]) + 1)


_RULES: Mapping[tuple[str, Naming], tuple[tuple[str, Any], ...]] = {
    ("swinv2", "paddle"): ((r"^head\.fc\.", "head."),),
    ("swinv2", "transformers"): (
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
    ),
    ("pvt_v2", "paddle"): (),
    ("pvt_v2", "timm"): (
        (r"^patch_embed\.", "patch_embed1."),
        (r"^stages\.(\d{1,3})\.downsample\.", _next("patch_embed{}.")),
        (r"^stages\.(\d{1,3})\.blocks\.", _next("block{}.")),
        (r"^stages\.(\d{1,3})\.norm\.", _next("norm{}.")),
        (r"\.mlp\.dwconv\.(?!dwconv\.)", ".mlp.dwconv.dwconv."),
    ),
    ("pvt_v2", "transformers"): (
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
    ),
}

_FUSED: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "swinv2": (
        ("qkv.weight", ("query.weight", "key.weight", "value.weight")),
        ("q_bias", ("query.bias",)),
        ("v_bias", ("value.bias",)),
    ),
    "pvt_v2": (
        ("q.weight", ("query.weight",)),
        ("q.bias", ("query.bias",)),
        ("kv.weight", ("key.weight", "value.weight")),
        ("kv.bias", ("key.bias", "value.bias")),
    ),
}
"""Paddle's attention parameters and the parts of them in transformers, joined along the output axis."""


def without_prefix(state: Mapping[str, Array]) -> tuple[dict[str, Array], str]:
    """The arrays without the parts that every name begins with before a known naming starts, and these parts.

    Wrappers of models prepend such parts to all names: `module.` (data parallel), `_layers.` (Paddle's), `model.`,
    `backbone.`, `Student.` (distillation), `_orig_mod.` (torch.compile), and several in each other. Nothing is
    stripped, and the parts are "", when that makes no known naming of the names.
    """
    # What the least and the greatest name share, all between them share.
    shared = os.path.commonprefix([min(state, default=""), max(state, default="")])  # noqa: RUF071 - no paths
    place = 0
    for _ in range(MAX_WRAPPERS + 1):
        if any(pattern.match(name, place) for name in state for _, _, pattern in _SIGNATURES):
            return {name[place:]: array for name, array in state.items()}, shared[:place]
        place = shared.find(".", place) + 1
        if not place:
            break
    return dict(state), ""


def to_paddle(state: Mapping[str, Array], family: str, architecture: Architecture) -> tuple[dict[str, Array], Naming]:
    """The parameters of `state` under Paddle's names, linear weights as [in, out], and the naming that it came in.

    `state` maps names to arrays; element types are kept, buffers are left out. Names that belong to no known
    parameter are kept, for whoever loads the state to report.

    Raises CheckpointError when the names are of no known naming of `family`, when two names stand for one
    parameter, when parts of a joined parameter are missing or differ in shape, or when the layout contradicts itself.
    """
    renamed, naming = _renamed(state, family, architecture)
    parameters = {name: array for name, array in renamed.items() if not _is_buffer(name)}
    layout = _linear_layout(parameters)
    if layout == "torch" or (layout is None and naming != "paddle"):
        parameters = {
            name: np.ascontiguousarray(array.T) if name.endswith(".weight") and array.ndim == 2 else array
            for name, array in parameters.items()
        }
        naming = "timm" if naming == "paddle" else naming
    if naming == "transformers":
        parameters = _fused(parameters, family)
    return parameters, naming


def buffers(state: Mapping[str, Array], family: str, architecture: Architecture) -> dict[str, Array]:
    """The buffers of `state` under Paddle's names. Only their shapes are of use; raises like `to_paddle`."""
    renamed, _ = _renamed(state, family, architecture)
    return {name: array for name, array in renamed.items() if _is_buffer(name)}


def _is_buffer(name: str) -> bool:
    return name.rpartition(".")[2] in BUFFERS


def _recognised(state: Mapping[str, Array], family: str) -> Naming:
    found = {(of, naming) for name in state for of, naming, pattern in _SIGNATURES if pattern.match(name)}
    namings = [naming for of, naming in found if of == family]
    if len(namings) == 1:
        return namings[0]
    if len(namings) > 1:
        raise CheckpointError(f"the weights mix the names of {' and '.join(sorted(namings))}; expected one naming")
    if found:
        others = " and ".join(sorted({of for of, _ in found}))
        raise CheckpointError(f"the weights are of {others}, expected {family}; choose a {others} model for them")
    sample = ", ".join(ascii(name[:60]) for name in list(state)[:3]) or "none"
    raise CheckpointError(
        f"the weights have no names of {family} in Paddle, timm or transformers (first names: {sample}); "
        "give the checkpoint of an image classifier of this family"
    )


def _renamed(state: Mapping[str, Array], family: str, architecture: Architecture) -> tuple[dict[str, Array], Naming]:
    naming = _recognised(state, family)
    rules = [(re.compile(pattern), replacement) for pattern, replacement in _RULES[family, naming]]
    names = {}
    for name in state:
        paddle = name
        for pattern, replacement in rules:
            paddle = pattern.sub(replacement, paddle)
        names[name] = paddle
    if family == "swinv2" and naming == "paddle":
        if any(name.startswith(f"layers.{len(architecture.depths) - 1}.downsample.") for name in names):
            # Paddle's last stage has no downsampling; timm counts it to the stage after it, so its first has none.
            naming = "timm"
            shift = re.compile(r"^layers\.(\d{1,3})\.downsample\.")
            names = {
                name: shift.sub(lambda m: f"layers.{int(m[1]) - 1}.downsample.", paddle)
                for name, paddle in names.items()
            }
        elif "head.fc.weight" in state:
            naming = "timm"
    owners: dict[str, str] = {}
    for name, paddle in names.items():
        if paddle in owners:
            raise CheckpointError(f"the weights hold {paddle!r} twice, as {owners[paddle]!r} and as {name!r}")
        owners[paddle] = name
    return {paddle: state[name] for name, paddle in names.items()}, naming


def _linear_layout(parameters: Mapping[str, Array]) -> Literal["paddle", "torch"] | None:
    """Which axis of the linear weights is the output: the one as long as the bias. None if all are square."""
    evidence: dict[Literal["paddle", "torch"], str] = {}
    for name, weight in parameters.items():
        bias = parameters.get(f"{name.removesuffix('.weight')}.bias")
        if not name.endswith(".weight") or weight.ndim != 2 or bias is None or weight.shape[0] == weight.shape[1]:
            continue
        if bias.shape == weight.shape[1:]:
            evidence.setdefault("paddle", name)
        elif bias.shape == weight.shape[:1]:
            evidence.setdefault("torch", name)
    if len(evidence) == 2:
        raise CheckpointError(
            f"the weights have two layouts: {evidence['paddle']!r} is [in, out] and {evidence['torch']!r} is "
            "[out, in]; expected one throughout"
        )
    return next(iter(evidence), None)


def _fused(parameters: Mapping[str, Array], family: str) -> dict[str, Array]:
    """Join transformers' query, key and value as Paddle does; weights are [in, out] already."""
    result = dict(parameters)
    for prefix in [name[: -len("query.weight")] for name in parameters if name.endswith(".attn.query.weight")]:
        for whole, parts in _FUSED[family]:
            present = [prefix + part for part in parts if prefix + part in result]
            if not present:
                continue  # a model without this bias; whoever loads the state knows whether it needs one
            if len(present) < len(parts):
                missing = sorted({prefix + part for part in parts} - set(present))
                raise CheckpointError(f"the weights have {present[0]!r} but lack {', '.join(missing)}")
            arrays = [result.pop(name) for name in present]
            if len({array.shape for array in arrays}) > 1 or arrays[0].ndim == 0:
                shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(present, arrays, strict=True))
                raise CheckpointError(f"the weights of one attention differ in shape: {shapes}")
            result[prefix + whole] = np.concatenate(arrays, axis=-1)
    return result
