"""Reads ONNX files with the package onnx, which only some validations need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import MissingDependencyError, ValidationError


@contextlib.contextmanager
def reading(path: Path, compared: str) -> Iterator[Any]:
    """The package onnx, for reading the file at `path` inside the block; `compared`: what is compared, in the plural.

    Raises MissingDependencyError without the package, ValidationError for any failure in the block.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            f"comparing {compared} needs the package onnx; install it: pip install 'onnxzoo[export]'"
        ) from error
    try:
        yield onnx
    except Exception as error:
        raise ValidationError(f"{path} cannot be read: {error}") from error
