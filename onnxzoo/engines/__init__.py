"""Engines: inference libraries behind one small protocol (see `onnxzoo.engines.protocol`).

A library is imported when its engine is created, not before.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EngineError, EngineUnavailableError, InputError

if TYPE_CHECKING:
    from .protocol import Engine

# Name -> 'module:class'. The class takes (model_file, *, reason).
ENGINES: Mapping[str, str] = {
    "openvino": "openvino:OpenVINOEngine",
    "onnxruntime": "onnxruntime:OnnxRuntimeEngine",
}

# The reference itself. It runs a checkpoint instead of the ONNX file, so `onnxzoo.model` makes it and not this module.
PADDLE = "paddle"

# Engines of the design that are still to come: asking for one is no typing error.
LATER = ("cuda", "tensorrt")

# What `auto` tries, best first. Measured on 2 cores, ms per image, OpenVINO against ONNX Runtime, both fp32:
# SwinV2-T w8 65 / 69, SwinV2-S w16 139 / 143, PVT_V2_B0 8.9 / 8.7.
AUTO = "auto"
AUTO_ORDER = ("openvino", "onnxruntime")


def create_engine(name: str, model_file: Path) -> Engine:
    """Load an ONNX file into the engine of this name, or into the first of AUTO_ORDER that takes it for `auto`.

    A named engine is strict: nothing else is tried. With `auto`, `info.reason` says which engines were
    passed over and why.

    Raises InputError for an unknown name and for PADDLE, EngineUnavailableError when the engine's library cannot be
    used here, EngineError when it rejects the model.
    """
    if name == AUTO:
        return _create_first(model_file)
    if name == PADDLE:
        raise InputError(
            f"{PADDLE!r} is the reference, which runs the checkpoint and not {model_file.name}: use "
            f"onnxzoo.load(..., engine={PADDLE!r}), 'onnxzoo eval --engine {PADDLE}' or 'onnxzoo validate --weights'"
        )
    if name not in ENGINES:
        known = [AUTO, *ENGINES, PADDLE]
        if name in LATER:
            raise EngineUnavailableError(
                f"the engine {name!r} is not part of this version of onnxzoo; use one of {', '.join([AUTO, *ENGINES])}"
            )
        close = difflib.get_close_matches(name.casefold(), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{name!r} is not an engine of this version{hint} (there are {', '.join(known)})")
    return _create(name, model_file, "requested")


def _create(name: str, model_file: Path, reason: str) -> Engine:
    module, _, class_name = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(f".{module}", __package__), class_name)(model_file, reason=reason)
    return engine


def _create_first(model_file: Path) -> Engine:
    passed_over: list[tuple[str, EngineError | EngineUnavailableError]] = []
    for name in AUTO_ORDER:
        causes = "".join(f"; passed over {other}: {error}" for other, error in passed_over)
        try:
            return _create(name, model_file, f"auto: the first of {', '.join(AUTO_ORDER)} that works here{causes}")
        except (EngineError, EngineUnavailableError) as error:
            passed_over.append((name, error))
    causes = "; ".join(f"{name}: {error}" for name, error in passed_over)
    # With a library at hand that rejects the model, the model is the trouble, not the installation.
    rejected = any(isinstance(error, EngineError) for _, error in passed_over)
    raise (EngineError if rejected else EngineUnavailableError)(f"no engine can run {model_file}: {causes}")
