"""`auto`: the first engine of an order that works here, with the reasons for passing over the ones before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

from ..errors import EngineError, EngineUnavailableError, InputError
from .protocol import Choice, Engine

AUTO = "auto"

# What `auto` tries, best first. TensorRT only counts where its engine for this model, GPU and batch size was built
# before (`onnxzoo warmup`): nobody waits minutes for a first prediction. TensorRT-RTX has to be asked for.
# Measured on 2 cores, ms per image, OpenVINO against ONNX Runtime, both fp32: SwinV2-T w8 65 / 69, SwinV2-S w16
# 139 / 143, PVT_V2_B0 8.9 / 8.7.
AUTO_ORDER = ("tensorrt", "cuda", "openvino", "onnxruntime")

# One engine, or several with commas in between, to be tried in the place of AUTO_ORDER.
VARIABLE = "ONNXZOO_ENGINE"


def chosen_order(known: Collection[str]) -> tuple[str, ...] | None:
    """The order that the user's environment names; None without one.

    `known`: names of engines; each may be followed by a colon and a device. Raises InputError naming the variable for
    a name that is not among them.
    """
    value = os.environ.get(VARIABLE, "").strip()
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not value or names == (AUTO,):
        return None
    unknown = [name for name in names if name.partition(":")[0] not in known]
    if unknown or not names:
        raise InputError(
            f"the environment variable {VARIABLE}={value!r} must name engines, separated by commas; "
            f"{unknown[0] if unknown else value!r} is none (there are {', '.join(known)})"
        )
    return names


def first_that_works(
    order: Sequence[str],
    create: Callable[[str, Choice], Engine],
    passed_over: Callable[[str], str | None],
    *,
    what: str,
    source: str = "",
) -> Engine:
    """The first engine of `order` that `create` can make; its `info` says what was passed over before it, and why.

    `passed_over` tells cheaply why an engine need not be tried. `what` names the model in the error, `source` goes
    before the order in the reason.
    Raises InputError, EngineUnavailableError or EngineError when none works, with every cause.
    """
    considered: list[tuple[str, str]] = []
    errors: list[Exception] = []
    for name in order:
        causes = f"; passed over {_causes(considered)}" if considered else ""
        reason = f"auto: the first of {source}{', '.join(order)} that works here{causes}"
        try:
            why = passed_over(name)
            if why is None:
                return create(name, Choice(reason, tuple(considered)))
            considered.append((name, why))
        except (EngineError, EngineUnavailableError, InputError) as error:
            considered.append((name, str(error)))
            errors.append(error)
    raise _worst(errors)(f"no engine of {source}{', '.join(order)} can run {what}: {_causes(considered)}")


def _causes(considered: Sequence[tuple[str, str]]) -> str:
    """The engines with the causes, one that several share named once."""
    names: dict[str, list[str]] = {}
    for name, why in considered:
        names.setdefault(why, []).append(name)
    return "; ".join(f"{' and '.join(those)}: {why}" for why, those in names.items())


def _worst(errors: Sequence[Exception]) -> type[EngineError | EngineUnavailableError | InputError]:
    """With a library at hand that rejects the model, the model is the trouble, not the installation.

    Where nothing but the request was at fault (a precision that no engine has here), it is the request.
    """
    if any(isinstance(error, EngineError) for error in errors):
        return EngineError
    return InputError if errors and all(isinstance(error, InputError) for error in errors) else EngineUnavailableError
