"""Finding the layer that drifts: an engine's values against the reference's, layer by layer, in the order of execution.

What is noise is not guessed but measured: the reference runs a second time on images changed by about a rounding error
of the artifact's precision, and what that makes of a layer's values is the noise of that layer. It grows with depth and
with whatever else amplifies errors in this model with these weights. An error jumps where, in units of that noise, it
exceeds JUMP times all that came before it. Measured on 19 models with seeded weights (6 to 30 blocks, on both engines;
noise, gradients, zeros, two-valued and one-pixel images): rounding alone never grew by more than 1.2 times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..artifact import Artifact
from ..engines import ENGINES
from ..errors import EngineError, EngineUnavailableError, InputError, ValidationError
from ..results import Array, EngineInfo
from .engine_settings import suspects
from .graph_taps import OnnxLayers
from .layers import INPUT, LayerSource, Permutation, Tap, relative_error, taps_of, token_orders

JUMP = 3.0
NOISE: Mapping[str, float] = {"fp32": 1e-6, "fp16": 1e-3, "int8": 3e-2}
"""The relative size of what counts as rounding, by the precision of the ONNX file."""
NOISE_SEED = 11
# The model's outputs, and the layers of the reference that give the same values.
OUTPUTS = {"embedding": f"head{INPUT}", "logits": "head"}


@dataclass(frozen=True, slots=True)
class LayerError:
    """The error of one layer.

    `name`: of the layer, `NAME:input` for what enters it, or of an output of the model. `part`: the part of the model
    to name when the error first shows here. `error`: rms of the difference over the rms of the reference, for the worst
    image; infinite for NaN, infinity or another shape, of which `problem` then says more. `noise`: what rounding can
    make here.
    """

    name: str
    part: str
    error: float
    noise: float
    problem: str

    @property
    def in_noise(self) -> float:
        """The error in units of the noise."""
        return self.error / self.noise


@dataclass(frozen=True, slots=True)
class Bisection:
    """Where an engine leaves the reference.

    `layers`: the errors of the layers that were compared, in the order of execution, then those of the outputs.
    `part`: the first part of the model whose error jumps (`layers.2.blocks.5.attn`), None when none does. `before` and
    `after`: the layers around the jump; before is None at the first layer. `elsewhere`: the error after the jump on
    other engines, by name. `settings`: the engine's settings that could explain it. `message`: all of this for people,
    also when layers cannot be compared.
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
    precision: str = "fp32",
    every_layer: bool = False,
) -> Bisection:
    """Find the first part of the artifact's model that leaves the reference on this engine.

    `images`: float32 [N, 3, S, S], inputs on which the comparison failed; they run as one batch. `reference`: a
    `PaddleEngine` (`--weights`), or `onnx_layers(artifact, engine)` of another artifact (`--against`). `every_layer`
    (`--layers`): compare every layer, otherwise block by block and then inside the first bad one.

    Raises EngineUnavailableError, MissingDependencyError (without onnx), InputError for no images and ValidationError
    when a file cannot be read or the reference's own values are not finite.
    """
    run = _Run(artifact, engine, images, reference, precision)
    if not run.taps:
        return _not_compared(run, f"{run.source.model_file.name} has no parameters under the checkpoint's names")
    try:
        return _bisect(run, every_layer)
    except (EngineError, InputError) as error:
        return _not_compared(run, f"the model does not run on these {len(images)} images: {error}")


def _bisect(run: _Run, every_layer: bool) -> Bisection:
    outputs = run.compare_outputs()
    layers = run.compare([tap for tap in run.taps if every_layer or tap.block])
    if not layers:
        return _not_compared(run, "the reference has no layers under the checkpoint's names")
    found = _first_jump([*layers, *outputs])
    if not every_layer and (found is not None or not run.same_outputs):
        layers = run.compare(_inside(run.taps, layers, found))
        found = _first_jump([*layers, *outputs])
    return _report(run, [*layers, *outputs], found)


