"""Loads NVIDIA's shared libraries from its Python packages and the system, without starting CUDA."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import one_line
from .nvidia import WINDOWS

TENSORRT_PACKAGE = "tensorrt_libs"


def cuda_libraries(cuda_major: int) -> tuple[str, ...]:
    """File names of the libraries that ONNX Runtime's CUDA provider needs, in the order of loading (Linux)."""
    names = ("libcudart", "libcublasLt", "libcublas")
    return (*(f"{name}.so.{cuda_major}" for name in names), "libcurand.so.10", "libcudnn.so.9")


def optional_libraries(cuda_major: int) -> tuple[str, ...]:
    """File names of the libraries that cuDNN and a few operators load on demand (Linux)."""
    return (f"libnvJitLink.so.{cuda_major}", f"libnvrtc.so.{cuda_major}", f"libcufft.so.{cuda_major - 1}")


def load(name: str) -> str | None:
    """Load a shared library from NVIDIA's Python packages or the system's folders; returns the system's error or None.

    Other libraries find a loaded library independent of its folder.
    """
    message = None
    for path in (*(str(folder / name) for folder in _folders() if (folder / name).is_file()), name):
        try:
            ctypes.CDLL(path)
        except OSError as error:
            message = message or one_line(error)
        else:
            return None
    return message


def missing(names: Sequence[str]) -> dict[str, str]:
    """Load these libraries; returns those that failed, with the system's message."""
    return {name: message for name in names if (message := load(name)) is not None}


def tensorrt_version(name: str) -> str:
    """The version of TensorRT's main library, such as 10.13.2; the library must be loaded."""
    number = ctypes.CDLL(name).getInferLibVersion()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def load_carried(library: Path, name: str) -> str | None:
    """Load the library `name`, which a package has next to `library` under a longer name; returns the error or None.

    If the process already has a library of this name, nothing is loaded, so that there is only one.
    """
    with contextlib.suppress(OSError):
        ctypes.CDLL(name, mode=os.RTLD_LAZY | os.RTLD_NOLOAD)
        return None
    message = None
    for path in sorted(library.parent.glob(f"{name}*")):
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            message = message or one_line(error)
        else:
            return None
    return message or load(name)


def load_all(package: str, major: int) -> None:
    """Load every library of this major version in a package's folder, as some open others by name on demand.

    Libraries that cannot be loaded are skipped; the library that needs them reports it.
    """
    for folder in _package_folders(package):
        for path in sorted(folder.glob(f"lib*.so.{major}*")):
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(path))


def runtime_version(cuda_major: int) -> str | None:
    """The version of CUDA's runtime library that is or can be loaded, such as 13.0; None if there is none."""
    version = ctypes.c_int()
    try:
        library = ctypes.CDLL(f"cudart64_{cuda_major}.dll" if WINDOWS else f"libcudart.so.{cuda_major}")
        failed = library.cudaRuntimeGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed else f"{version.value // 1000}.{version.value % 1000 // 10}"


def cudnn_version() -> str | None:
    """The version of cuDNN, such as 9.10.2; None if there is none."""
    try:
        library = ctypes.CDLL("cudnn64_9.dll" if WINDOWS else "libcudnn.so.9")
        library.cudnnGetVersion.restype = ctypes.c_size_t
        number = library.cudnnGetVersion()
    except (OSError, AttributeError):
        return None
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def other_versions(stem: str) -> list[str]:
    """File names of a library in NVIDIA's Python packages, such as libnvinfer.so.11, in any version."""
    found = {path.name for folder in _folders() for path in folder.glob(f"{stem}.so.*")}
    return sorted(name for name in found if re.fullmatch(re.escape(stem) + r"\.so\.\d+", name))


def _folders() -> Iterator[Path]:
    """The folders of libraries in Python packages: nvidia/*/lib and TensorRT's."""
    for place in _package_folders("nvidia"):
        yield from sorted(place.glob("*/lib"))
    yield from _package_folders(TENSORRT_PACKAGE)


def _package_folders(package: str) -> list[Path]:
    """The folders of a Python package, without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
