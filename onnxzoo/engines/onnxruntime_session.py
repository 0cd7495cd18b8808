"""ONNX Runtime sessions that verifiably run on the requested provider, for the engines that own them."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import EngineUnavailableError, one_line
from ..results import EngineInfo
from .library_failures import closed, failure
from .onnxruntime_failures import NO_TENSORRT, rejected
from .onnxruntime_library import quiet, too_old_to_tell
from .protocol import Array, ModelFile, Selection, TensorSpec

CPU_PROVIDER = "CPUExecutionProvider"
# Providers whose sessions must not run in two threads at once, and must not plan their memory in advance.
ONE_RUN_AT_A_TIME = frozenset({"DmlExecutionProvider"})
# A session's method that older versions lack; there, a graph on the CPU cannot be distinguished from one on the GPU.
TELLS_ASSIGNMENT = "get_provider_graph_assignment_info"

# ONNX Runtime's names of the element types that inputs and outputs of an image classifier may have.
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}

# The setting for the folder of external weights of a model given as bytes.
FOLDER_SETTING = "session.model_external_initializers_file_folder_path"

logger = logging.getLogger(__name__)


def open_session(
    module: ModuleType,
    model: ModelFile,
    chosen: Any,
    provider: str,
    provider_options: Mapping[str, str] | None = None,
    *,
    engine: str,
    strict: bool = False,
    then: Sequence[tuple[str, Mapping[str, str]]] = (),
    plugin: bool = False,
    nameless: bool = False,
    on_gpu: bool = False,
) -> Session:
    """A session on `provider`, with ONNX Runtime's CPU provider for the nodes that it does not support.

    `engine`, `on_gpu`: see Session. `strict`: refuse a graph that would run partly on the CPU, which otherwise is a
    warning. `then`: providers to try before the CPU. `plugin`: the provider is already in the session options.
    `nameless`: pass the file's bytes, so that nothing depends on its name. If a provider does not work, ONNX Runtime
    returns a session on the CPU without an exception; this function raises EngineUnavailableError, also for a version
    that does not report where the nodes run.

    Raises EngineError if the model is at fault.
    """
    wanted = [(name, dict(settings)) for name, settings in ((provider, provider_options or {}), *then)]
    if provider in ONE_RUN_AT_A_TIME:
        chosen.enable_mem_pattern = False
    if nameless:
        chosen.add_session_config_entry(FOLDER_SETTING, str(model.path.parent))
    session = Session(
        _native_session(module, model, chosen, provider, None if plugin else wanted, nameless=nameless),
        provider,
        engine=engine,
        on_gpu=on_gpu,
    )
    try:
        session.check_place(module, strict=strict)
    except EngineUnavailableError:
        session.close()
        raise
    return session


def _native_session(
    module: ModuleType,
    model: ModelFile,
    chosen: Any,
    provider: str,
    providers: Sequence[tuple[str, dict[str, str]]] | None,
    *,
    nameless: bool,
) -> Any:
    """ONNX Runtime's session; translates its errors to EngineUnavailableError and EngineError."""
    arguments: dict[str, Any] = {} if providers is None else {"providers": providers}
    try:
        with quiet(module):
            # The fallback would print to stdout and start again on the CPU.
            return module.InferenceSession(
                model.path.read_bytes() if nameless else str(model.path), chosen, enable_fallback=0, **arguments
            )
    except Exception as error:
        fault = rejected(provider, f"onnxruntime cannot load {model.path}", error)
        if NO_TENSORRT in str(error):  # its message for any failure to load the provider's library
            fault = EngineUnavailableError(f"{fault}{_why_not(module, provider)}")
        raise fault from error


def _why_not(module: ModuleType, provider: str) -> str:
    """The system's error about the provider's library, in brackets; onnxruntime writes it only to its log."""
    name = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "tensorrt"}.get(provider)
    if name is None or module.__file__ is None:
        return ""
    folder = Path(module.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"))
    except OSError as error:
        return f" ({one_line(error)})"
    return ""


def assigned_nodes(session: Any) -> dict[str, int]:
    """Nodes of the graph per provider; empty if this version of ONNX Runtime does not report it (on the CPU only)."""
    if not hasattr(session, TELLS_ASSIGNMENT):
        return {}
    counts: Counter[str] = Counter()
    for part in getattr(session, TELLS_ASSIGNMENT)():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)


