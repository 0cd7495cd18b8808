"""Compares an engine's inputs and outputs with those of its artifact."""

from __future__ import annotations

from .artifact.folder import INPUT_NAME, OUTPUT_NAMES, Artifact
from .engines.protocol import Engine
from .errors import ArtifactError

LOGITS = OUTPUT_NAMES[0]


def check_interface(artifact: Artifact, engine: Engine) -> None:
    """Raise ArtifactError for a wrong graph, at loading rather than at the first image or the first batch of two."""
    expected = artifact.interface
    if engine.inputs.keys() != expected.inputs.keys():
        raise ArtifactError(
            f"{artifact.folder}: expected one input {INPUT_NAME!r}, the model has {list(engine.inputs)}"
        )
    for name, shape in expected.inputs.items():
        spec = engine.inputs[name]
        if spec.dtype != "float32" or not _fits(spec.shape, shape):
            raise ArtifactError(
                f"{artifact.folder}: the input must be float32 {shape} with a free batch size, "
                f"the model has {spec.dtype} {spec.shape}; export it again"
            )
    if LOGITS not in engine.outputs:
        raise ArtifactError(f"{artifact.folder}: expected an output {LOGITS!r}, the model has {list(engine.outputs)}")
    for name, shape in expected.outputs.items():
        found = engine.outputs.get(name)
        # The engine's library may not know an output's shape before a run.
        if found and (not found.dtype.startswith("float") or (found.shape and not _fits(found.shape, shape))):
            raise ArtifactError(
                f"{artifact.folder}: the output {name!r} must be float32 {shape} with a free batch size, "
                f"the model has {found.dtype} {found.shape}; export it again"
            )


def _fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is compatible with the expected one: the same length, and each size equal or unknown."""
    return len(shape) == len(expected) and all(
        size in (None, wanted) for size, wanted in zip(shape, expected, strict=True)
    )
