"""Finds the settings of an engine that could explain an error of a certain size at a certain place."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from ..cpu import cpu
from ..precisions import BF16, FP16, FP32, PRECISIONS
from ..results import EngineInfo

TF32 = "tf32"  # for products only, so it is not a precision that can be requested
# Half a unit in the last place, the largest relative error of rounding one number.
ROUNDING = {TF32: 2.0**-11} | {name: one.rounding for name, one in PRECISIONS.items() if one.rounding}
# Measured factor, in both directions, between this and the rms error of a layer with rounded inputs and weights.
SPREAD = 20.0


def cpu_flags() -> frozenset[str]:
    """Instruction sets of this CPU, as `onnxzoo.cpu` names them (`avx512_bf16`); empty if they are unknown."""
    return frozenset(cpu().instruction_sets or ())


def suspects(info: EngineInfo, part: str, error: float, *, from_the_start: bool) -> tuple[str, ...]:
    """Settings of the engine `info` that could cause an error of this size (relative, rms) in this part of a model.

    `from_the_start`: whether the error starts in the first layer, which indicates a lower precision rather than a
    faulty layer. The result is empty if no known setting fits.
    """
    return tuple(_suspects(info, part, error, from_the_start))


def _suspects(info: EngineInfo, part: str, error: float, from_the_start: bool) -> Iterator[str]:
    if info.precision != FP32:
        yield f"{info.name} says that it computes in {info.precision}, not in {FP32}"
    elif from_the_start:
        for kind, setting in _lower_precisions(info):
            if ROUNDING[kind] / SPREAD < error < ROUNDING[kind] * SPREAD:
                yield f"{kind} arithmetic, whose rounding is of this size: {setting}"
    if part.endswith(".attn") and error < float("inf"):
        yield f"fused attention: {_ATTENTION.get(info.name, 'the engine may compute attention in one piece')}"


def _lower_precisions(info: EngineInfo) -> Iterator[tuple[str, str]]:
    flags = cpu_flags()
    if info.name == "openvino" and flags & {"avx512_bf16", "amx_bf16"}:
        yield BF16, "OpenVINO's own choice on this CPU unless INFERENCE_PRECISION_HINT is f32"
    if info.name == "openvino" and platform.machine().lower() in ("arm64", "aarch64"):
        yield FP16, "OpenVINO's own choice on ARM unless INFERENCE_PRECISION_HINT is f32"
    if info.name == "onnxruntime" and "bf16" in flags:
        yield BF16, "fast-math, mlas.enable_gemm_fastmath_arm64_bfloat16"
    if info.name in ("cuda", "tensorrt", "tensorrt-rtx"):
        yield TF32, "TF32, off with use_tf32=0 (cuda) or NVIDIA_TF32_OVERRIDE=0 (tensorrt, tensorrt-rtx)"
    if info.name == "tensorrt":
        yield FP16, "trt_fp16_enable or trt_bf16_enable"


_ATTENTION = {
    "openvino": "OpenVINO fuses it into ScaledDotProductAttention or a snippet (SNIPPETS_MODE=DISABLE is the test)",
    "onnxruntime": "ONNX Runtime's graph optimisation level (ORT_DISABLE_ALL is the test)",
    "cuda": "flash and memory-efficient kernels (ORT_DISABLE_FUSED_ATTENTION=1 is the test)",
    "tensorrt": "fused multi-head attention kernels",
    "tensorrt-rtx": "fused multi-head attention kernels",
}
