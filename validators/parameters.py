"""The parameters inside an ONNX file against the checkpoint's, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ParameterCheck:
    """`problems`: a line for every parameter that differs; true when there is none.

    `equal`: parameters found under their name with their values. `absent`: names of those that the file does not hold
    under their name (folded into others, or renamed).
    """

    equal: int
    absent: tuple[str, ...]
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.problems


def check_parameters(
    model_file: Path, state: Mapping[str, npt.NDArray[np.float32]], architecture: Any
) -> ParameterCheck:
    """Compare the initializers of an fp32 ONNX file with a checkpoint's `state`, where the names are the same."""
    raise NotImplementedError
