"""What a validation ran on: versions, processor, graphics, system. Figures mean little without."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import metadata

from ..cpu import engine_threads
from .engine_settings import CPU_INFO, cpu_flags

ENGINE_PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "paddlepaddle", "paddlepaddle-gpu")
PACKAGES = ("onnxzoo", "numpy", "pillow", *ENGINE_PACKAGES)
# Instruction sets that decide which kernels, and which precision by default, an engine takes.
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "asimd")
TIMEOUT_S = 10


def environment() -> dict[str, str]:
    """Caption -> text, in the order in which to show it; what cannot be found out is left out."""
    flags = cpu_flags()
    found = {
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "CPU": f"{_processor()}, {engine_threads()} threads used",
        "CPU flags": ", ".join(flag for flag in CPU_FLAGS if flag in flags) or "none of " + ", ".join(CPU_FLAGS),
        "GPU": _graphics() or "none (nvidia-smi finds none)",
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's name."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _graphics() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip())
