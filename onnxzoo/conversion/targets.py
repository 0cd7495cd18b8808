"""The formats that models are converted to, by name."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError
from ..text import beginning
from . import mnn, ncnn, openvino_ir, ort
from .target import Target

TARGETS: Mapping[str, Target] = {one.name: one for one in (ort.TARGET, openvino_ir.TARGET, mnn.TARGET, ncnn.TARGET)}


def target_of(name: str) -> Target:
    """The format of this name; raises InputError for another one."""
    if name not in TARGETS:
        raise InputError(f"models are converted to {', '.join(TARGETS)}; got {beginning(str(name))!r}")
    return TARGETS[name]
