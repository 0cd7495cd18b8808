"""Shared libraries compiled for a test in the place of NVIDIA's: a driver, and TensorRT's. They compute nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

# Two GPUs of a driver that runs CUDA 12.4; CUDA starts if FAKE_CUINIT says 0.
DRIVER = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return atoi(getenv("FAKE_CUINIT")); }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = 10 + index; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 11 ? "NVIDIA Second" : "NVIDIA First", length); return 0; }
int cuDeviceGetPCIBusId(char *bus, int length, int device) {
    strncpy(bus, device == 11 ? "0000:0A:00.0" : "0000:65:00.0", length); return 0; }
int cuDeviceGetAttribute(int *value, int what, int device) { *value = what == 75 ? 8 : 9; return device < 10; }
int cuDriverGetVersion(int *version) { *version = CUDA_VERSION; return 0; }
int cuGetErrorString(int code, const char **text) { *text = "no CUDA-capable device is detected"; return 0; }
"""
MANAGEMENT = """
#include <string.h>
int nvmlInit_v2(void) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strncpy(text, "550.54.14", length); return 0; }
int nvmlShutdown(void) { return 0; }
"""
# ONNX Runtime asks TensorRT for its plugins before it reads a single option: there are none.
INFER = """
static long nothing(void) { return 0; }
static void *table[64];
static void *registry = table;
void *getPluginRegistry(void) { for (int i = 0; i < 64; i++) table[i] = (void *)nothing; return &registry; }
int getInferLibVersion(void) { return 101601; }
"""


def compiled(source: str, target: Path, *, also: Iterable[str] = (), flags: Iterable[str] = ()) -> Path:
    """The library `target` from C source, and with functions of the names in `also` that return 999."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    target.parent.mkdir(parents=True, exist_ok=True)
    missing = [name for name in sorted(also) if not re.search(rf"\b{name}\(", source)]
    source += "".join(f"int {name}(void) {{ return 999; }}\n" for name in missing)
    command = ["cc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(target), *flags]
    subprocess.run(command, input=source.encode(), check=True)
    return target


def wanted(pattern: str, *libraries: Path) -> set[str]:
    """The functions whose names match, that these libraries want from others."""
    names: set[str] = set()
    for library in libraries:
        command = ["nm", "-D", "--undefined-only", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        names |= {line.split()[-1].partition("@")[0] for line in done.stdout.splitlines()}
    return {name for name in names if re.fullmatch(pattern, name)}


def stub_driver(folder: Path, *users: Path, cuda: int = 12040) -> tuple[Path, Path]:
    """libcuda.so.1 and libnvidia-ml.so.1 with all that `users` want of them; CUDA up to 12.4 as 12040."""
    return (
        compiled(
            DRIVER,
            folder / "libcuda.so.1",
            also=wanted(r"cu[A-Z]\w*", *users),
            flags=[f"-DCUDA_VERSION={cuda}", "-Wl,-soname,libcuda.so.1"],
        ),
        compiled(
            MANAGEMENT,
            folder / "libnvidia-ml.so.1",
            also=wanted(r"nvml\w*", *users),
            flags=["-Wl,-soname,libnvidia-ml.so.1"],
        ),
    )


def stub_tensorrt(folder: Path, provider: Path, major: int = 10) -> tuple[Path, Path]:
    """TensorRT's two libraries, as far as ONNX Runtime's provider is linked with them."""
    names = wanted(r"\w+_INTERNAL", provider)
    parser = {name for name in names if "Parser" in name}
    return (
        compiled(
            INFER,
            folder / f"libnvinfer.so.{major}",
            also=names - parser,
            flags=[f"-Wl,-soname,libnvinfer.so.{major}"],
        ),
        compiled(
            "", folder / f"libnvonnxparser.so.{major}", also=parser, flags=[f"-Wl,-soname,libnvonnxparser.so.{major}"]
        ),
    )
