"""The processor: its name and the instruction sets that decide which arithmetic is fast on it."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

# Instruction sets worth knowing of -> the flags that announce them: of Linux on x86 and ARM, and of macOS's sysctl.
INSTRUCTION_SETS = {
    "sse4.2": {"sse4_2", "sse4.2"},
    "avx2": {"avx2"},
    "fma": {"fma"},
    "f16c": {"f16c"},
    "avx512": {"avx512f"},
    "avx512_vnni": {"avx512_vnni", "avx512vnni"},
    "avx_vnni": {"avx_vnni"},
    "avx512_bf16": {"avx512_bf16"},
    "avx512_fp16": {"avx512_fp16"},
    "amx_bf16": {"amx_bf16"},
    "amx_int8": {"amx_int8"},
    "amx_fp16": {"amx_fp16"},
    "neon": {"asimd", "neon", "advsimd"},
    "fp16": {"asimdhp", "feat_fp16"},
    "dotprod": {"asimddp", "feat_dotprod"},
    "bf16": {"bf16", "feat_bf16"},
    "i8mm": {"i8mm", "feat_i8mm"},
    "sve": {"sve"},
}


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor of this machine.

    `cores`: those that this process may use. `instruction_sets`: of INSTRUCTION_SETS; None where the system does
    not say, which is another thing than having none.
    """

    name: str
    architecture: str
    cores: int
    instruction_sets: tuple[str, ...] | None


@lru_cache(maxsize=1)
def cpu() -> Cpu:
    """What can be learnt about the processor without any library; never raises."""
    name, flags = "", None
    with contextlib.suppress(Exception):
        if sys.platform == "darwin":
            name, flags = _from_sysctl()
        elif sys.platform != "win32":
            name, flags = _from_cpuinfo(CPUINFO.read_text(encoding="utf-8", errors="replace"))
    sets = None if flags is None else tuple(key for key, known in INSTRUCTION_SETS.items() if known & flags)
    architecture = platform.machine() or "unknown"
    return Cpu(name or platform.processor() or architecture, architecture, usable_cores(), sets)


def usable_cores() -> int:
    """Cores that this process may use, at least 1."""
    with contextlib.suppress(AttributeError, OSError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _from_cpuinfo(text: str) -> tuple[str, set[str] | None]:
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip().lower(), value.strip())
    flags = values.get("flags", values.get("features"))
    return values.get("model name", ""), None if flags is None else set(flags.lower().split())


def _from_sysctl() -> tuple[str, set[str] | None]:
    name = _sysctl("-n", "machdep.cpu.brand_string").strip()
    # Intel: lists of names. Apple: one line per feature, 'hw.optional.arm.FEAT_BF16: 1'.
    lists = _sysctl("-n", "machdep.cpu.features") + " " + _sysctl("-n", "machdep.cpu.leaf7_features")
    flags = set(lists.lower().split())
    for line in _sysctl("hw.optional").splitlines():
        key, _, value = line.partition(":")
        if value.strip() == "1":
            flags.add(key.rpartition(".")[2].lower())
    return name, flags or None


def _sysctl(*arguments: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["/usr/sbin/sysctl", *arguments], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    return ""


def implied_precisions(sets: Iterable[str]) -> tuple[str, ...]:
    """The arithmetic that these instruction sets make faster than fp32, fastest last."""
    have = set(sets)
    found = []
    if have & {"avx512_fp16", "amx_fp16", "fp16"}:
        found.append("fp16")
    if have & {"avx512_bf16", "amx_bf16", "bf16"}:
        found.append("bf16")
    if have & {"avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm"}:
        found.append("int8")
    return tuple(found)
