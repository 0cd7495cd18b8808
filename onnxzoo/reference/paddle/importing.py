"""The one place that imports PaddlePaddle for the first time, and says what to do when it is missing."""

from __future__ import annotations

import importlib.util
import warnings

from ...errors import MissingDependencyError, one_line, raise_if_interrupted
from ...signals import handlers_kept


def require_paddle() -> None:
    """Import `paddle`, so that later imports of it are silent and cannot fail.

    Raises MissingDependencyError, one line, when it is not installed or cannot be imported.
    """
    if importlib.util.find_spec("paddle") is None:
        raise MissingDependencyError(
            "PaddlePaddle is not installed: pip install 'onnxzoo[export]' (Python 3.11 or 3.12)"
        )
    with warnings.catch_warnings(), handlers_kept():
        # Its C++ handlers of signals would end the process at once, and leave temporary files and children behind.
        # It warns that it found no ccache, which only those need who compile their own operators.
        warnings.simplefilter("ignore")
        try:
            import paddle  # noqa: F401
        except ImportError as error:
            raise_if_interrupted(error)
            raise MissingDependencyError(
                f"PaddlePaddle is installed but cannot be imported ({one_line(error)}); install it again: pip install"
                " 'onnxzoo[export]'"
            ) from error
        except OSError as error:
            raise MissingDependencyError(
                f"PaddlePaddle cannot be imported ({one_line(error)}); it keeps files in the home folder: set HOME to "
                "a folder that can be written"
            ) from error
