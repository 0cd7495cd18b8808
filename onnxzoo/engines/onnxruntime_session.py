"""ONNX Runtime sessions that run where they were asked to, for every engine built on ONNX Runtime."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import EngineUnavailableError, one_line
from ..packages import ONNXRUNTIME_PACKAGES, installed_versions
from ..results import EngineInfo
from .libraries import checked_feeds, closed, failure, unavailable
from .onnxruntime_failures import NO_TENSORRT, rejected
from .options import EngineOptions
from .protocol import Array, Choice, ModelFile, TensorSpec
from .telemetry import without_telemetry

CPU_PROVIDER = "CPUExecutionProvider"
# Severities. Sessions log errors. The logger of the whole library, which writes what happens before there is a session,
# is silent while one is opened: every failure is an exception then. What it was set to cannot be asked: it is set to
# the library's default again.
LOG_ERRORS_ONLY, LOG_FATAL_ONLY, LOG_DEFAULT = 3, 4, 2
# Providers whose sessions must not run in two threads at once, nor plan their memory ahead.
ONE_RUN_AT_A_TIME = frozenset({"DmlExecutionProvider"})
# A session's method that older versions do not have: there, a graph on the CPU looks like one on the GPU.
TELLS_ASSIGNMENT = "get_provider_graph_assignment_info"
OLDEST_THAT_TELLS = "1.24"

# ONNX Runtime's names of the element types that inputs of an image classifier may have.
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}

# Where ONNX Runtime looks for weights outside of a model that it is given as bytes.
FOLDER_SETTING = "session.model_external_initializers_file_folder_path"

logger = logging.getLogger(__name__)
_quiet = 0
_quieting = threading.Lock()


def import_onnxruntime(install: str) -> ModuleType:
    """The library. Raises EngineUnavailableError saying `install` when it is absent or broken."""
    try:
        with without_telemetry():
            import onnxruntime
    except (ImportError, OSError) as error:
        raise unavailable("onnxruntime", error, reinstall(install)) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # What `pip uninstall` of one of two packages leaves is a folder, which Python imports as an empty package.
        raise EngineUnavailableError(f"onnxruntime is installed but empty; reinstall it: {reinstall(install)}")
    module: ModuleType = onnxruntime
    return module


def installed_packages() -> dict[str, str]:
    """The installed packages that provide `onnxruntime`, with their versions. More than one is a fault."""
    return installed_versions(ONNXRUNTIME_PACKAGES)


def reinstall(install: str) -> str:
    """The command that leaves one working package, whatever is installed now."""
    installed = installed_packages()
    return f"pip uninstall -y {' '.join(installed)} && {install}" if installed else install


def wrong_package(module: ModuleType, wanted: str, install: str) -> EngineUnavailableError:
    """The error for an installed onnxruntime that lacks a provider: two packages at once, or the wrong one."""
    installed = installed_packages()
    listed = " and ".join(f"{name} {version}" for name, version in installed.items())
    if len(installed) > 1:
        cause = f"{listed} are both installed and overwrite each other's files: {wanted} is not there"
    else:
        providers = ", ".join(module.get_available_providers())
        cause = f"{listed or 'onnxruntime ' + module.__version__} has no {wanted} (it has {providers})"
    return EngineUnavailableError(f"{cause}; {reinstall(install)}")


def session_options(module: ModuleType, options: EngineOptions) -> Any:
    """What every session of ours has in common."""
    chosen = module.SessionOptions()
    chosen.log_severity_level = LOG_ERRORS_ONLY
    # Worker threads spin on after a run, for 35 ms of CPU time here, and slow whatever else the process
    # runs. Spinning during a run is worth its cost: without it, small graphs take half as long again.
    chosen.add_session_config_entry("session.force_spinning_stop", "1")
    chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    chosen.intra_op_num_threads = options.cpu_threads
    return chosen


def open_session(
    module: ModuleType,
    model: ModelFile,
    chosen: Any,
    provider: str,
    provider_options: Mapping[str, str] | None = None,
    *,
    then: Sequence[tuple[str, Mapping[str, str]]] = (),
    plugin: bool = False,
    nameless: bool = False,
) -> Any:
    """A session on `provider`, with ONNX Runtime's own CPU provider for what that one does not take.

    `then`: providers to try before the CPU. `plugin`: the provider is in the session options already. `nameless`: give
    it the file's bytes, so that nothing depends on the file's name. ONNX Runtime answers a request for a provider that
    does not work with a session on the CPU and no exception; here it is an EngineUnavailableError, and so is a version
    that cannot tell afterwards where the nodes run.

    Raises EngineError when the model is at fault.
    """
    wanted = [(name, dict(settings)) for name, settings in ((provider, provider_options or {}), *then)]
    arguments: dict[str, Any] = {} if plugin else {"providers": wanted}
    if provider in ONE_RUN_AT_A_TIME:
        chosen.enable_mem_pattern = False
    if nameless:
        chosen.add_session_config_entry(FOLDER_SETTING, str(model.path.parent))
    try:
        with quiet(module):
            # With its fallback, it prints to stdout and starts again on the CPU.
            session = module.InferenceSession(
                model.path.read_bytes() if nameless else str(model.path), chosen, enable_fallback=0, **arguments
            )
    except Exception as error:
        fault = rejected(provider, f"onnxruntime cannot load {model.path}", error)
        if NO_TENSORRT in str(error):  # which it says whatever keeps the provider's library from loading
            fault = EngineUnavailableError(f"{fault}{_why_not(module, provider)}")
        raise fault from error
    running = session.get_providers()
    if not running or running[0] != provider:
        raise EngineUnavailableError(
            f"{provider} did not start{_why_not(module, provider)}: "
            f"onnxruntime would run on {', '.join(running) or 'nothing'} instead"
        )
    if provider != CPU_PROVIDER and not hasattr(session, TELLS_ASSIGNMENT):
        package = next(iter(installed_packages()), "onnxruntime")
        raise EngineUnavailableError(
            f"onnxruntime {module.__version__} cannot tell which nodes run on {provider} and which on the CPU, "
            f"expected {OLDEST_THAT_TELLS} or newer: pip install --upgrade '{package}>={OLDEST_THAT_TELLS}'"
        )
    return session


@contextlib.contextmanager
def quiet(module: ModuleType) -> Iterator[None]:
    """Keep ONNX Runtime's own logger off stderr in this block, in whichever thread it writes."""
    global _quiet
    with _quieting:
        _quiet += 1
        module.set_default_logger_severity(LOG_FATAL_ONLY)
    try:
        yield
    finally:
        with _quieting:
            _quiet -= 1
            if not _quiet:
                module.set_default_logger_severity(LOG_DEFAULT)


