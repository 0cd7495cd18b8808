"""The library onnxruntime: imported, found wanting, made quiet; and what all its sessions have in common."""

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

# Severities. Sessions log errors. The logger of the whole library, which writes what happens before there is a session,
# is silent while one is opened: every failure is an exception then. What it was set to cannot be asked: it is set to
# the library's default again.
LOG_ERRORS_ONLY, LOG_FATAL_ONLY, LOG_DEFAULT = 3, 4, 2
# The oldest version whose sessions tell which nodes run where.
OLDEST_THAT_TELLS = "1.24"

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


def too_old_to_tell(module: ModuleType, provider: str) -> EngineUnavailableError:
    """The error for a version whose sessions do not say which nodes they run on `provider`."""
    package = next(iter(installed_packages()), "onnxruntime")
    return EngineUnavailableError(
        f"onnxruntime {module.__version__} cannot tell which nodes run on {provider} and which on the CPU, "
        f"expected {OLDEST_THAT_TELLS} or newer: pip install --upgrade '{package}>={OLDEST_THAT_TELLS}'"
    )


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
