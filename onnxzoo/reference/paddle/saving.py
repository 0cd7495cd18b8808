"""Writes checkpoints and static programs by Paddle itself, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

from ...artifact.folder import INPUT_NAME
from ...families import ModelSpec
from ...families.family import State
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


def save_program(spec: ModelSpec, state: State, path: Path) -> tuple[Path, Path]:
    """Write the static program that PaddleClas's export would give, logits only, for any batch size.

    `state`: the parameters in Paddle's names and layout. Returns the program, `path`.json, and its parameters,
    `path`.pdiparams. Raises MissingDependencyError without PaddlePaddle, CheckpointError for weights that do not fit.
    """
    model = build_model(spec)
    load_state(model, state)
    import paddle
    from paddle.static import InputSpec

    image = InputSpec([None, 3, spec.image_size, spec.image_size], "float32", INPUT_NAME)
    paddle.jit.save(model, str(path), input_spec=[image])
    return path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.pdiparams")
