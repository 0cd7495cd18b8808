"""The library onnxruntime: its import, checks of the installation, its log, and the options of all sessions."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ..errors import EngineUnavailableError
from ..packages import ONNXRUNTIME_PACKAGES, installed_versions
from .library_failures import unavailable
from .options import EngineOptions
from .telemetry import without_telemetry

# Severities. Sessions log errors. The library's global logger, which writes messages from before a session exists, is
# silenced while one is opened, when every failure raises an exception. Its earlier setting cannot be queried, so it is
# reset to the library's default.
LOG_ERRORS_ONLY, LOG_FATAL_ONLY, LOG_DEFAULT = 3, 4, 2
# The oldest version whose sessions report which nodes run where.
OLDEST_THAT_TELLS = "1.24"

_quiet = 0
_quieting = threading.Lock()


def import_onnxruntime(install: str) -> ModuleType:
    """The library. Raises EngineUnavailableError, which contains `install`, if it is missing or broken."""
    try:
        with without_telemetry():
            import onnxruntime
    except (ImportError, OSError) as error:
        raise unavailable("onnxruntime", error, reinstall(install)) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # `pip uninstall` of one of two packages leaves a folder, which Python imports as an empty package.
        raise EngineUnavailableError(f"onnxruntime is installed but empty; reinstall it: {reinstall(install)}")
    module: ModuleType = onnxruntime
    return module


def installed_packages() -> dict[str, str]:
    """The installed packages that provide `onnxruntime`, with their versions. More than one is a fault."""
    return installed_versions(ONNXRUNTIME_PACKAGES)


def reinstall(install: str) -> str:
    """The command that results in one working package, independent of the present installation."""
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


def too_old_to_tell(module: ModuleType, provider: str) -> EngineUnavailableError:
    """The error for a version whose sessions do not report which nodes they run on `provider`."""
    package = next(iter(installed_packages()), "onnxruntime")
    return EngineUnavailableError(
        f"onnxruntime {module.__version__} cannot tell which nodes run on {provider} and which on the CPU, "
        f"expected {OLDEST_THAT_TELLS} or newer: pip install --upgrade '{package}>={OLDEST_THAT_TELLS}'"
    )


def session_options(module: ModuleType, options: EngineOptions) -> Any:
    """The common options of our sessions."""
    chosen = module.SessionOptions()
    chosen.log_severity_level = LOG_ERRORS_ONLY
    # Worker threads keep spinning after a run, for 35 ms of CPU time here, and slow down the rest of the process.
    # Spinning during a run is worth its cost: without it, small graphs take 1.5 times as long.
    chosen.add_session_config_entry("session.force_spinning_stop", "1")
    chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    chosen.intra_op_num_threads = options.cpu_threads
    return chosen


@contextlib.contextmanager
def quiet(module: ModuleType) -> Iterator[None]:
    """Silence ONNX Runtime's global logger in this block, in all threads."""
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
