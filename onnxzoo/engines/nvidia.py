"""NVIDIA's driver, GPUs and libraries on this machine: what is there, what is not, and what the system says about it.

Nothing here starts CUDA except `gpu`. A process that has started CUDA must not be forked, and settings that CUDA reads
when it starts (`NVIDIA_TF32_OVERRIDE`) come too late afterwards.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineUnavailableError, one_line

WINDOWS = sys.platform == "win32"
DRIVER_LIBRARY = "nvcuda.dll" if WINDOWS else "libcuda.so.1"
MANAGEMENT_LIBRARY = "nvml.dll" if WINDOWS else "libnvidia-ml.so.1"
# A GPU by the driver's kernel module: the usual one, Windows' subsystem for Linux, and the two of Jetson boards.
DEVICE_FILES = ("nvidia[0-9]*", "nvidiactl", "dxg", "nvhost-gpu", "nvgpu")
DEVICE_FOLDER = Path("/dev")
# The oldest driver for each CUDA major version, whatever the minor one.
OLDEST_DRIVERS: Mapping[int, str] = {12: "525", 13: "580"}
INSTALL_DRIVER = "install NVIDIA's driver, or give the container its GPU (docker run --gpus all)"

TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"

CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
NO_DEVICE = 100

# The process in which `gpu` started CUDA; a forked child has the number of its parent here.
_started_in: int | None = None

# Engines that count on TF32 being off, being opened or open since; and in a tuple what the variable was before one of
# them set it, None where the user did.
_without_tf32 = 0
_tf32_before: tuple[str | None] | None = None
_changing_tf32 = threading.Lock()


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as CUDA numbers them. `capability` is its compute capability, `cuda` what its driver can run at most."""

    index: int
    name: str
    capability: tuple[int, int]
    driver: str
    cuda: tuple[int, int]

    @property
    def device(self) -> str:
        """The GPU in one phrase."""
        return f"cuda:{self.index} {self.name}"


def driver_fault() -> str | None:
    """Why no NVIDIA GPU can be used, found without starting CUDA; None when there is a driver."""
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
    """Raises EngineUnavailableError when there is no driver, before anything is imported in vain."""
    fault = driver_fault()
    if fault:
        raise EngineUnavailableError(f"{engine} cannot run here: {fault}; {INSTALL_DRIVER}")