def _why_not(module: ModuleType, provider: str) -> str:
    """What the system says about the provider's library, in brackets; onnxruntime writes that to its log only."""
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
    """Nodes of the graph per provider; empty with a version of ONNX Runtime that does not tell (on the CPU only)."""
    if not hasattr(session, TELLS_ASSIGNMENT):
        return {}
    counts: Counter[str] = Counter()
    for part in getattr(session, TELLS_ASSIGNMENT)():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)


def check_assignment(nodes: Mapping[str, int], provider: str, *, strict: bool) -> str | None:
    """What to warn of when the CPU got some of the nodes of another provider, with the counts; None when it did not.

    Raises EngineUnavailableError when the provider got no node at all, and with `strict` when the CPU got any.
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


class SessionEngine:
    """A model in an ONNX Runtime session. Sessions may run in many threads at once; where they may not, runs wait.

    Memory: ONNX Runtime keeps the arena of its largest run so far until `close()`.
    """

    def __init__(
        self,
        session: Any,
        *,
        name: str,
        provider: str,
        device: str,
        precision: str,
        version: str,
        options: EngineOptions,
        choice: Choice,
        max_batch: int | None = None,
    ) -> None:
        """Describe an open session, once its nodes are found where they should be (see `check_assignment`)."""
        nodes = assigned_nodes(session)
        split = check_assignment(nodes, provider, strict=options.strict)
        if split:
            logger.warning("%s, which is slower; the option strict refuses this", split)
        reason = f"{choice.reason}; {split}" if split else choice.reason
        self._session: Any = session
        self._provider = provider
        self._turn = threading.Lock() if provider in ONE_RUN_AT_A_TIME else contextlib.nullcontext()
        self._inputs = session_inputs(session)
        self._outputs = tuple(node.name for node in session.get_outputs())
        self._max_batch = max_batch
        self._info = EngineInfo(name, device, precision, version, reason, nodes, choice.considered)

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
        """The largest batch of one run; None: any."""
        return self._max_batch

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these inputs by name, as arrays of their own.

        Raises InputError for inputs that do not fit, EngineError when ONNX Runtime fails or was closed.
        """
        session = self._session
        if session is None:
            raise closed(self._info.name)
        ready = checked_feeds(feeds, self._inputs, self._max_batch)
        try:
            with self._turn:
                values = self._compute(session, ready)
        except Exception as error:
            raise failure(f"{self._info.name} failed while running the model", error) from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Free the session; calling it twice is allowed."""
        self._session = None

    def _compute(self, session: Any, ready: Mapping[str, Array]) -> list[Array]:
        values: list[Array] = session.run(self._outputs, ready)
        return values


class GpuSessionEngine(SessionEngine):
    """A session on a GPU. Inputs are copied there once per run, and outputs straight into arrays on the CPU."""

    def probe(self, *batch_sizes: int) -> None:
        """Run zeros: what a GPU cannot do shows when it is asked to run, not when a session is opened.

        Raises EngineUnavailableError for a failure of the hardware or its libraries, EngineError for another.
        """
        for size in batch_sizes:
            zeros = {
                name: np.zeros([size, *(side or 1 for side in spec.shape[1:])], spec.dtype)
                for name, spec in self._inputs.items()
            }
            try:
                self._compute(self._session, zeros)
            except Exception as error:
                self.close()
                raise rejected(self._provider, f"{self._info.name} cannot run the model", error) from error

    def _compute(self, session: Any, ready: Mapping[str, Array]) -> list[Array]:
        binding = session.io_binding()
        for name, value in ready.items():
            binding.bind_cpu_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        session.run_with_iobinding(binding)
        values: list[Array] = binding.copy_outputs_to_cpu()
        return values


def session_inputs(session: Any) -> dict[str, TensorSpec]:
    """The inputs of a session by name."""
    return {
        node.name: TensorSpec(
            shape=tuple(size if isinstance(size, int) else None for size in node.shape),
            dtype=DTYPES.get(node.type, node.type),
        )
        for node in session.get_inputs()
    }
