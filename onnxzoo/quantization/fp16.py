"""Converts an fp32 file to fp16. Nodes that overflow or lose most stay in fp32, until the limits hold."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from ..precisions import FP16, FP32, PRECISIONS
from .half import HalfConverter
from .images import Images
from .measure import LOGITS, Bench, ratio
from .noise import Noise, decibels, power
from .report import LayerEffect
from .search import search
from .steps import Step

MARGIN_DB = 1.0
"""Margin in dB that recorded inputs must keep from the limit of a validation."""


def convert_to_fp16(
    fp32_file: Path,
    target: Path,
    bench: Bench,
    images: Images,
    *,
    min_snr_db: float,
    work: Path,
    written: Callable[[], None],
    accepted: Callable[[], bool],
    step: Step,
) -> tuple[tuple[LayerEffect, ...], int]:
    """Write `target`; returns the kinds of nodes, those in fp32 first, and the number of measured candidates.

    Nodes are of one kind if their names differ only in the numbers of blocks. Kinds are measured individually only if
    all of them together make too much noise; otherwise their ratios are infinite. `written` and `accepted` as in
    `quantize_to_int8`. Raises QuantizationError, InputError.
    """
    step("finding what overflows")
    converter = HalfConverter(fp32_file, work)
    overflowing = converter.overflowing(np.concatenate([images.calibration, bench.vectors.images]))
    barred = {kind for kind, nodes in converter.kinds.items() if set(nodes) & overflowing.keys()}
    free = [kind for kind in converter.kinds if kind not in barred]

    def nodes_of(kinds: Collection[str]) -> list[str]:
        return [node for kind in (*barred, *kinds) for node in converter.kinds[kind]]

    def noise(kinds: Collection[str]) -> Noise:
        """The noise with these kinds and the overflowing nodes in fp32."""
        held_out = converter.rounded(bench.held_out, nodes_of(kinds))[LOGITS]
        recorded = converter.rounded(bench.vectors.images, nodes_of(kinds))
        worst = min(ratio(bench.vectors.outputs[name], values) for name, values in recorded.items())
        return power(ratio(bench.expected(), held_out)), power(worst)

    def measure(kinds: Collection[str]) -> Noise:
        step(f"measuring with {len(kinds) + len(barred)} kinds of nodes in fp32")
        target.unlink(missing_ok=True)
        converter.write(target, nodes_of(kinds))
        written()
        return noise(kinds)

    limits = power(min_snr_db), power((PRECISIONS[FP16].snr_db or 0.0) + MARGIN_DB)
    whole = measure(())
    alone: dict[str, Noise] = {}
    if any(value > limit for value, limit in zip(whole, limits, strict=True)):
        for number, kind in enumerate(free):
            step("measuring without each kind of nodes", len(free), number)
            alone[kind] = noise([each for each in free if each != kind])
    else:
        alone = dict.fromkeys(free, (0.0, 0.0))
    weights = {kind: len(converter.kinds[kind]) for kind in free}
    found = search(weights, alone, limits, measure, whole, accepted=accepted)
    effects = [
        LayerEffect(
            kind,
            f"{len(nodes)} nodes",
            0,
            decibels(alone[kind][0]) if kind in alone else float("-inf"),
            decibels(alone[kind][1]) if kind in alone else float("-inf"),
            FP32 if kind in barred or kind in found.fp32_layers else FP16,
        )
        for kind, nodes in converter.kinds.items()
    ]
    return tuple(sorted(effects, key=lambda effect: (effect.precision != FP32, effect.held_out_db))), found.candidates
