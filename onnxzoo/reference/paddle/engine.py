"""The reference as an engine: the unmodified Paddle model with the interface of every other engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ...artifact.folder import INPUT_NAME
from ...errors import EngineError
from ...families import ModelSpec
from ...precisions import FP32
from ...results import Array, EngineInfo
from ..interface import ReferenceEngine
from .build import build_model, load_state
from .importing import require_paddle


class PaddleEngine(ReferenceEngine):
    """Runs a reference model in fp32; needs PaddlePaddle and the checkpoint's weights (see `load_state`).

    Safe to use from many threads, as runs are serialised.
    """

    def __init__(self, spec: ModelSpec, model: Any, version: str) -> None:
        """`model`: from `build_model`, with its weights. `version`: Paddle's."""
        super().__init__(spec, EngineInfo("paddle", "CPU", FP32, version, "the reference model"))
        self._lock = threading.Lock()
        self._model: Any = model

    @classmethod
    def open(cls, spec: ModelSpec, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Build the model.

        Raises MissingDependencyError without PaddlePaddle, CheckpointError if the weights do not fit.
        """
        require_paddle()
        import paddle

        model = build_model(spec)
        load_state(model, state)
        return cls(spec, model, paddle.__version__)

    @property
    def epsilons(self) -> dict[str, float]:
        """The epsilon of every LayerNorm by its name; empty when the engine is closed."""
        layers = self._model.named_sublayers() if self._model is not None else ()
        return {name: float(layer._epsilon) for name, layer in layers if hasattr(layer, "_epsilon")}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`{"pixel_values": float32 [N, 3, S, S]}` -> `logits` float32 [N, classes], `embedding` float32 [N, features].

        Raises InputError for other inputs, EngineError if Paddle fails or the engine is closed.
        """
        image = self._checked_image(feeds)
        with self._lock:
            return self._forward(image)

    def run_each(self, images: Array) -> dict[str, Array]:
        """The outputs of images [K, 3, S, S], each run individually, independent of any batch.

        Raises as `run` does.
        """
        results = [self.run({INPUT_NAME: image[None]}) for image in images]
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

    def run_layers(self, images: Array, names: Sequence[str]) -> dict[str, Array]:
        """The outputs of the layers with these names (`layers.2.blocks.5.attn`), in their own shapes.

        `NAME:input` is the input of a layer (its first argument). Layers that the model does not have, or does not
        call, are left out. Images: float32 [N, 3, S, S]. Raises as `run` does.
        """
        image = self._checked_image({INPUT_NAME: images})
        values: dict[str, Array] = {}
        with self._lock:
            layers = dict(self._model.named_sublayers()) if self._model is not None else {}
            hooks = [_record(layers[base], base, side, values) for base, side in map(_split, names) if base in layers]
            try:
                self._forward(image)
            finally:
                for remove in hooks:
                    remove()
        return values

    def _forward(self, image: Array) -> dict[str, Array]:
        """`run` on a checked input; the caller holds the lock."""
        import paddle

        if self._model is None:
            raise EngineError("the paddle engine was closed; load the model again")
        try:
            with paddle.no_grad():
                features = self._model.forward_features(paddle.to_tensor(image))
                logits = self._model.head(features)
                return {"logits": logits.numpy(), "embedding": features.numpy()}
        except (RuntimeError, ValueError, MemoryError, OSError) as error:
            raise EngineError(f"paddle failed to run the model: {error}") from error

    def close(self) -> None:
        """Free the model; calling it twice is allowed."""
        with self._lock:
            self._model = None


def _split(name: str) -> tuple[str, str]:
    base, _, side = name.partition(":")
    return base, side


def _record(layer: Any, base: str, side: str, values: dict[str, Array]) -> Callable[[], None]:
    """Make `layer` record its input or output in `values`; returns a function that ends the recording."""

    def before(_layer: Any, inputs: Any) -> None:
        values[f"{base}:input"] = inputs[0].numpy()

    def after(_layer: Any, _inputs: Any, output: Any) -> None:
        values[base] = output.numpy()

    hook = layer.register_forward_pre_hook(before) if side == "input" else layer.register_forward_post_hook(after)
    remove: Callable[[], None] = hook.remove
    return remove
