"""Records outputs of an independent implementation (Hugging Face transformers, PyTorch, float64) as golden files.

Run by hand, see README.md. Knows nothing of Paddle and nothing of `onnxzoo.weights.naming`: the mapping of
names below was written separately, so that one mistake cannot hide in both.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import PvtV2Config, PvtV2ForImageClassification, Swinv2Config, Swinv2ForImageClassification
from transformers.models.pvt_v2.modeling_pvt_v2 import PvtV2OverlapPatchEmbeddings, PvtV2SelfAttention
from transformers.models.swinv2.modeling_swinv2 import Swinv2Layer

from onnxzoo import registry
from onnxzoo.weights.seeded import seeded_images, seeded_state

MODELS = (
    "pvt_v2_b0", "pvt_v2_b2", "pvt_v2_b2_linear", "pvt_v2_b5", "swinv2_tiny_w8", "swinv2_tiny_w16", "swinv2_base_w24",
)  # fmt: skip
GOLDEN = Path(__file__).parent / "golden"
CLASSES = 1000
WEIGHT_SEED, IMAGE_SEED, IMAGES = 20211118, 20210625, 2

# (pattern of a transformers name, Paddle name, position in a fused tensor, parts of that tensor)
SWINV2_NAMES = [
    (r"swinv2\.embeddings\.patch_embeddings\.projection\.(.*)", r"patch_embed.proj.\1", 0, 1),
    (r"swinv2\.embeddings\.norm\.(.*)", r"patch_embed.norm.\1", 0, 1),
    (r"swinv2\.encoder\.(.*)\.attention\.self\.logit_scale", r"\1.attn.logit_scale", 0, 1),
    (r"swinv2\.encoder\.(.*)\.attention\.self\.continuous_position_bias_mlp\.(.*)", r"\1.attn.cpb_mlp.\2", 0, 1),
    (r"swinv2\.encoder\.(.*)\.attention\.self\.query\.weight", r"\1.attn.qkv.weight", 0, 3),
    (r"swinv2\.encoder\.(.*)\.attention\.self\.key\.weight", r"\1.attn.qkv.weight", 1, 3),
    (r"swinv2\.encoder\.(.*)\.attention\.self\.value\.weight", r"\1.attn.qkv.weight", 2, 3),
    (r"swinv2\.encoder\.(.*)\.attention\.self\.query\.bias", r"\1.attn.q_bias", 0, 1),
    (r"swinv2\.encoder\.(.*)\.attention\.self\.value\.bias", r"\1.attn.v_bias", 0, 1),
    (r"swinv2\.encoder\.(.*)\.attention\.output\.dense\.(.*)", r"\1.attn.proj.\2", 0, 1),
    (r"swinv2\.encoder\.(.*)\.layernorm_before\.(.*)", r"\1.norm1.\2", 0, 1),
    (r"swinv2\.encoder\.(.*)\.layernorm_after\.(.*)", r"\1.norm2.\2", 0, 1),
    (r"swinv2\.encoder\.(.*)\.intermediate\.dense\.(.*)", r"\1.mlp.fc1.\2", 0, 1),
    (r"swinv2\.encoder\.(.*)\.output\.dense\.(.*)", r"\1.mlp.fc2.\2", 0, 1),
    (r"swinv2\.encoder\.(.*\.downsample\..*)", r"\1", 0, 1),
    (r"swinv2\.layernorm\.(.*)", r"norm.\1", 0, 1),
    (r"classifier\.(.*)", r"head.\1", 0, 1),
]
# `#` stands for the stage counted from 1.
PVT_V2_NAMES = [
    (r"patch_embedding\.proj\.(.*)", r"patch_embed#.proj.\1", 0, 1),
    (r"patch_embedding\.layer_norm\.(.*)", r"patch_embed#.norm.\1", 0, 1),
    (r"layer_norm\.(.*)", r"norm#.\1", 0, 1),
    (r"blocks\.(\d+)\.layer_norm_(\d)\.(.*)", r"block#.\1.norm\2.\3", 0, 1),
    (r"blocks\.(\d+)\.attention\.query\.(.*)", r"block#.\1.attn.q.\2", 0, 1),
    (r"blocks\.(\d+)\.attention\.key\.(.*)", r"block#.\1.attn.kv.\2", 0, 2),
    (r"blocks\.(\d+)\.attention\.value\.(.*)", r"block#.\1.attn.kv.\2", 1, 2),
    (r"blocks\.(\d+)\.attention\.proj\.(.*)", r"block#.\1.attn.proj.\2", 0, 1),
    (r"blocks\.(\d+)\.attention\.spatial_reduction\.(.*)", r"block#.\1.attn.sr.\2", 0, 1),
    (r"blocks\.(\d+)\.attention\.layer_norm\.(.*)", r"block#.\1.attn.norm.\2", 0, 1),
    (r"blocks\.(\d+)\.mlp\.dense(\d)\.(.*)", r"block#.\1.mlp.fc\2.\3", 0, 1),
    (r"blocks\.(\d+)\.mlp\.dwconv\.dwconv\.(.*)", r"block#.\1.mlp.dwconv.dwconv.\2", 0, 1),
]


def paddle_name(name: str) -> tuple[str, int, int]:
    """Paddle name of a transformers parameter, its position in a fused tensor, and that tensor's number of parts."""
    rules, stage = SWINV2_NAMES, 0
    found = re.fullmatch(r"pvt_v2\.encoder\.layers\.(\d+)\.(.*)", name)
    if found:
        rules, stage, name = PVT_V2_NAMES, int(found[1]) + 1, found[2]
    for pattern, replacement, part, parts in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement).replace("#", str(stage)), part, parts
    raise SystemExit(f"record.py has no rule for the parameter {name}")