def check_assignment(nodes: Mapping[str, int], provider: str, *, strict: bool) -> str | None:
    """A warning, with the counts, if some nodes run on the CPU instead of another provider; None if none do.

    Raises EngineUnavailableError if no node runs on the provider, and with `strict` if any runs on the CPU.
    """
    if not nodes or provider == CPU_PROVIDER:
        return None
    total = sum(nodes.values())
    others = ", ".join(f"{count} on {name}" for name, count in nodes.items() if name != provider)
    if not nodes.get(provider):
        raise EngineUnavailableError(f"{provider} takes none of the graph's {total} nodes ({others})")
    if not nodes.get(CPU_PROVIDER):
        return None
    split = f"{provider} does not take the whole graph: of {total} nodes, {others}"
    if strict:
        raise EngineUnavailableError(f"{split}; without strict it runs so")
    return split


class Session:
    """A model in an open session of ONNX Runtime, for the engine that owns it.

    Sessions may run in many threads at once; for providers that do not support this, runs wait. ONNX Runtime keeps the
    memory arena of its largest run so far until `close()`.
    """

    def __init__(self, native: Any, provider: str, *, engine: str, on_gpu: bool) -> None:
        """`native`: ONNX Runtime's session. `engine`: its name, for errors. `on_gpu`: inputs are copied to the GPU once
        per run, and outputs directly to arrays on the CPU.
        """
        self._native: Any = native
        self._provider = provider
        self._engine = engine
        self._compute = _run_bound if on_gpu else _run
        self._turn = threading.Lock() if provider in ONE_RUN_AT_A_TIME else contextlib.nullcontext()
        self._after: Callable[[], object] | None = None
        self.inputs = _specs(native.get_inputs())
        self.outputs = _specs(native.get_outputs())
        self.nodes: dict[str, int] = {}
        self.split: str | None = None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these checked inputs, as new arrays.

        Raises EngineError if ONNX Runtime fails or the session was closed.
        """
        native = self._native
        if native is None:
            raise closed(self._engine)
        try:
            with self._turn:
                values = self._compute(native, tuple(self.outputs), feeds)
        except Exception as error:
            raise failure(f"{self._engine} failed while running the model", error) from error
        return dict(zip(self.outputs, values, strict=True))

    def probe(self, *batch_sizes: int) -> None:
        """Run zeros, because failures of a GPU show in a run, not when a session is opened.

        On failure it closes the session and raises EngineUnavailableError for a fault of the hardware or its libraries,
        EngineError for any other.
        """
        for size in batch_sizes:
            zeros = {
                name: np.zeros([size, *(side or 1 for side in spec.shape[1:])], spec.dtype)
                for name, spec in self.inputs.items()
            }
            try:
                self._compute(self._native, tuple(self.outputs), zeros)
            except Exception as error:
                self.close()
                traceback.clear_frames(error.__traceback__)  # they keep the session alive
                raise rejected(self._provider, f"{self._engine} cannot run the model", error) from error

    def check_place(self, module: ModuleType, *, strict: bool) -> None:
        """Check that the session runs on its provider, and find out which nodes do (`nodes`, `split`).

        Raises EngineUnavailableError if it does not or if this is unknown, and as `check_assignment` does.
        """
        running = self._native.get_providers()
        if not running or running[0] != self._provider:
            raise EngineUnavailableError(
                f"{self._provider} did not start{_why_not(module, self._provider)}: "
                f"onnxruntime would run on {', '.join(running) or 'nothing'} instead"
            )
        if self._provider != CPU_PROVIDER and not hasattr(self._native, TELLS_ASSIGNMENT):
            raise too_old_to_tell(module, self._provider)
        self.nodes = assigned_nodes(self._native)
        self.split = check_assignment(self.nodes, self._provider, strict=strict)
        if self.split:
            logger.warning("%s, which is slower; the option strict refuses this", self.split)

    def info(self, *, device: str, precision: str, version: str, selection: Selection) -> EngineInfo:
        """The description of the engine that holds the session."""
        reason = f"{selection.reason}; {self.split}" if self.split else selection.reason
        return EngineInfo(self._engine, device, precision, version, reason, self.nodes, selection.considered)

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the session is closed or garbage-collected, or the process ends."""
        self._after = weakref.finalize(self, callback)

    def close(self) -> None:
        """Free the session; calling it twice is allowed."""
        self._native = None
        if self._after is not None:
            self._after()


def _run(native: Any, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    values: list[Array] = native.run(outputs, feeds)
    return values


def _run_bound(native: Any, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    binding = native.io_binding()
    for name, value in feeds.items():
        binding.bind_cpu_input(name, value)
    for name in outputs:
        binding.bind_output(name, "cpu")
    native.run_with_iobinding(binding)
    values: list[Array] = binding.copy_outputs_to_cpu()
    return values


def _specs(nodes: Sequence[Any]) -> dict[str, TensorSpec]:
    """The inputs or outputs of a session by name."""
    return {
        node.name: TensorSpec(
            shape=tuple(size if isinstance(size, int) else None for size in node.shape),
            dtype=DTYPES.get(node.type, node.type),
        )
        for node in nodes
    }
