"""The one place that says what to do when PaddlePaddle is missing."""

from __future__ import annotations

import importlib.util

from ..errors import MissingDependencyError


def require_paddle() -> None:
    """Raise MissingDependencyError, one line, when `paddle` cannot be imported; does not import it."""
    if importlib.util.find_spec("paddle") is None:
        raise MissingDependencyError(
            "PaddlePaddle is not installed: pip install 'onnxzoo[export]' (Python 3.11 or 3.12)"
        )
