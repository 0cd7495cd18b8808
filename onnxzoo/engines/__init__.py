"""Engines: inference libraries with one small interface (see `onnxzoo.engines.protocol`).

A library is imported only when its engine is opened. A new engine is a module with a class like
`protocol.EngineClass`, and an entry in ENGINES.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from ..errors import InputError, WrongResultsError
from ..precisions import AUTO_PRECISION, INT8, quantize_hint
from .auto_precision import saturates, without_int8
from .options import EngineOptions
from .selection import AUTO, AUTO_ORDER, VARIABLE, chosen_order, first_that_works

if TYPE_CHECKING:
    from .protocol import EngineClass, LibraryEngine, ModelFile, ModelFiles, Selection

__all__ = [
    "AUTO",
    "AUTO_ORDER",
    "ENGINES",
    "EXACT",
    "PADDLE",
    "REFERENCES",
    "REMOTE",
    "EngineOptions",
    "create_engine",
    "engine_class",
    "is_remote",
    "require_possible",
]

# Name -> 'module:class'. A colon and a device may follow the name if the engine has several.
ENGINES: Mapping[str, str] = {
    "openvino": "openvino:OpenVINOEngine",
    "onnxruntime": "onnxruntime:OnnxRuntimeEngine",
    # TensorRT is first, as it can disable TF32 only before CUDA is used, if all are tried in one process.
    "tensorrt": "onnxruntime_tensorrt:TensorRTEngine",
    "tensorrt-rtx": "onnxruntime_tensorrt_rtx:TensorRTRTXEngine",
    "cuda": "onnxruntime_cuda:CudaEngine",
}

# Models on servers, which run their own files. They are used only if their address is named: `oip:http://HOST:PORT/MODEL`.
REMOTE: Mapping[str, str] = {"oip": "oip:OpenInferenceEngine"}

# The references: in Paddle, and in NumPy and float64. They run a checkpoint instead of the ONNX file, so
# `onnxzoo.model` creates them, not this module.
PADDLE, EXACT = "paddle", "exact"
REFERENCES = (PADDLE, EXACT)


logger = logging.getLogger(__name__)

Check: TypeAlias = "Callable[[LibraryEngine, ModelFile], None]"
"""Called with an engine that has opened a file; raises, as in `onnxzoo.first_use`, if it must not be used."""


def create_engine(
    name: str,
    model: Path | ModelFile | ModelFiles,
    options: EngineOptions | None = None,
    *,
    check: Check = lambda _engine, _file: None,
) -> LibraryEngine:
    """Load a model into the engine of this name, or for `auto` into the first engine of the order that works.

    `name`: a key of ENGINES, optionally with a colon and a device (`openvino:GPU`, `cuda:1`,
    `onnxruntime:CoreMLExecutionProvider`), or of REMOTE with a colon and an address. For a named engine no other one is
    tried. With `auto`, the order is AUTO_ORDER or that of the environment variable ONNXZOO_ENGINE, and `info.reason`
    says what was skipped and why.
    `model`: an fp32 ONNX file, a file with a description, or those of an artifact, from which the engine selects the
    one for the requested precision. `options`: by default exact fp32, see EngineOptions. `check`: may refuse an open
    engine; after WrongResultsError, precision `auto` tries the next file, and `auto` the next engine.

    Raises InputError for an unknown name, for one of REFERENCES, and for a precision that the engine or the model does
    not have; EngineUnavailableError if the engine cannot be used here, with cause and fix; EngineError if it rejects
    the model.
    """
    from .protocol import ModelFiles, Selection

    options = EngineOptions() if options is None else options
    if name != AUTO:
        return _create(name, model, options, Selection(), check)
    order = chosen_order(ENGINES)

    if order is None:
        # An order given by the user is tried as it is, even if an engine has to be built.
        options = replace(options, build=False)

    if isinstance(model, ModelFiles):
        # A file that several engines of the order use is verified only once.
        model = replace(model, open=functools.cache(model.open))

        _require_file(order or AUTO_ORDER, model, options)

    def skip_reason(engine: str) -> str | None:
        if order is not None:
            return None
        kind = engine_class(engine)
        return kind.skip_reason(lambda: _opened(model, _file_precisions(engine, kind, model, options)[0]), options)

    return first_that_works(
        order or AUTO_ORDER,
        lambda engine, selection: _create(engine, model, options, selection, check),
        skip_reason,
        what=_described(model),
        source=f"{VARIABLE}=" if order else "",
    )


def engine_class(name: str) -> EngineClass:
    """The class of a name, with or without a device, without importing its library.

    Raises InputError for an unknown name, with the closest known one, for one of REFERENCES, and for one of REMOTE
    without a valid address.
    """
    if not isinstance(name, str):
        raise InputError(f"an engine is named by text, such as 'openvino', got {type(name).__name__}")
    base, _, device = name.partition(":")
    if base in REFERENCES:
        raise InputError(
            f"{base!r} is the reference, which runs the checkpoint and not an ONNX file: use "
            f"onnxzoo.load(..., engine={base!r}), 'onnxzoo eval --engine {base}' or 'onnxzoo validate --weights'"
        )
    classes = {**ENGINES, **REMOTE}
    if base not in classes:
        known = [AUTO, *classes, *REFERENCES]
        close = difflib.get_close_matches(base.casefold(), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{name!r} is not an engine of this version{hint} (there are {', '.join(known)})")
    if base in REMOTE:
        from .oip_address import parse_address

        parse_address(device)
    module, _, class_name = classes[base].partition(":")
    return cast("EngineClass", getattr(import_module(f".{module}", __package__), class_name))


def is_remote(name: str) -> bool:
    """Whether an engine of this name is a server, which runs its own file."""
    return name.partition(":")[0] in REMOTE


def require_possible(name: str, options: EngineOptions) -> None:
    """Raise InputError as `create_engine` does, before a model is resolved, for faults independent of the model."""
    if name == AUTO:
        chosen_order(ENGINES)
    else:
        _usable(name, engine_class(name), options)


def _create(
    name: str, model: Path | ModelFile | ModelFiles, options: EngineOptions, selection: Selection, check: Check
) -> LibraryEngine:
    from .protocol import ModelFiles

    kind = engine_class(name)
    precisions = _file_precisions(name, kind, model, options)
    why = ""
    if options.precision == AUTO_PRECISION and isinstance(model, ModelFiles):
        _, why = without_int8(name, model.precisions, model.proved)
    while True:
        precision, *others = precisions
        chosen = replace(selection, reason=f"{selection.reason}; {why}") if why else selection
        try:
            return _open(name, kind, _opened(model, precision), options, chosen, check)
        except WrongResultsError as error:
            if options.precision != AUTO_PRECISION or not others:
                raise
            logger.warning("%s; using the file in %s", error, others[0])
            why = f"{AUTO_PRECISION}: not {precision}, as {error}"
            precisions = others


def _open(
    name: str, kind: EngineClass, file: ModelFile, options: EngineOptions, selection: Selection, check: Check
) -> LibraryEngine:
    if saturates(name, file.weights_bits):
        logger.warning(
            "the int8 weights of %s use all 8 bits, and their products saturate on this CPU, which has no VNNI: its "
            "answers may be wrong; quantise the model with 7 bits, or use fp32",
            file.path,
        )
    _, _, device = name.partition(":")
    engine = kind.open(file, options=options, device=device or None, selection=selection)
    try:
        check(engine, file)
    except BaseException:
        engine.close()
        raise
    return engine


def _file_precisions(
    name: str, kind: EngineClass, model: Path | ModelFile | ModelFiles, options: EngineOptions
) -> list[str]:
    """The precisions of the model's ONNX files for the requested precision on this engine, best first."""
    from .protocol import ModelFile, ModelFiles

    usable = _usable(name, kind, options)
    given = ModelFile(model) if isinstance(model, Path) else model
    precisions = given.precisions if isinstance(given, ModelFiles) else (given.precision,)
    found = [precision for precision in usable if precision in precisions]
    if options.precision == AUTO_PRECISION and isinstance(given, ModelFiles):
        without, _ = without_int8(name, precisions, given.proved)
        found = [one for one in found if not (without and one == INT8)]
    if found:
        return found
    raise InputError(
        f"the engine {name!r} computes in {options.precision} from an ONNX file in {' or '.join(usable)}; "
        f"{_described(model)} has {', '.join(precisions) or 'none'}"
    )


