"""Finds NVIDIA's driver and GPUs on this machine, with the system's errors, and controls TF32.

Only `gpu` starts CUDA. A process that has started CUDA must not be forked, and it is then too late for settings that
CUDA reads when it starts (`NVIDIA_TF32_OVERRIDE`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineUnavailableError, one_line
from ..precisions import AUTO_PRECISION, FP16

WINDOWS = sys.platform == "win32"
DRIVER_LIBRARY = "nvcuda.dll" if WINDOWS else "libcuda.so.1"
MANAGEMENT_LIBRARY = "nvml.dll" if WINDOWS else "libnvidia-ml.so.1"
# Device files of the driver's kernel modules: the usual one, Windows Subsystem for Linux, and the two of Jetson boards.
DEVICE_FILES = ("nvidia[0-9]*", "nvidiactl", "dxg", "nvhost-gpu", "nvgpu")
DEVICE_FOLDER = Path("/dev")
# The oldest driver for each CUDA major version, with any minor version.
OLDEST_DRIVERS: Mapping[int, str] = {12: "525", 13: "580"}
INSTALL_DRIVER = "install NVIDIA's driver, or give the container its GPU (docker run --gpus all)"

TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
# Libraries that multiply matrices on a GPU, and packages that load them, for systems without a list of loaded files.
MULTIPLYING = re.compile(r"lib(?:cublas|cudnn|nvinfer|tensorrt)[^/\s]*")
MULTIPLYING_PACKAGES = ("torch", "cupy", "tensorflow", "jax", "tensorrt", "onnxruntime_ep_nv_tensorrt_rtx")

CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
NO_DEVICE = 100

# The process in which `gpu` started CUDA; in a forked child this is its parent's number.
_started_in: int | None = None

# Number of engines that rely on disabled TF32 and are open or being opened; and in a tuple the variable's value before
# one of them set it, or None if the user set it.
_without_tf32 = 0
_tf32_before: tuple[str | None] | None = None
_changing_tf32 = threading.Lock()


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU in CUDA's numbering. `capability`: its compute capability; `cuda`: the highest version its driver supports.

    `bus`: its PCI address (domain, bus, device), as other libraries number GPUs differently. `of`: number of GPUs.
    """

    index: int
    name: str
    capability: tuple[int, int]
    driver: str
    cuda: tuple[int, int]
    bus: tuple[int, int, int] | None = None
    of: int = 1

    @property
    def device(self) -> str:
        """A short description of the GPU."""
        return f"cuda:{self.index} {self.name}"


def driver_fault() -> str | None:
    """Why no NVIDIA GPU can be used, found without starting CUDA; None if there is a driver."""
    if sys.platform == "darwin":
        return "no NVIDIA driver (there is none for macOS)"
    if not WINDOWS and not any(next(DEVICE_FOLDER.glob(name), None) for name in DEVICE_FILES):
        return f"no NVIDIA driver (there is no {DEVICE_FOLDER}/nvidia0)"
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError as error:
        return f"no NVIDIA driver (its library did not load: {one_line(error)})"
    return None


def require_driver(engine: str) -> None:
    """Raise EngineUnavailableError if there is no driver, before anything is imported unnecessarily."""
    fault = driver_fault()
    if fault:
        raise EngineUnavailableError(f"{engine} cannot run here: {fault}; {INSTALL_DRIVER}")


