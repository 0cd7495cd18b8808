"""Weights as their publishers have them: safetensors in timm's names and layout, here with seeded numbers."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxzoo.families import ModelSpec
from onnxzoo.reference.exact.engine import exact_model
from onnxzoo.registry import ModelEntry, labels
from onnxzoo.weights.seeded import seeded_state

State = dict[str, Any]


def timm_name(name: str) -> str:
    """Paddle's name of a parameter in timm's naming, written out from timm 1.0.31."""

    def number(template: str, step: int) -> Callable[[re.Match[str]], str]:
        return lambda match: template.format(int(match[1]) + step)

    for pattern, replacement in (
        # Swin Transformer V2
        (r"^layers\.(\d+)\.downsample\.", number("layers.{}.downsample.", 1)),
        # PVTv2
        (r"^patch_embed1\.", lambda _match: "patch_embed."),
        (r"^patch_embed(\d)\.", number("stages.{}.downsample.", -1)),
        (r"^block(\d)\.", number("stages.{}.blocks.", -1)),
        (r"^norm(\d)\.", number("stages.{}.norm.", -1)),
        (r"\.dwconv\.dwconv\.", lambda _match: ".dwconv."),
    ):
        name = re.sub(pattern, replacement, name)
    return name


def seeded(entry: ModelEntry, seed: int = 3, classes: int | None = None) -> State:
    """Seeded parameters of a registry's model, in Paddle's naming and layout."""
    spec = ModelSpec(entry.architecture, entry.image_size, classes or len(labels(entry.labels)))
    return dict(seeded_state(exact_model(spec).shapes, seed))


def as_timm(entry: ModelEntry, state: Mapping[str, Any]) -> State:
    """The same in timm's: linear weights [out, in]."""
    head = "head.fc." if entry.family == "swinv2" else "head."
    return {
        timm_name(name).replace("head.", head) if name.startswith("head.") else timm_name(name): (
            np.ascontiguousarray(array.T) if array.ndim == 2 and name.endswith("weight") else array
        )
        for name, array in state.items()
    }


def write_safetensors(path: Path, state: Mapping[str, Any]) -> Path:
    """A safetensors file of float32 tensors; written here, so that it does not depend on what reads it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, array in state.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in state.values():
            file.write(np.ascontiguousarray(array, "<f4").tobytes())
    return path


def official_file(entry: ModelEntry, path: Path, seed: int = 3) -> Path:
    """The official weights of a model as they lie on the Hub, with seeded numbers."""
    return write_safetensors(path, as_timm(entry, seeded(entry, seed)))
