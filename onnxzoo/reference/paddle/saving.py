"""Writes checkpoints with seeded weights by Paddle itself, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

from ...families import ModelSpec
from ...registry import ModelEntry
from ...weights.seeded import seeded_state
from .build import build_model, load_state, parameter_shapes


def save_seeded_checkpoint(entry: ModelEntry, path: Path, seed: int, num_classes: int = 1000) -> Path:
    """Write seeded weights of a registry entry as Paddle itself writes a `.pdparams` file; returns `path`.

    Raises MissingDependencyError without PaddlePaddle.
    """
    model = build_model(ModelSpec(entry.architecture, entry.image_size, num_classes))
    load_state(model, seeded_state(parameter_shapes(model), seed))
    import paddle

    paddle.save(model.state_dict(), str(path))
    return path
