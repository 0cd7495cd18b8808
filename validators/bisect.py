"""Finding the layer that drifts: the taps of an engine's model against the reference's layers, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..artifact import Artifact
from ..results import Array, EngineInfo
from .layers import LayerSource


@dataclass(frozen=True, slots=True)
class LayerError:
    """The error of one tap. `name`: of the layer, `NAME:input` for what enters it. `part`: the part of the model that is
    named when the error first shows here. `error`: rms of the difference over the rms of the reference (infinite for
    NaN, infinity or another size). `problem`: what there is to say beyond the number, or "".
    """

    name: str
    part: str
    error: float
    problem: str


@dataclass(frozen=True, slots=True)
class Bisection:
    """Where an engine leaves the reference.

    `layers`: the errors of the taps, in the order of execution. `part`: the first part of the model whose
    error jumps (`layers.2.blocks.5.attn`), None when none does. `before` and `after`: the errors around the jump. `settings`:
    what of the engine's settings could explain it. `message`: the finding in one line, also when layers cannot be matched.
    """

    engine: EngineInfo
    layers: tuple[LayerError, ...]
    part: str | None
    before: LayerError | None
    after: LayerError | None
    settings: tuple[str, ...]
    message: str


def bisect(
    artifact: Artifact,
    engine: str,
    images: Array,
    reference: LayerSource,
    *,
    precision: str = "fp32",
    every_layer: bool = False,
) -> Bisection:
    """Find the first part of the artifact's model that leaves the reference on this engine.

    `images`: float32 [N, 3, S, S], inputs on which the comparison failed; they run as one batch. `reference`: a
    `PaddleEngine` (`--weights`), or `OnnxLayers(other_artifact, engine)` (`--against`). `every_layer`
    (`--layers`): compare every layer; otherwise block by block, and then inside the first bad one.
    """
    raise NotImplementedError
