"""`auto`: the first engine of an order that works here, with the reasons for skipping those before it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence

from ..errors import EngineError, EngineUnavailableError, InputError, one_line
from .protocol import LibraryEngine, NotBuiltError, Selection

AUTO = "auto"

# The order of `auto`, best first. TensorRT is used only if its engine for this model, GPU and batch size was built
# before (`onnxzoo warmup`), as building takes minutes. TensorRT-RTX is used only on request.
# On CPUs one order serves both families and every kind of processor. Measured, ms per image, OpenVINO against ONNX
# Runtime, fp32, batch 1, two cores (benchmarks/results/graphs.md has the second row):
#
#                          SwinV2-T w8   SwinV2-S w16   PVT_V2_B0    PVT_V2_B2_Linear
#     AVX512, Zen 4        63 / 69       133 / 143      7.5 / 8.7    43.5 / 46
#     AVX512, a newer EPYC 30.8 / 35.5   66 / 77        3.7 / 4.9    21.4 / 23.3
#     AVX2                 85 / 86                      11.0 / 11.1
#
# ONNX Runtime starts 0.15 to 0.2 s sooner, which OpenVINO compensates within 30 (SwinV2) to 150 images (PVTv2). So
# `auto` prefers OpenVINO; users who start a process for each image can name ONNX Runtime.
AUTO_ORDER = ("tensorrt", "cuda", "openvino", "onnxruntime")

# One engine, or several separated by commas, which replace AUTO_ORDER.
VARIABLE = "ONNXZOO_ENGINE"

# A warning is logged if an NVIDIA GPU is not used because one of these failed.
NEED_NVIDIA = ("tensorrt", "tensorrt-rtx", "cuda")

logger = logging.getLogger(__name__)


def chosen_order(known: Collection[str]) -> tuple[str, ...] | None:
    """The order given by the user's environment; None if it is not set.

    `known`: names of engines; each may be followed by a colon and a device. Raises InputError, which names the
    variable, for an unknown name.
    """
    value = os.environ.get(VARIABLE, "").strip()
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not value or names == (AUTO,):
        return None
    unknown = [name for name in names if name.partition(":")[0] not in known]
    if unknown or not names:
        raise InputError(
            f"the environment variable {VARIABLE}={value!r} must name engines, separated by commas; "
            f"{unknown[0] if unknown else value!r} is not an engine (available: {', '.join(known)})"
        )
    return names


def first_that_works(
    order: Sequence[str],
    create: Callable[[str, Selection], LibraryEngine],
    skip_reason: Callable[[str], str | None],
    *,
    what: str,
    source: str = "",
) -> LibraryEngine:
    """The first engine of `order` that `create` can create; its `info` lists the skipped engines with the reasons.

    `skip_reason` returns cheaply why an engine can be skipped. `what` names the model in the error; `source` precedes
    the order in the reason. If a GPU is present but its engine failed, a warning is logged.
    Raises InputError, EngineUnavailableError or EngineError with every cause if none works.
    """
    considered: list[tuple[str, str]] = []
    errors: dict[str, Exception] = {}
    for name in order:
        causes = f"; skipped {_causes(considered)}" if considered else ""
        reason = f"auto: the first of {source}{', '.join(order)} that works here{causes}"
        try:
            why = skip_reason(name)
            if why is None:
                engine = create(name, Selection(reason, tuple(considered)))
                _warn_of_unused_gpu(errors, name)
                return engine
            considered.append((name, why))
        except (EngineError, EngineUnavailableError, InputError) as error:
            considered.append((name, str(error)))
            errors[name] = _without_frames(error)
    raise _worst(list(errors.values()))(
        f"no engine of {source}{', '.join(order)} can run {what}: {_causes(considered)}"
    )


def _without_frames(error: Exception) -> Exception:
    """The error without its tracebacks, whose frames would keep the engine's open resources while the next is tried."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _warn_of_unused_gpu(errors: Mapping[str, Exception], taken: str) -> None:
    """On a machine with an NVIDIA GPU, warn about every engine for it that failed before the selected one.

    There is no warning about an engine that only has to be built first, or if the user hides the GPUs.
    """
    from . import nvidia

    failed = {
        name: error
        for name, error in errors.items()
        if name.partition(":")[0] in NEED_NVIDIA and not isinstance(error, NotBuiltError)
    }
    if not failed or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or nvidia.driver_fault():
        return
    for name, error in failed.items():
        logger.warning("a GPU is here but %s cannot be used: %s; running on %s", name, one_line(error), taken)


def _causes(considered: Sequence[tuple[str, str]]) -> str:
    """The engines with their causes; a cause that several share is listed once."""
    names: dict[str, list[str]] = {}
    for name, why in considered:
        names.setdefault(why, []).append(name)
    return "; ".join(f"{' and '.join(those)}: {why}" for why, those in names.items())


def _worst(errors: Sequence[Exception]) -> type[EngineError | EngineUnavailableError | InputError]:
    """The type of the combined error.

    If any library rejects the model, the model is at fault, not the installation. If all errors are about the request
    (a precision that no engine supports here), the request is at fault.
    """
    if any(isinstance(error, EngineError) for error in errors):
        return EngineError
    return InputError if errors and all(isinstance(error, InputError) for error in errors) else EngineUnavailableError
