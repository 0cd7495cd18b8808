"""Finds the first wrong layer by comparing an engine with the reference, layer by layer, in the order of execution.

An error jumps at a layer if, in units of the possible rounding noise there (see `layer_errors`), it exceeds LIMIT times
all errors before it. The first such layer is the result, even if the error is much larger later on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..artifact.folder import Artifact
from ..errors import EngineError, InputError
from ..precisions import FP32
from ..results import Array, EngineInfo
from .engine_settings import suspects
from .layer_errors import LIMIT, LayerError, LayerErrors
from .probe_points import LayerSource, ProbePoint


@dataclass(frozen=True, slots=True)
class Bisection:
    """Where an engine diverges from the reference.

    `layers`: the errors of the compared layers, in the order of execution, then those of the outputs. `part`: the first
    part of the model whose error jumps (`layers.2.blocks.5.attn`), None if none does. `before` and `after`: the layers
    around the jump; before is None at the first layer. `elsewhere`: the error after the jump on other engines, by name.
    `settings`: the engine's settings that could explain it. `message`: all of this for people, also if layers cannot
    be compared.
    """

    engine: EngineInfo | None
    layers: tuple[LayerError, ...]
    part: str | None
    before: LayerError | None
    after: LayerError | None
    elsewhere: Mapping[str, float]
    settings: tuple[str, ...]
    message: str


def bisect(
    artifact: Artifact,
    engine: str,
    images: Array,
    reference: LayerSource,
    *,
    precision: str = FP32,
    every_layer: bool = False,
    build: bool = True,
) -> Bisection:
    """Find the first part of the artifact's model that diverges from the reference on this engine.

    `images`: float32 [N, 3, S, S], inputs with a failed comparison; they run as one batch. `reference`: a
    `PaddleEngine` (`--weights`), an `ExactEngine`, or `onnx_layers(artifact, engine)` of another artifact
    (`--against`). `every_layer` (`--layers`): compare every layer, otherwise block by block and then inside the first
    wrong one. `build`: whether to use an engine that takes minutes to build for every few layers.

    Raises EngineUnavailableError, MissingDependencyError (without onnx), InputError for no images and ValidationError
    if a file cannot be read or the reference's values are not finite.
    """
    run = LayerErrors(artifact, engine, images, reference, precision, build=build)
    if not run.points:
        return _not_compared(run, f"{run.source.model_file.name} has no parameters under the checkpoint's names")
    try:
        return _bisect(run, every_layer)
    except (EngineError, InputError) as error:
        return _not_compared(run, f"the model does not run on these {len(images)} images: {error}")


def _bisect(run: LayerErrors, every_layer: bool) -> Bisection:
    outputs = run.compare_outputs()
    layers = run.compare([point for point in run.points if every_layer or point.block])
    if not layers:
        return _not_compared(run, "the reference has no layers under the checkpoint's names")
    found = _first_jump([*layers, *outputs])
    if not every_layer and (found is not None or not run.same_outputs):
        layers = run.compare(_inside(run.points, layers, found))
        found = _first_jump([*layers, *outputs])
    return _report(run, [*layers, *outputs], found)


def _first_jump(layers: Sequence[LayerError]) -> int | None:
    """The index of the first layer whose error, in units of its noise, exceeds LIMIT times all errors before it."""
    largest = 1.0
    for index, layer in enumerate(layers):
        if layer.in_noise > LIMIT * largest:
            return index
        largest = max(largest, layer.in_noise)
    return None


def _inside(points: Sequence[ProbePoint], blocks: Sequence[LayerError], found: int | None) -> list[ProbePoint]:
    """The probe points inside the first wrong block and the one before it, which may have a small error; or all."""
    if found is None:
        return list(points)
    names = [point.name for point in points]
    start = names.index(blocks[found - 2].name) + 1 if found >= 2 else 0
    stop = names.index(blocks[found].name) + 1 if found < len(blocks) else len(names)
    return list(points[start:stop])


def _report(run: LayerErrors, layers: Sequence[LayerError], found: int | None) -> Bisection:
    info = run.source.info
    if found is None:
        return Bisection(info, tuple(layers), None, None, None, {}, (), _without_jump(run, layers))
    after, before = layers[found], layers[found - 1] if found else None
    elsewhere = run.on_other_engines(after.name)
    alike = [name for name, error in elsewhere.items() if error > LIMIT * after.noise]
    settings: tuple[str, ...] = ()
    if info is not None and not alike:
        settings = suspects(info, after.part, after.error, from_the_start=found == 0)
    message = "; ".join(_sentences(run, before, after, elsewhere, alike, settings))
    return Bisection(info, tuple(layers), after.part, before, after, elsewhere, settings, message)


def _sentences(
    run: LayerErrors,
    before: LayerError | None,
    after: LayerError,
    elsewhere: Mapping[str, float],
    alike: Sequence[str],
    settings: Sequence[str],
) -> Iterator[str]:
    source = f"{before.error:.1e} after {before.name}" if before is not None else "nothing before it"
    size = f"the error jumps from {source} to {after.error:.1e}" if math.isfinite(after.error) else after.problem
    yield f"{run.engine_name}: first wrong in {after.part}: at {after.name} {size} (rounding makes {after.noise:.0e})"
    if unseen := run.unseen(before.name if before is not None else None, after.name):
        more = f" and {len(unseen) - 3} more" if len(unseen) > 3 else ""
        yield f"or before it in {', '.join(unseen[:3])}{more}, which the file lacks under the checkpoint's names"
    if alike:
        yield f"{', '.join(alike)} {'does' if len(alike) == 1 else 'do'} the same: the fault is in the model file"
    elif elsewhere:
        yield f"right on {', '.join(elsewhere)}: the fault is in this engine or its settings"
    if settings:
        yield f"could be {' or '.join(settings)}"
    if run.healed_by:
        yield f"it disappears with {', '.join(run.healed_by[:3])} marked as outputs, so a fusion there causes it"


def _without_jump(run: LayerErrors, layers: Sequence[LayerError]) -> str:
    worst = max(layers, key=lambda layer: layer.in_noise)
    figures = f"the largest is {worst.error:.1e} at {worst.name}, where rounding makes {worst.noise:.0e}"
    if run.healed_by:
        return (
            f"{run.engine_name}: the error is gone with tensors marked as outputs, so it arises in what the engine "
            f"fuses around {', '.join(run.healed_by[:3])}"
        )
    if worst.in_noise <= LIMIT:
        return (
            f"{run.engine_name}: no layer differs from the reference by more than rounding on these images: {figures}"
        )
    return f"{run.engine_name}: the error grows from layer to layer without a jump: {figures}"


def _not_compared(run: LayerErrors, why: str) -> Bisection:
    example = f"{run.wanted[0].anchor}.weight"
    needed = "" if run.points else f", such as {example}: 'onnxzoo export' writes files that have them"
    message = f"{run.engine_name}: layers cannot be compared: {why}{needed}"
    return Bisection(run.source.info, (), None, None, None, {}, (), message)
