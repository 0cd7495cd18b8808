"""The environment of a validation, without which its figures mean little: versions, processor, graphics, system."""

from __future__ import annotations

import platform
import shutil
import subprocess

from ..cpu import cpu
from ..packages import installed_versions

ENGINE_PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "paddlepaddle", "paddlepaddle-gpu")
PACKAGES = ("onnxzoo", "numpy", "pillow", *ENGINE_PACKAGES)
TIMEOUT_S = 10


def environment() -> dict[str, str]:
    """Caption -> text, in the order to show them; unknown entries are left out."""
    processor = cpu()
    found = {
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "CPU": f"{processor.name}, {processor.threads} threads used",
        "CPU flags": _instruction_sets(processor.instruction_sets),
        "GPU": _graphics() or "none (nvidia-smi finds none)",
    }
    return found | installed_versions(PACKAGES)


def _instruction_sets(known: tuple[str, ...] | None) -> str:
    return "unknown" if known is None else ", ".join(known) or "none that matters"


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