def _require_file(order: Sequence[str], model: ModelFiles, options: EngineOptions) -> None:
    """Refuse a precision that the model has no file for, where that alone keeps every engine from it."""
    kinds = [engine_class(name) for name in order]
    usable = {precision for kind in kinds for precision in kind.FILES.get(options.precision, ())}
    if usable and not usable & set(model.precisions):
        wanted = options.precision
        there = ", ".join(model.precisions) or "none"
        raise InputError(f"the model has no {wanted} file (it has {there}){quantize_hint(wanted, 'MODEL')}")


def _opened(model: Path | ModelFile | ModelFiles, precision: str) -> ModelFile:
    """The model's file in this precision, verified if it is an artifact's."""
    from .protocol import ModelFile, ModelFiles

    if isinstance(model, Path):
        return ModelFile(model)
    return model.open(precision) if isinstance(model, ModelFiles) else model


def _usable(name: str, kind: EngineClass, options: EngineOptions) -> tuple[str, ...]:
    """The precisions of ONNX files for the requested precision, best first."""
    usable = kind.FILES.get(options.precision)
    if usable is None:
        raise InputError(f"the engine {name!r} has no precision {options.precision!r} (it has {', '.join(kind.FILES)})")
    return usable


def _described(model: Path | ModelFile | ModelFiles) -> str:
    from .protocol import ModelFiles

    if isinstance(model, Path):
        return str(model)
    return "the model" if isinstance(model, ModelFiles) else str(model.path)
