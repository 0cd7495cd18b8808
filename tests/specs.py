"""Small models with all that the families have, and one of each at its real size."""

from __future__ import annotations

import dataclasses

from onnxzoo.families import ModelSpec
from onnxzoo.reference.exact.engine import ExactEngine, exact_model
from onnxzoo.registry import find
from onnxzoo.weights.seeded import seeded_state

SWIN = dataclasses.replace(find("swinv2_tiny_w8").architecture, embed_dim=48, depths=(2, 3, 2, 2))
PVT = dataclasses.replace(find("pvt_v2_b0").architecture, embed_dims=(8, 16, 20, 32))
SPECS = {
    "swinv2 shifts in three stages": ModelSpec(dataclasses.replace(SWIN, window_size=2), 64, 5),
    "swinv2 two by two windows": ModelSpec(dataclasses.replace(SWIN, window_size=8), 64, 5),
    "swinv2 one window": ModelSpec(dataclasses.replace(SWIN, window_size=16), 64, 5),
    "swinv2 windows of one token": ModelSpec(dataclasses.replace(SWIN, window_size=4), 32, 5),
    "swinv2 odd windows": ModelSpec(dataclasses.replace(SWIN, window_size=3), 96, 5),
    "swinv2 pre-trained windows": ModelSpec(
        dataclasses.replace(SWIN, window_size=4, pretrained_window_sizes=(3, 3, 3, 2)), 64, 5
    ),
    "pvt_v2": ModelSpec(PVT, 64, 5),
    "pvt_v2 linear, whole bins": ModelSpec(dataclasses.replace(PVT, linear=True), 224, 5),
    "pvt_v2 linear, overlapping bins": ModelSpec(dataclasses.replace(PVT, linear=True), 96, 5),
    "swinv2_tiny_w8": ModelSpec(find("swinv2_tiny_w8").architecture, 256, 1000),
    "pvt_v2_b0": ModelSpec(find("pvt_v2_b0").architecture, 224, 1000),
}


def seeded_engine(spec: ModelSpec) -> ExactEngine:
    """The exact reference with seeded weights."""
    return ExactEngine.open(spec, seeded_state(exact_model(spec).shapes, 5))