def onnx_layers(artifact: Artifact, engine: str, precision: str = "fp32") -> OnnxLayers:
    """The layers of an artifact's ONNX file on an engine: what `bisect` tests, and what it can take as a reference."""
    taps = taps_of(artifact.architecture, artifact.num_classes)
    return OnnxLayers(artifact.model_file(precision), taps, engine)


class _Run:
    """One model on one engine beside a reference, on the same images."""

    def __init__(self, artifact: Artifact, engine: str, images: Array, reference: LayerSource, precision: str) -> None:
        if not len(images):
            raise InputError("there are no images to compare layers with")
        self.artifact, self.engine_name, self.precision = artifact, engine, precision
        self.images, self.reference = images, reference
        self.source = onnx_layers(artifact, engine, precision)
        self.wanted = taps_of(artifact.architecture, artifact.num_classes)
        self.taps = tuple(tap for tap in self.wanted if tap.name in self.source.found)
        self.orders: Mapping[int, Sequence[Permutation]] = token_orders(artifact.architecture, artifact.image_size)
        self.unit = NOISE.get(precision, NOISE["int8"])
        size = np.sqrt(np.square(images.astype(np.float64)).mean(axis=(1, 2, 3), keepdims=True))
        change = np.random.RandomState(NOISE_SEED).standard_normal(images.shape) * np.maximum(size, 1.0) * self.unit
        self.changed_images = (images + change).astype(np.float32)
        self.same_outputs = True
        self._logits: tuple[Array, float] | None = None
        self.healed_by: list[str] = []
        self._done: dict[str, LayerError] = {}

    def compare(self, taps: Sequence[Tap]) -> list[LayerError]:
        """The errors of these and of all earlier taps, in order; runs the model for those that are new."""
        new = [tap for tap in taps if tap.name not in self._done]
        for names in self.source.chunks([tap.name for tap in new]):
            actual = self.source.run_layers(self.images, names)
            expected, noisy = (self.reference.run_layers(x, names) for x in (self.images, self.changed_images))
            for tap in new:
                if tap.name in actual and tap.name in expected and tap.name in noisy:
                    values = (expected[tap.name], actual[tap.name], noisy[tap.name])
                    self._done[tap.name] = self._error(tap, *values)
            self._watch(names)
        return [self._done[tap.name] for tap in self.taps if tap.name in self._done]

    def compare_outputs(self) -> list[LayerError]:
        """The errors of the outputs of the model as it is, with nothing marked."""
        names = list(OUTPUTS.values())
        actual = self.source.run_outputs(self.images)
        expected, noisy = (self.reference.run_layers(x, names) for x in (self.images, self.changed_images))
        widths = {tap.name: tap.width for tap in self.wanted}
        errors = []
        for output, layer in OUTPUTS.items():
            if output in actual and layer in expected:
                tap = Tap(output, "", "output", f"the output {output!r}", widths[layer])
                errors.append(self._error(tap, expected[layer], actual[output], noisy[layer]))
                if output == "logits":
                    self._logits = expected[layer], errors[-1].noise
        self.same_outputs = all(error.in_noise <= JUMP for error in errors)
        return errors

    def on_other_engines(self, name: str) -> dict[str, float]:
        """The error of one layer on the other engines that work here."""
        tap = next((tap for tap in self.taps if tap.name == name), None)
        if tap is None:
            return {}
        expected = self.reference.run_layers(self.images, [name])[name]
        errors = {}
        for other in ENGINES:
            if other != self.engine_name:
                try:
                    source = onnx_layers(self.artifact, other, self.precision)
                    actual = source.run_layers(self.images, [name])[name]
                except (EngineUnavailableError, EngineError, InputError):
                    continue
                errors[other] = self._relative(tap, expected, actual)[0]
        return errors

    def _error(self, tap: Tap, expected: Array, actual: Array, noisy: Array) -> LayerError:
        error, problem = self._relative(tap, expected, actual)
        noise, odd = self._relative(tap, expected, noisy)
        if odd:
            raise ValidationError(f"the reference's own values of {tap.name} cannot be compared: it {odd}")
        return LayerError(tap.name, tap.part, error, max(noise, self.unit), problem)

    def _relative(self, tap: Tap, expected: Array, actual: Array) -> tuple[float, str]:
        return relative_error(expected, actual, len(self.images), tap.width, self.orders)

    def _watch(self, names: Sequence[str]) -> None:
        """Note the layers whose marking makes wrong outputs right."""
        logits = self.source.outputs.get("logits")
        if self.same_outputs or self._logits is None or logits is None:
            return
        tap = next(tap for tap in self.wanted if tap.name == OUTPUTS["logits"])
        expected, noise = self._logits
        if self._relative(tap, expected, logits)[0] <= JUMP * noise:
            self.healed_by.extend(names)

    def unseen(self, before: str | None, after: str) -> list[str]:
        """The parts of the model between two layers whose own layers are not in the file under their names."""
        names = [tap.name for tap in self.wanted]
        if after not in names:
            return []
        between = self.wanted[names.index(before) + 1 if before in names else 0 : names.index(after)]
        own = self.wanted[names.index(after)].part
        parts = (tap.part for tap in between if tap.name not in self.source.found)
        return [part for part in dict.fromkeys(parts) if part != own]


