"""Precision `auto` on CPUs: int8 where that is measured to be faster and recorded to be right, else fp32; and why.

Measured, int8 to fp32, same engine, batch 1, two cores:

    AVX512 with VNNI     SwinV2-T w8 1.9 (ONNX Runtime), 2.4 (OpenVINO); pvt_v2_b0 1.3, 1.4
    AVX2 without VNNI    SwinV2-T w8 1.15, 1.0; pvt_v2_b0 slower than fp32 on both

AVX-VNNI has the same instruction for 256 bits; processors with AMX for int8 have AVX512-VNNI as well. ARM's dot-product
instructions were not measured.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..cpu import cpu
from ..precisions import AUTO_PRECISION, FP32, INT8, PRECISIONS

FASTER: Mapping[str, frozenset[str]] = {
    "openvino": frozenset({"avx512_vnni", "avx_vnni", "amx_int8"}),
    "onnxruntime": frozenset({"avx512_vnni", "avx_vnni", "amx_int8"}),
}
"""Engines that run on CPUs -> the instruction sets of which each makes int8 faster than fp32."""
CPU_DEVICES = ("", "CPU", "CPUExecutionProvider")
FULL_BITS = 8


def on_cpu(engine: str) -> bool:
    """Whether an engine's name, with its device, is one of FASTER on a CPU."""
    base, _, device = engine.partition(":")
    return base in FASTER and device in CPU_DEVICES


def without_int8(engine: str, precisions: Collection[str], proved: Mapping[str, Collection[str]]) -> tuple[bool, str]:
    """Whether `auto` leaves a model's int8 file alone on this engine, and why or why not; "" where there is no choice.

    `precisions`: of the model's files. `proved`: the engines in which each of them passed a recorded validation.
    """
    if not on_cpu(engine) or INT8 not in precisions or FP32 not in precisions:
        return False, ""
    base = engine.partition(":")[0]
    sets = set(cpu().instruction_sets or ())
    if not sets & FASTER[base]:
        return True, f"{AUTO_PRECISION}: not int8, which is not known to be faster on CPUs without VNNI"
    if base not in proved.get(INT8, ()):
        return True, f"{AUTO_PRECISION}: not int8, as no validation of that file on {base} is recorded"
    return False, f"{AUTO_PRECISION}: int8, which {min(sets & FASTER[base])} makes faster; its validation is recorded"


def saturates(engine: str, weights_bits: int | None) -> bool:
    """Whether products of weights of so many bits are wrong on this CPU: of all 8, without VNNI or the like.

    False where the system does not say what the CPU has.
    """
    sets = cpu().instruction_sets
    exact = PRECISIONS[INT8].instruction_sets
    return weights_bits == FULL_BITS and on_cpu(engine) and sets is not None and not set(sets) & exact
