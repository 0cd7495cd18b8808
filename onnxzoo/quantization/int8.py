"""Quantises an fp32 file to int8: calibrates, measures each layer, and keeps the noisiest layers in fp32."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from ..precisions import FP32, INT8, PRECISIONS
from .images import Images
from .layers import head_in_fp32
from .measure import Bench
from .noise import Noise, decibels, power
from .report import LayerEffect
from .search import search
from .static import StaticQuantizer
from .steps import Step

MARGIN_DB = 2.0
"""Margin in dB from the limit of a validation for recorded inputs, as other engines and CPUs round differently."""


def quantize_to_int8(
    fp32_file: Path,
    target: Path,
    bench: Bench,
    images: Images,
    *,
    min_snr_db: float,
    weights_bits: int,
    work: Path,
    written: Callable[[], None],
    accepted: Callable[[], bool],
    step: Step,
) -> tuple[tuple[LayerEffect, ...], int]:
    """Write `target`; returns the layers, noisiest first, and the number of measured candidates.

    Ranges come from the calibration images and the recorded inputs. Without the latter, noise, black and saturated
    images would be clipped, with 14 dB instead of 25; with them, real images lose 0.3 dB (shipped models). `written`
    is called when `target` has been written; `accepted` returns whether its accuracy is acceptable.

    Raises QuantizationError if the limits cannot be kept, InputError for a file that cannot be quantised.
    """
    step("calibrating")
    everything = np.concatenate([images.calibration, bench.vectors.images])
    quantizer = StaticQuantizer(fp32_file, everything, weights_bits, work)
    single = work / "single.onnx"

    def measure(fp32_layers: Collection[str]) -> Noise:
        if fp32_layers:
            step(f"measuring with {len(fp32_layers)} layers in fp32")
        target.unlink(missing_ok=True)
        quantizer.write(target, fp32_layers, images.origin)
        written()
        return bench.noise(target, INT8)

    quantizer.write(single, ())
    grafts = quantizer.grafts(single)
    alone: dict[str, Noise] = {}
    for number, layer in enumerate(quantizer.layers):
        step("measuring each layer alone", len(quantizer.layers), number)
        single.write_bytes(grafts.alone(layer))
        alone[layer.name] = bench.noise(single, INT8)

    start = head_in_fp32(quantizer.layers)
    limit = PRECISIONS[INT8].snr_db or 0.0
    found = search(
        {layer.name: layer.parameters for layer in quantizer.layers},
        alone,
        (power(min_snr_db), power(limit + MARGIN_DB)),
        measure,
        measure(start),
        start,
        accepted,
    )
    effects = [
        LayerEffect(
            layer.name,
            layer.operator,
            layer.parameters,
            decibels(alone[layer.name][0]),
            decibels(alone[layer.name][1]),
            FP32 if layer.name in found.fp32_layers else INT8,
        )
        for layer in quantizer.layers
    ]
    return tuple(sorted(effects, key=lambda effect: effect.held_out_db)), found.candidates