def _first_jump(layers: Sequence[LayerError]) -> int | None:
    """The first layer whose error, in units of its noise, exceeds JUMP times everything before it."""
    largest = 1.0
    for index, layer in enumerate(layers):
        if layer.in_noise > JUMP * largest:
            return index
        largest = max(largest, layer.in_noise)
    return None


def _inside(taps: Sequence[Tap], blocks: Sequence[LayerError], found: int | None) -> list[Tap]:
    """The taps inside the first bad block and the one before it, where a small error may have gone unseen; or all."""
    if found is None:
        return list(taps)
    names = [tap.name for tap in taps]
    start = names.index(blocks[found - 2].name) + 1 if found >= 2 else 0
    stop = names.index(blocks[found].name) + 1 if found < len(blocks) else len(names)
    return list(taps[start:stop])


def _report(run: _Run, layers: Sequence[LayerError], found: int | None) -> Bisection:
    info = run.source.info
    if found is None:
        return Bisection(info, tuple(layers), None, None, None, {}, (), _without_jump(run, layers))
    after, before = layers[found], layers[found - 1] if found else None
    elsewhere = run.on_other_engines(after.name)
    alike = [name for name, error in elsewhere.items() if error > JUMP * after.noise]
    settings: tuple[str, ...] = ()
    if info is not None and not alike:
        settings = suspects(info, after.part, after.error, from_the_start=found == 0)
    message = "; ".join(_sentences(run, before, after, elsewhere, alike, settings))
    return Bisection(info, tuple(layers), after.part, before, after, elsewhere, settings, message)


def _sentences(
    run: _Run,
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
        yield f"it is gone with {', '.join(run.healed_by[:3])} marked as outputs: it arises in what is fused there"


def _without_jump(run: _Run, layers: Sequence[LayerError]) -> str:
    worst = max(layers, key=lambda layer: layer.in_noise)
    figures = f"the largest is {worst.error:.1e} at {worst.name}, where rounding makes {worst.noise:.0e}"
    if run.healed_by:
        return (
            f"{run.engine_name}: the error is gone with tensors marked as outputs, so it arises in what the engine "
            f"fuses around {', '.join(run.healed_by[:3])}"
        )
    if worst.in_noise <= JUMP:
        return (
            f"{run.engine_name}: no layer differs from the reference by more than rounding on these images: {figures}"
        )
    return f"{run.engine_name}: the error grows from layer to layer without a jump: {figures}"


def _not_compared(run: _Run, why: str) -> Bisection:
    example = f"{run.wanted[0].anchor}.weight"
    needed = "" if run.taps else f", such as {example}: 'onnxzoo export' writes files that have them"
    message = f"{run.engine_name}: layers cannot be compared: {why}{needed}"
    return Bisection(run.source.info, (), None, None, None, {}, (), message)