def build(entry: registry.ModelEntry) -> torch.nn.Module:
    """The transformers model of a registry entry, eval mode, put right where it differs from the papers' code."""
    arch = entry.architecture
    if entry.family == "swinv2":
        config = Swinv2Config(
            image_size=entry.image_size, patch_size=arch.patch_size, embed_dim=arch.embed_dim, depths=list(arch.depths),
            num_heads=list(arch.num_heads), window_size=arch.window_size, mlp_ratio=arch.mlp_ratio, layer_norm_eps=1e-5,
            pretrained_window_sizes=list(arch.pretrained_window_sizes), num_labels=CLASSES,
        )  # fmt: skip
        return Swinv2ForImageClassification(config).eval()
    config = PvtV2Config(
        image_size=entry.image_size, num_encoder_blocks=len(arch.depths), hidden_sizes=list(arch.embed_dims),
        depths=list(arch.depths),
        num_attention_heads=list(arch.num_heads), sr_ratios=list(arch.sr_ratios), mlp_ratios=list(arch.mlp_ratios),
        linear_attention=arch.linear, layer_norm_eps=1e-6, num_labels=CLASSES,
    )  # fmt: skip
    model = PvtV2ForImageClassification(config).eval()
    for module in model.modules():
        # The papers' code makes these two norms with a bare nn.LayerNorm, whose default is 1e-5;
        # transformers gives its one layer_norm_eps to all.
        if isinstance(module, (PvtV2OverlapPatchEmbeddings, PvtV2SelfAttention)) and hasattr(module, "layer_norm"):
            module.layer_norm.eps = 1e-5
    return model


def halve_swinv2_masks() -> None:
    """transformers adds the -100 mask of shifted windows twice; the papers' code adds it once."""
    original = Swinv2Layer.get_attn_mask

    def halved(self: Swinv2Layer, *args: object, **kwargs: object) -> torch.Tensor | None:
        mask = original(self, *args, **kwargs)
        return None if mask is None else mask / 2

    Swinv2Layer.get_attn_mask = halved


def set_seeded_weights(model: torch.nn.Module, seed: int) -> None:
    """Fill `model` with `seeded_state`, made in Paddle's names and layout and split and transposed from there."""
    placed = {name: paddle_name(name) for name, _ in model.named_parameters()}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, parameter in model.named_parameters():
        target, _, parts = placed[name]
        shape = tuple(parameter.shape[::-1]) if parameter.ndim == 2 else tuple(parameter.shape)
        shapes[target] = (*shape[:-1], shape[-1] * parts) if parts > 1 else shape
    state = seeded_state(shapes, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            target, part, parts = placed[name]
            value = np.split(state[target], parts, axis=-1)[part] if parts > 1 else state[target]
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value.T if parameter.ndim == 2 else value)))


def features_and_logits(model: torch.nn.Module, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Input and output of the classification head: [N, features], [N, classes]."""
    seen: list[torch.Tensor] = []
    hook = model.classifier.register_forward_hook(lambda _layer, inputs, output: seen.extend((inputs[0], output)))
    model(images)
    hook.remove()
    return seen[0].numpy(), seen[1].numpy()


def main(names: list[str]) -> None:
    """Record the named models, or all of MODELS, and print how far the oracle's own float32 is from its float64."""
    torch.manual_seed(0)
    halve_swinv2_masks()
    GOLDEN.mkdir(exist_ok=True)
    for name in names or MODELS:
        entry = registry.models()[name]
        model = build(entry)
        set_seeded_weights(model, WEIGHT_SEED)
        images = torch.from_numpy(seeded_images(entry.image_size, IMAGES, IMAGE_SEED))
        with torch.no_grad():
            single = model(images).logits.numpy()
            features, logits = features_and_logits(model.double(), images.double())
        np.savez_compressed(
            GOLDEN / f"{name}.npz",
            logits=logits.astype(np.float32),
            embedding=features.astype(np.float32),
            weight_seed=WEIGHT_SEED,
            image_seed=IMAGE_SEED,
            recorded_with=f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, float64",
        )
        noise, between = abs(single - logits).max(), abs(logits[0] - logits[1]).mean()
        print(
            f"{name}: |logits| up to {abs(logits).max():.2f}, std {logits.std():.2f}, "
            f"float32 differs by {noise:.1e}, images differ by {between:.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
