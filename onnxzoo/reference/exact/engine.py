"""The exact reference as an engine: both families in float64 with the interface of every other engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ...artifact.folder import INPUT_NAME
from ...errors import EngineError
from ...families import ModelSpec, family_of
from ...results import Array, EngineInfo
from ...weights.state import checked_state
from ..interface import ReferenceEngine
from .erf import Float64
from .layers import Pass, Place, linear
from .pvt_v2 import PvtV2
from .swinv2 import SwinV2


def exact_model(spec: ModelSpec) -> SwinV2 | PvtV2:
    """The model of `spec`, without weights; its `shapes` list the parameters that a state must contain."""
    classes: Mapping[str, Any] = {"swinv2": SwinV2, "pvt_v2": PvtV2}
    model: SwinV2 | PvtV2 = classes[family_of(spec.architecture).name](
        spec.architecture, spec.image_size, spec.num_classes
    )
    return model


class ExactEngine(ReferenceEngine):
    """Runs a model in float64, one image after the other; needs NumPy and the checkpoint's weights, nothing else.

    Safe to use from many threads, and after a fork. Weights stay float32 and are not copied; each layer converts its
    weights when it runs.
    """

    def __init__(self, spec: ModelSpec, model: SwinV2 | PvtV2, state: Mapping[str, Array]) -> None:
        """`model`: from `exact_model`. `state`: the parameters listed in its `shapes`."""
        super().__init__(spec, EngineInfo("exact", "CPU", "fp64", np.__version__, "the reference in NumPy"))
        self._model = model
        self._state: Mapping[str, Array] | None = state

    @classmethod
    def open(cls, spec: ModelSpec, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """`state`: names and layouts of PaddleClas. Raises CheckpointError if it does not fit (`checked_state`)."""
        model = exact_model(spec)
        return cls(spec, model, checked_state(model.shapes, state))

    @property
    def epsilons(self) -> dict[str, float]:
        """The epsilon of every LayerNorm by its name; empty when the engine is closed."""
        return dict(self._model.epsilons) if self._state is not None else {}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`{"pixel_values": float32 [N, 3, S, S]}` -> `logits` float32 [N, classes], `embedding` float32 [N, features].

        The values are those of `run_float64`, rounded. Raises InputError for other inputs, EngineError if memory is
        exhausted or the engine is closed.
        """
        return {name: value.astype(np.float32) for name, value in self.run_float64(feeds).items()}

    def run_float64(self, feeds: Mapping[str, Array]) -> dict[str, Float64]:
        """`run` without the final rounding, for measuring the errors of fp32 engines. Raises as `run`."""
        image = self._checked_image(feeds)
        outputs = {name: np.empty((len(image), spec.shape[1] or 0)) for name, spec in self.outputs.items()}
        for index in range(len(image)):
            outputs["logits"][index], outputs["embedding"][index], _ = self._pass(image[index : index + 1], ())
        return outputs

    def run_each(self, images: Array) -> dict[str, Array]:
        """The outputs of images [K, 3, S, S], each run individually, as in `run`. Raises as `run`."""
        return self.run({INPUT_NAME: images})

    def run_layers(self, images: Array, names: Sequence[str]) -> dict[str, Array]:
        """The outputs of the layers with these names (`layers.2.blocks.5.attn`), float32, in their own shapes.

        `NAME:input` is the input of a layer (its first argument). Names and shapes are those of the Paddle model's
        layers, except for dropout, stochastic depth and the MLP of the position bias, which does not depend on the
        image. Unknown names are left out. Images: float32 [N, 3, S, S]. Raises as `run`.
        """
        image = self._checked_image({INPUT_NAME: images})
        wanted = frozenset(names)
        passes = [self._pass(image[index : index + 1], wanted)[2] for index in range(len(image))]
        return {name: np.concatenate([values[name] for values in passes]) for name in (passes[0] if passes else ())}

    def close(self) -> None:
        """Release the weights; calling it twice is allowed. Runs in progress are completed."""
        self._state = None

    def _pass(self, image: Array, wanted: Collection[str]) -> tuple[Float64, Float64, dict[str, Array]]:
        """Logits [classes] and embedding [features] of one image [1, 3, S, S], and the values of the wanted layers."""
        state = self._state
        if state is None:
            raise EngineError("the exact engine was closed; load the model again")
        run = Pass(state, self._model.epsilons, wanted)
        try:
            # Images may contain infinities, as for every engine; their outputs are NaN.
            with np.errstate(all="ignore"):
                features = self._model.features(Place(run), image.astype(np.float64))
                logits = linear(Place(run)["head"], features)
        except MemoryError as error:
            raise EngineError(f"the exact engine ran out of memory: {error}") from error
        return logits[0], features[0], run.values
