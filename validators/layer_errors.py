"""The errors of a model's layers on an engine, and the noise that rounding alone could cause.

The noise is measured: the reference runs a second time on images changed by about a rounding error of the artifact's
precision, and the change of a layer's values is the noise of that layer. It grows with depth and with anything else
that amplifies errors in this model with these weights. On 19 models with seeded weights (6 to 30 blocks, on both
engines; noise, gradients, zeros, two-valued and one-pixel images) the errors of correct models were at most 1.3 times
the noise, and never grew by more than 1.2 times over all previous layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..artifact.folder import Artifact
from ..engines import ENGINES
from ..errors import EngineError, EngineUnavailableError, InputError, ValidationError
from ..precisions import FP32, PRECISIONS
from ..results import Array
from .graph_probes import OnnxLayers
from .layer_values import Permutation, relative_error, token_orders
from .probe_points import INPUT, LayerSource, ProbePoint, probe_points_of

LIMIT = 3.0
"""An error above this multiple of the noise is not caused by rounding."""

NOISE: Mapping[str, float] = {name: precision.layer_noise for name, precision in PRECISIONS.items()}
"""The relative size of the change that represents rounding, by the precision of the ONNX file."""
NOISE_SEED = 11
# The model's outputs, and the layers of the reference with the same values.
OUTPUTS = {"embedding": f"head{INPUT}", "logits": "head"}


@dataclass(frozen=True, slots=True)
class LayerError:
    """The error of one layer.

    `name`: of the layer, `NAME:input` for its input, or of an output of the model. `part`: the part of the model to
    report if the error starts here. `error`: rms of the difference divided by the rms of the reference, for the worst
    image; infinite for NaN, infinity or another shape, which `problem` then describes. `noise`: the error that rounding
    can cause here.
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


def onnx_layers(artifact: Artifact, engine: str, precision: str = FP32, *, build: bool = True) -> OnnxLayers:
    """The layers of an artifact's ONNX file on an engine: the subject of `bisect`, or its reference.

    `build`: whether to use an engine that takes minutes to build.
    """
    points = probe_points_of(artifact.architecture, artifact.num_classes)
    return OnnxLayers(artifact.model_file(precision), points, engine, precision, build=build)


class LayerErrors:
    """The errors of a model's layers on one engine compared with a reference on the same images, computed on demand.

    `points`: the `wanted` probe points that the ONNX file has. `same_outputs`: whether the outputs of the unmodified
    model were correct. `healed_by`: layers that made wrong outputs correct when they were added as outputs.
    """

    def __init__(
        self,
        artifact: Artifact,
        engine: str,
        images: Array,
        reference: LayerSource,
        precision: str,
        *,
        build: bool = True,
    ) -> None:
        if not len(images):
            raise InputError("there are no images to compare layers with")
        self.artifact, self.engine_name, self.precision = artifact, engine, precision
        self.images, self.reference = images, reference
        self.source = onnx_layers(artifact, engine, precision, build=build)
        self.wanted = probe_points_of(artifact.architecture, artifact.num_classes)
        self.points = tuple(point for point in self.wanted if point.name in self.source.found)
        self.orders: Mapping[int, Sequence[Permutation]] = token_orders(artifact.architecture, artifact.image_size)
        self.unit = NOISE.get(precision, max(NOISE.values()))
        size = np.sqrt(np.square(images.astype(np.float64)).mean(axis=(1, 2, 3), keepdims=True))
        change = np.random.RandomState(NOISE_SEED).standard_normal(images.shape) * np.maximum(size, 1.0) * self.unit
        self.changed_images = (images + change).astype(np.float32)
        self.same_outputs = True
        self._logits: tuple[Array, float] | None = None
        self.healed_by: list[str] = []
        self._done: dict[str, LayerError] = {}

    def compare(self, points: Sequence[ProbePoint]) -> list[LayerError]:
        """The errors of these and of all earlier probe points, in order; runs the model for new ones."""
        new = [point for point in points if point.name not in self._done]
        for names in self.source.chunks([point.name for point in new]):
            actual = self.source.run_layers(self.images, names)
            expected, noisy = (self.reference.run_layers(x, names) for x in (self.images, self.changed_images))
            for point in new:
                if point.name in actual and point.name in expected and point.name in noisy:
                    values = (expected[point.name], actual[point.name], noisy[point.name])
                    self._done[point.name] = self._error(point, *values)
            self._watch(names)
        return [self._done[point.name] for point in self.points if point.name in self._done]

    def compare_outputs(self) -> list[LayerError]:
        """The errors of the unmodified model's outputs."""
        names = list(OUTPUTS.values())
        actual = self.source.run_outputs(self.images)
        expected, noisy = (self.reference.run_layers(x, names) for x in (self.images, self.changed_images))
        widths = {point.name: point.width for point in self.wanted}
        errors = []
        for output, layer in OUTPUTS.items():
            if output in actual and layer in expected:
                point = ProbePoint(output, "", "output", f"the output {output!r}", widths[layer])
                errors.append(self._error(point, expected[layer], actual[output], noisy[layer]))
                if output == "logits":
                    self._logits = expected[layer], errors[-1].noise
        self.same_outputs = all(error.in_noise <= LIMIT for error in errors)
        return errors

    def on_other_engines(self, name: str) -> dict[str, float]:
        """The error of one layer on the other engines that work here and do not take minutes to build."""
        point = next((point for point in self.points if point.name == name), None)
        if point is None:
            return {}
        expected = self.reference.run_layers(self.images, [name])[name]
        errors = {}
        for other in ENGINES:
            if other != self.engine_name.partition(":")[0]:
                try:
                    source = onnx_layers(self.artifact, other, self.precision, build=False)
                    actual = source.run_layers(self.images, [name])[name]
                except (EngineUnavailableError, EngineError, InputError):
                    continue
                errors[other] = self._relative(point, expected, actual)[0]
        return errors

    def _error(self, point: ProbePoint, expected: Array, actual: Array, noisy: Array) -> LayerError:
        error, problem = self._relative(point, expected, actual)
        noise, odd = self._relative(point, expected, noisy)
        if odd:
            raise ValidationError(f"the reference's own values of {point.name} cannot be compared: it {odd}")
        return LayerError(point.name, point.part, error, max(noise, self.unit), problem)

    def _relative(self, point: ProbePoint, expected: Array, actual: Array) -> tuple[float, str]:
        return relative_error(expected, actual, len(self.images), point.width, self.orders)

    def _watch(self, names: Sequence[str]) -> None:
        """Record these layers if wrong outputs became correct when they were added as outputs."""
        logits = self.source.outputs.get("logits")
        if self.same_outputs or self._logits is None or logits is None:
            return
        point = next(point for point in self.wanted if point.name == OUTPUTS["logits"])
        expected, noise = self._logits
        if self._relative(point, expected, logits)[0] <= LIMIT * noise:
            self.healed_by.extend(names)

    def unseen(self, before: str | None, after: str) -> list[str]:
        """The parts of the model between two layers whose layers were not found in the file by their names."""
        names = [point.name for point in self.wanted]
        if after not in names:
            return []
        between = self.wanted[names.index(before) + 1 if before in names else 0 : names.index(after)]
        own = self.wanted[names.index(after)].part
        parts = (point.part for point in between if point.name not in self.source.found)
        return [part for part in dict.fromkeys(parts) if part != own]