def gpu(index: int = 0) -> Gpu:
    """The GPU of this number; starts CUDA's driver.

    Raises EngineUnavailableError with CUDA's message when there is no driver or no such GPU, and in a process that was
    forked from one where this was called.
    """
    require_driver("cuda")
    # CUDA may answer there, or hang, or say "initialization error": it is not asked.
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
    name = ctypes.create_string_buffer(256)
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), index))
    _check(cuda, cuda.cuDeviceGetName(name, len(name), device))
    _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device))
    _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device))
    _check(cuda, cuda.cuDriverGetVersion(ctypes.byref(version)))
    newest = (version.value // 1000, version.value % 1000 // 10)
    return Gpu(
        index=index,
        name=name.value.decode(errors="replace"),
        capability=(major.value, minor.value),
        driver=driver_version() or f"of CUDA {newest[0]}.{newest[1]}",
        cuda=newest,
    )


def _note_start() -> None:
    global _started_in
    _started_in = os.getpid()


def check_driver(found: Gpu, cuda_major: int) -> None:
    """Raises EngineUnavailableError when the driver is too old for libraries of this CUDA version."""
    if found.cuda[0] < cuda_major:
        oldest = OLDEST_DRIVERS.get(cuda_major)
        raise EngineUnavailableError(
            f"the NVIDIA driver {found.driver} is too old: it runs CUDA up to {found.cuda[0]}.{found.cuda[1]}, CUDA "
            f"{cuda_major} is needed; install driver {oldest or 'of that version'} or newer"
        )


def driver_version() -> str | None:
    """The driver's version, such as 580.65.06; None where it does not tell. Does not start CUDA."""
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


def cuda_libraries(cuda_major: int) -> tuple[str, ...]:
    """File names of the libraries that ONNX Runtime's CUDA provider needs, in the order of loading (Linux)."""
    names = ("libcudart", "libcublasLt", "libcublas")
    return (*(f"{name}.so.{cuda_major}" for name in names), "libcurand.so.10", "libcudnn.so.9")


def optional_libraries(cuda_major: int) -> tuple[str, ...]:
    """Those that cuDNN and a few operators ask for when they need them (Linux)."""
    return (f"libnvJitLink.so.{cuda_major}", f"libnvrtc.so.{cuda_major}", f"libcufft.so.{cuda_major - 1}")


def load(name: str) -> str | None:
    """Load a shared library from NVIDIA's Python packages or the system's own folders; what the system says if not.

    A library that is loaded is found by those that need it, wherever it came from.
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
    """Those of these libraries that did not load, with the system's message. Loads the others."""
    return {name: message for name in names if (message := load(name)) is not None}


def tensorrt_version(name: str) -> str:
    """The version of TensorRT's main library, which is loaded, such as 10.13.2."""
    number = ctypes.CDLL(name).getInferLibVersion()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def other_versions(stem: str) -> list[str]:
    """File names of a library in NVIDIA's Python packages, such as libnvinfer.so.11, whatever their version."""
    found = {path.name for folder in _folders() for path in folder.glob(f"{stem}.so.*")}
    return sorted(name for name in found if re.fullmatch(re.escape(stem) + r"\.so\.\d+", name))


def _folders() -> Iterator[Path]:
    """Folders of libraries in Python packages: nvidia/*/lib and TensorRT's."""
    for package, pattern in (("nvidia", "*/lib"), ("tensorrt_libs", ".")):
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(place).glob(pattern)) if pattern != "." else [Path(place)]


def forbid_tf32(engine: str) -> None:
    """Make fp32 mean fp32 in all of CUDA's libraries, for this process, before they start.

    TensorRT has no setting of its own for it. Raises EngineUnavailableError when it is too late.
    """
    if tf32_is_off():
        return
    started = cuda_is_loaded()
    if started:
        raise EngineUnavailableError(
            f"{engine} cannot promise exact fp32: {started} was loaded before, too late to turn TF32 off; set "
            f"{TF32_VARIABLE}=0 before Python starts, load this model before anything else uses CUDA, or ask for "
            "the precision 'auto' or 'fp16'"
        )
    os.environ[TF32_VARIABLE] = "0"


@contextlib.contextmanager
def without_tf32(engine: str, *, lasting: bool = True) -> Iterator[None]:
    """`forbid_tf32` before CUDA's libraries are loaded in this block, for good if the block succeeds.

    When it raises, the setting is taken back, unless another engine counts on it or the libraries were loaded under it:
    they would be found too late to change the next time. Without `lasting`, whoever raises goes on without TensorRT,
    and it is taken back even then.
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
    """Whether TF32 is off for the whole process."""
    return os.environ.get(TF32_VARIABLE) == "0"


def cuda_is_loaded() -> str | None:
    """A library that multiplies matrices with CUDA and is in this process already; None when there is none."""
    maps = Path("/proc/self/maps")
    if maps.is_file():
        found = re.search(r"lib(?:cublas|cudnn|nvinfer)[^/\s]*", maps.read_text(errors="replace"))
        return found.group() if found else None
    return next((name for name in ("torch", "cupy", "tensorflow", "jax") if name in sys.modules), None)


def _check(cuda: ctypes.CDLL, code: int) -> None:
    if code:
        raise EngineUnavailableError(f"CUDA does not answer: {_message(cuda, code)}")


def _message(cuda: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    return f"{(text.value or b'unknown error').decode(errors='replace')} (error {code})"
