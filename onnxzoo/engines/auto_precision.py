"""Precision `auto` on CPUs: int8 if it was measured to be faster and validated, else fp32, and the reason.

The rule is derived from MEASURED: an instruction set counts for an engine if int8 was at least WORTHWHILE times as fast
as fp32 for every model measured on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..cpu import cpu
from ..precisions import AUTO_PRECISION, FP32, INT8, PRECISIONS

OPENVINO, ONNXRUNTIME = "openvino", "onnxruntime"


@dataclass(frozen=True, slots=True)
class Measured:
    """`speedup`: the ratio of int8's speed to fp32's, in the same engine and run, at batch size 1 on two cores.

    `instruction_set`: the CPU's instruction set for int8, "" for a CPU with AVX2 only.
    """

    engine: str
    instruction_set: str
    model: str
    speedup: float


MEASURED = (
    Measured(ONNXRUNTIME, "avx512_vnni", "swinv2_tiny_w8", 2.08),
    Measured(ONNXRUNTIME, "avx512_vnni", "pvt_v2_b0", 1.38),
    Measured(OPENVINO, "avx512_vnni", "swinv2_tiny_w8", 2.49),
    Measured(OPENVINO, "avx512_vnni", "pvt_v2_b0", 1.39),
    Measured(ONNXRUNTIME, "", "swinv2_tiny_w8", 1.15),
    Measured(ONNXRUNTIME, "", "pvt_v2_b0", 0.8),
    Measured(OPENVINO, "", "swinv2_tiny_w8", 1.0),
    Measured(OPENVINO, "", "pvt_v2_b0", 0.8),
)
"""Measured in 2026 with ONNX Runtime 1.31 and OpenVINO 2026.4, not on ARM. With VNNI: benchmarks/results/bench_int8.md;
without: a trial with files whose convolutions had fp32 outputs, which no machine was there to repeat."""

WORTHWHILE = 1.2
"""A smaller speed-up is not worth a loss of accuracy, and machines of one kind differ as much."""

INCLUDED: Mapping[str, frozenset[str]] = {"avx512_vnni": frozenset({"avx_vnni", "amx_int8"})}
"""Instruction sets that were not measured separately: AVX-VNNI has AVX512-VNNI's instruction for 256 bits, and
processors with AMX for int8 also have AVX512-VNNI."""


def faster_sets(measured: Sequence[Measured] = MEASURED) -> dict[str, frozenset[str]]:
    """Engine -> the instruction sets with which int8 is faster than fp32."""
    found = {}
    for engine in dict.fromkeys(one.engine for one in measured):
        here = [one for one in measured if one.engine == engine and one.instruction_set]
        slow = {one.instruction_set for one in here if one.speedup < WORTHWHILE}
        fast = {one.instruction_set for one in here} - slow
        found[engine] = frozenset(fast.union(*(INCLUDED.get(one, frozenset()) for one in fast)))
    return found


FASTER: Mapping[str, frozenset[str]] = faster_sets()
"""CPU engine -> the instruction sets with which int8 is faster than fp32."""

CPU_DEVICES = ("", "CPU", "CPUExecutionProvider")
FULL_BITS = 8


def on_cpu(engine: str) -> bool:
    """Whether an engine, given by its name with the device, is one of FASTER and runs on a CPU."""
    base, _, device = engine.partition(":")
    return base in FASTER and device in CPU_DEVICES


def without_int8(engine: str, precisions: Collection[str], proved: Mapping[str, Collection[str]]) -> tuple[bool, str]:
    """Whether `auto` skips a model's int8 file on this engine, and the reason; "" if there is no choice.

    `precisions`: of the model's files. `proved`: precision -> the engines in which its file passed a recorded
    validation.
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
    """Whether products with weights of this number of bits saturate on this CPU: with 8 bits, without VNNI or similar.

    False if the CPU's instruction sets are unknown.
    """
    sets = cpu().instruction_sets
    exact = PRECISIONS[INT8].instruction_sets
    return weights_bits == FULL_BITS and on_cpu(engine) and sets is not None and not set(sets) & exact