def gpu(index: int = 0) -> Gpu:
    """The GPU of this number; starts CUDA's driver.

    Raises EngineUnavailableError with CUDA's message if there is no driver or no such GPU, and in a process that was
    forked from one in which this was called.
    """
    require_driver("cuda")
    # In a forked process CUDA may work, hang, or report "initialization error", so it is not called.
    if _started_in not in (None, os.getpid()):
        raise EngineUnavailableError(
            f"CUDA does not work here: this process ({os.getpid()}) was forked from one that had started CUDA "
            f"({_started_in}); use the start method 'spawn': multiprocessing.get_context('spawn')"
        )
    cuda = ctypes.CDLL(DRIVER_LIBRARY)
    code = cuda.cuInit(0)
    if code:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = f" (CUDA_VISIBLE_DEVICES={visible!r})" if code == NO_DEVICE and visible is not None else ""
        raise EngineUnavailableError(f"CUDA does not start: {_message(cuda, code)}{hint}; does nvidia-smi work?")
    _note_start()
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _check(cuda, cuda.cuDeviceGetCount(ctypes.byref(count)))
    if index >= count.value:
        raise EngineUnavailableError(f"there is no GPU {index}: CUDA finds {count.value}, numbered from 0")
    name, bus = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32)
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), index))
    _check(cuda, cuda.cuDeviceGetName(name, len(name), device))
    _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device))
    _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device))
    _check(cuda, cuda.cuDeviceGetPCIBusId(bus, len(bus), device))
    _check(cuda, cuda.cuDriverGetVersion(ctypes.byref(version)))
    newest = (version.value // 1000, version.value % 1000 // 10)
    return Gpu(
        index=index,
        name=name.value.decode(errors="replace"),
        capability=(major.value, minor.value),
        driver=driver_version() or f"of CUDA {newest[0]}.{newest[1]}",
        cuda=newest,
        bus=pci_bus(bus.value.decode(errors="replace")),
        of=count.value,
    )


def pci_bus(text: str) -> tuple[int, int, int] | None:
    """Domain, bus and device of a PCI bus id such as 0000:65:00.0, with any number of digits; None for other text."""
    found = re.fullmatch(r"(?:([0-9a-f]+):)?([0-9a-f]+):([0-9a-f]+)(?:\.[0-9a-f]+)?", text.strip(), re.IGNORECASE)
    return (int(found[1] or "0", 16), int(found[2], 16), int(found[3], 16)) if found else None


def _note_start() -> None:
    global _started_in
    _started_in = os.getpid()


def check_driver(found: Gpu, cuda_major: int) -> None:
    """Raise EngineUnavailableError if the driver is too old for libraries of this CUDA version."""
    if found.cuda[0] < cuda_major:
        oldest = OLDEST_DRIVERS.get(cuda_major)
        raise EngineUnavailableError(
            f"the NVIDIA driver {found.driver} is too old: it runs CUDA up to {found.cuda[0]}.{found.cuda[1]}, CUDA "
            f"{cuda_major} is needed; install driver {oldest or 'of that version'} or newer"
        )


def driver_version() -> str | None:
    """The driver's version, such as 580.65.06; None if it is unknown. Does not start CUDA."""
    try:
        library = ctypes.CDLL(MANAGEMENT_LIBRARY)
    except OSError:
        return None
    text = ctypes.create_string_buffer(96)
    if library.nvmlInit_v2():
        return None
    found = not library.nvmlSystemGetDriverVersion(text, len(text))
    library.nvmlShutdown()
    return text.value.decode(errors="replace") if found else None


def forbid_tf32(engine: str) -> None:
    """Disable TF32 in all of CUDA's libraries for this process, before they start.

    TensorRT has no setting for this. Raises EngineUnavailableError if it is too late.
    """
    if tf32_is_off():
        return
    started = cuda_is_loaded()
    if started:
        raise EngineUnavailableError(
            f"{engine} cannot promise exact fp32: {started} was loaded before, too late to turn TF32 off; set "
            f"{TF32_VARIABLE}=0 before Python starts, load this model before anything else uses CUDA, or ask for "
            f"the precision {AUTO_PRECISION!r} or {FP16!r}"
        )
    os.environ[TF32_VARIABLE] = "0"


@contextlib.contextmanager
def without_tf32(engine: str, *, lasting: bool = True) -> Iterator[None]:
    """`forbid_tf32` before CUDA's libraries are loaded in this block, permanently if the block succeeds.

    If it raises, the setting is restored, unless another engine relies on it or the libraries were loaded with it, as
    it would then be too late to set it again. Without `lasting` the caller continues without TensorRT, so the setting
    is restored even then.
    """
    global _without_tf32, _tf32_before
    with _changing_tf32:
        if not tf32_is_off():
            before = os.environ.get(TF32_VARIABLE)
            forbid_tf32(engine)
            _without_tf32, _tf32_before = 0, (before,)
        _without_tf32 += 1
    try:
        yield
    except BaseException:
        with _changing_tf32:
            _without_tf32 -= 1
            if not _without_tf32 and _tf32_before and not (lasting and cuda_is_loaded()):
                if _tf32_before[0] is None:
                    os.environ.pop(TF32_VARIABLE, None)
                else:
                    os.environ[TF32_VARIABLE] = _tf32_before[0]
                _tf32_before = None
        raise


def tf32_is_off() -> bool:
    """Whether TF32 is disabled for the whole process."""
    return os.environ.get(TF32_VARIABLE) == "0"


def cuda_is_loaded() -> str | None:
    """A loaded library of this process that multiplies matrices with CUDA; None if there is none."""
    maps = Path("/proc/self/maps")
    if maps.is_file():
        found = MULTIPLYING.search(maps.read_text(errors="replace"))
        return found.group() if found else None
    return next((name for name in MULTIPLYING_PACKAGES if name in sys.modules), None)


def _check(cuda: ctypes.CDLL, code: int) -> None:
    if code:
        raise EngineUnavailableError(f"CUDA does not answer: {_message(cuda, code)}")


def _message(cuda: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    return f"{(text.value or b'unknown error').decode(errors='replace')} (error {code})"
