"""Common errors of all engines: the library is missing, the library failed, the engine is closed."""

from __future__ import annotations

from ..errors import EngineError, EngineUnavailableError, one_line, raise_if_interrupted


def unavailable(package: str, error: Exception, install: str) -> EngineUnavailableError:
    """The error for a library that cannot be imported because it is missing or broken.

    Raises KeyboardInterrupt if that ended the import.
    """
    raise_if_interrupted(error)
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return EngineUnavailableError(f"{package} is not installed: {install}")
    return EngineUnavailableError(
        f"{package} is installed but cannot be imported ({one_line(error)}); reinstall it: {install}"
    )


def failure(doing: str, error: object) -> EngineError:
    """The error for a library that failed while `doing` something, with its message on one line."""
    return EngineError(f"{doing}: {one_line(error)}")


def closed(name: str) -> EngineError:
    """The error for a run after `close()`."""
    return EngineError(f"the {name} engine is closed; load the model again")
