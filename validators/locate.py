"""Selects the inputs and the reference for bisecting a failed comparison."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..engines import is_remote
from ..errors import OnnxzooError
from ..precisions import FP32
from ..results import Array
from .bisect import Bisection, bisect
from .engine_checks import ORDER, Check
from .references import AGAINST, LIVE, Reference
from .validate import Validation

MAX_IMAGES = 4
"""Maximum number of inputs to bisect with, as the values of their layers are all held in memory."""


def locate(validation: Validation, *, every_layer: bool = False) -> Iterator[Bisection]:
    """Bisect every engine whose fp32 outputs differ from a reference with layers, or between batch sizes.

    There is one bisection per engine, with the inputs and at least the batch size of its first failed check of this
    kind. With `every_layer`, engines and precisions without failures are included, and all layers are compared instead
    of one block. If a bisection is not possible, its `message` says why.
    """
    reference = layered(validation)
    if reference is None:
        return
    done = set()
    # A failure at batch 1 comes first, as it is the simplest to examine.
    for check in sorted(validation.checks, key=lambda check: (bool(check), check.batch_size)):
        key = (check.requested, check.precision)
        concerned = check.batch_size > 0 and check.reference in (reference.name, ORDER)
        if not concerned or key in done or not (every_layer or (not check and check.precision == FP32)):
            continue
        done.add(key)
        if is_remote(check.requested):
            message = (
                f"{check.requested}: a server does not give the values of layers; validate its file on an engine here"
            )
            yield Bisection(check.engine, (), None, None, None, {}, (), message)
            continue
        try:
            source = reference.layers(check.requested)
            if source is None:
                continue
            yield bisect(
                validation.artifact,
                check.requested,
                _images(validation, check),
                source,
                precision=check.precision,
                every_layer=every_layer,
                build=validation.build,
            )
        except OnnxzooError as error:
            message = f"{check.requested}: the layers cannot be compared: {error}"
            yield Bisection(check.engine, (), None, None, None, {}, (), message)


def layered(validation: Validation) -> Reference | None:
    """The reference whose layers can be compared; None without `weights` and `against`."""
    return next((validation.references[name] for name in (*LIVE, AGAINST) if name in validation.references), None)


def _images(validation: Validation, check: Check) -> Array:
    """The failed inputs, worst first, then others up to the failed batch size."""
    rows = list(check.comparison.failed_rows[:MAX_IMAGES])
    others = (row for row in range(len(validation.inputs)) if row not in rows)
    while len(rows) < max(check.batch_size, 1):
        row = next(others, None)
        rows.append(0 if row is None else row)
    return np.ascontiguousarray(validation.inputs.images[rows])
