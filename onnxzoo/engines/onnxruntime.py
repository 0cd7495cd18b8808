"""ONNX Runtime on the CPU. The only module that imports onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..errors import EngineUnavailableError
from ..results import EngineInfo
from .libraries import checked_feeds, closed, failure, unavailable
from .options import EngineOptions
from .protocol import Array, Choice, ModelFile, TensorSpec

INSTALL = "pip install 'onnxzoo[cpu]'"
PROVIDER = "CPUExecutionProvider"
LOG_ERRORS_ONLY = 3

# ONNX Runtime's names of the element types that inputs of an image classifier may have.
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}


class OnnxRuntimeEngine:
    """A model in an ONNX Runtime session on the CPU, in fp32 arithmetic for an fp32 model.

    Sessions may run in many threads at once; their outputs are arrays of their own.
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
        """Load the ONNX file; `choice` is passed on to `info`.

        Raises EngineUnavailableError when onnxruntime cannot be imported or does not offer its CPU
        provider, EngineError when it rejects the model.
        """
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            raise unavailable("onnxruntime", error, INSTALL) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = LOG_ERRORS_ONLY
        # Worker threads spin on after a run, for 35 ms of CPU time here, and slow whatever else the process
        # runs. Spinning during a run is worth its cost: without it, small graphs take half as long again.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            session = onnxruntime.InferenceSession(str(model.path), options, providers=[PROVIDER])
        except Exception as error:
            raise failure(f"onnxruntime cannot load {model.path}", error) from error
        # A session asked for a provider that is absent comes up with other ones and no exception.
        if session.get_providers() != [PROVIDER]:
            raise EngineUnavailableError(f"onnxruntime runs on {session.get_providers()}, expected {[PROVIDER]}")
        self._session: Any = session
        self._inputs = {
            node.name: TensorSpec(
                shape=tuple(size if isinstance(size, int) else None for size in node.shape),
                dtype=DTYPES.get(node.type, node.type),
            )
            for node in session.get_inputs()
        }
        self._outputs = tuple(node.name for node in session.get_outputs())
        self._info = EngineInfo(
            name="onnxruntime",
            device="CPU",
            precision="fp32",
            version=onnxruntime.__version__,
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

        Raises InputError for inputs that do not fit, EngineError when ONNX Runtime fails or was closed.
        """
        session = self._session
        if session is None:
            raise closed("onnxruntime")
        ready = checked_feeds(feeds, self._inputs)
        try:
            values = session.run(self._outputs, ready)
        except Exception as error:
            raise failure("onnxruntime failed while running the model", error) from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Free the session; calling it twice is allowed."""
        self._session = None
