"""A model of timm's names that computes mean colours times the head's first rows: enough to see its weights."""

import types

import torch

NAMES = {"head.weight", "head.bias", "stages.0.blocks.0.attn.q.weight", "patch_embed.proj.weight"}


class PyramidVisionTransformerV2:
    def __init__(self, num_classes, depths, num_heads, embed_dims, sr_ratios, mlp_ratios, linear):
        assert len(depths) == len(num_heads) == len(embed_dims) == len(sr_ratios) == len(mlp_ratios)
        assert linear is False
        self.num_classes = num_classes

    def load_state_dict(self, state, strict):
        assert strict is False
        self.state = {name: tensor.array for name, tensor in state.items()}
        return types.SimpleNamespace(unexpected_keys=[], missing_keys=[n for n in NAMES if n not in state])

    def named_parameters(self):
        return [(name, None) for name in NAMES]

    def eval(self):
        return self

    def __call__(self, images):
        weight, bias = self.state["head.weight"], self.state["head.bias"]
        assert weight.shape[0] == bias.shape[0] == self.num_classes
        return torch.Tensor(images.array.mean((2, 3)) @ weight[:, :3].T + bias)
