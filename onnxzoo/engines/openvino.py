"""OpenVINO on the CPU. The only module that imports openvino."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..results import EngineInfo
from .libraries import checked_feeds, closed, failure, unavailable
from .options import EngineOptions
from .protocol import Array, Choice, ModelFile, TensorSpec

INSTALL = "pip install openvino"
DEVICE = "CPU"
# fp32 means fp32: on CPUs with AVX512-BF16 or AMX, OpenVINO's own choice is bf16.
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


class OpenVINOEngine:
    """A model compiled by OpenVINO for the CPU, in fp32 arithmetic, for the lowest latency.

    `run` may be called from many threads at once: every call in progress has an infer request of its own.
    """

    FILES: ClassVar[Mapping[str, tuple[str, ...]]] = {"fp32": ("fp32",), "auto": ("fp32",)}

    def __init__(
        self,
        model: ModelFile,
        *,
        options: EngineOptions,  # noqa: ARG002
        device: str | None,  # noqa: ARG002
        choice: Choice,
    ) -> None:
        """Load and compile the ONNX file; `choice` is passed on to `info`.

        Raises EngineUnavailableError when openvino cannot be imported, EngineError when it rejects the model.
        """
        try:
            import openvino
        except (ImportError, OSError) as error:
            raise unavailable("openvino", error, INSTALL) from error
        try:
            compiled = openvino.Core().compile_model(str(model.path), DEVICE, SETTINGS)
            self._inputs = {
                node.any_name: TensorSpec(
                    shape=tuple(None if size.is_dynamic else size.get_length() for size in node.partial_shape),
                    dtype=np.dtype(node.element_type.to_dtype()).name,
                )
                for node in compiled.inputs
            }
            # What the plug-in made of the hint, not what was asked for.
            arithmetic = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        except Exception as error:
            raise failure(f"openvino cannot compile {model.path}", _message(error)) from error
        self._compiled: Any = compiled
        self._outputs = tuple(_output_name(node) for node in compiled.outputs)
        # Requests at rest. deque.pop and append are atomic, so no lock is needed around them.
        self._requests: deque[Any] = deque()
        self._info = EngineInfo(
            name="openvino",
            device=DEVICE,
            precision=PRECISIONS.get(arithmetic, arithmetic),
            version=openvino.__version__.split("-")[0],
            reason=choice.reason,
            considered=choice.considered,
        )

    @staticmethod
    def passed_over(_model: ModelFile, _options: EngineOptions, /) -> str | None:
        """It can run on any machine: `auto` tries it."""
        return None

    @property
    def info(self) -> EngineInfo:
        """What runs the model, and how."""
        return self._info

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The model's inputs by name."""
        return self._inputs

    @property
    def max_batch(self) -> int | None:
        """Any batch fits."""
        return None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these inputs by name; any batch size.

        Raises InputError for inputs that do not fit, EngineError when OpenVINO fails or was closed.
        """
        compiled = self._compiled
        if compiled is None:
            raise closed("openvino")
        ready = checked_feeds(feeds, self._inputs)
        try:
            request = self._requests.pop()
        except IndexError:
            request = None
        try:
            if request is None:
                request = compiled.create_infer_request()
            request.infer(ready)
            # The tensors are the request's own memory, which the next run overwrites.
            outputs = {name: np.array(request.get_output_tensor(i).data) for i, name in enumerate(self._outputs)}
        except Exception as error:
            # A request that failed is dropped: the next run starts from a fresh one.
            raise failure("openvino failed while running the model", _message(error)) from error
        if self._compiled is not None:
            self._requests.append(request)
        return outputs

    def close(self) -> None:
        """Free the compiled model; calling it twice is allowed."""
        self._compiled = None
        self._requests.clear()


def _message(error: Exception) -> str:
    """OpenVINO's message without the lines of its source files that it passed through."""
    return re.sub(r"Exception from \S+?:\d+:\s*", "", str(error)) or type(error).__name__


def _output_name(node: Any) -> str:
    """The ONNX name of an output: a tensor that OpenVINO merged with others carries all their names."""
    friendly = str(node.get_node().get_friendly_name()).split("/sink_port_")[0]
    return friendly if friendly in node.get_names() else str(node.any_name)
