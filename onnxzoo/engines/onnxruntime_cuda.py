"""CUDA: ONNX Runtime's own kernels on an NVIDIA GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import ClassVar, Self

from ..errors import EngineUnavailableError, InputError
from ..files import KeyValue
from ..precisions import AUTO_PRECISION, FP16, FP32
from . import nvidia, nvidia_loading
from .onnxruntime_engine import SessionEngine
from .onnxruntime_library import import_onnxruntime, session_options, wrong_package
from .onnxruntime_session import open_session
from .options import EngineOptions
from .protocol import ModelFile, Selection
from .provider_options import CUDA, written

INSTALL = "pip install 'onnxzoo[gpu]'"
ENGINE = "cuda"
PROVIDER = CUDA
TF32 = "tf32"
TF32_CAPABILITY = (8, 0)
DEFAULT_CUDA = "13.0"


class CudaEngine(SessionEngine):
    """A model in an ONNX Runtime session on CUDA.

    fp32 disables TF32. According to its source code (this was not observed), ONNX Runtime retries a convolution with
    TF32 if cuDNN finds no way to compute it in fp32; NVIDIA_TF32_OVERRIDE=0, set before Python starts, prevents this.
    `auto` uses an fp16 file if there is one, else fp32 with TF32 if the GPU has it.
    """

    FILES: ClassVar[Mapping[str, tuple[str, ...]]] = {FP32: (FP32,), AUTO_PRECISION: (FP16, FP32), FP16: (FP16,)}

    @classmethod
    def open(cls, model: ModelFile, *, options: EngineOptions, device: str | None, selection: Selection) -> Self:
        """Load the ONNX file onto the GPU of number `device` (0 for None) and run it once as a test.

        Raises EngineUnavailableError if the driver, the right onnxruntime package or a CUDA library is missing or the
        GPU fails; InputError for a device that is not a number; EngineError if ONNX Runtime rejects the model.
        """
        index = gpu_index(ENGINE, device)
        module = require_cuda(PROVIDER)
        found = nvidia.gpu(index)
        nvidia.check_driver(found, cuda_version(module)[0])
        tf32 = auto_is_tf32(model, options, found)
        session = open_session(
            module,
            model,
            session_options(module, options),
            PROVIDER,
            provider_options(index, tf32=tf32),
            engine=ENGINE,
            strict=options.strict,
            on_gpu=True,
        )
        session.probe(1)
        precision = TF32 if tf32 else model.precision
        info = session.info(device=found.device, precision=precision, version=module.__version__, selection=selection)
        # Larger batches are not faster, and their memory is kept until the session is closed.
        cuda = cuda_version(module)[0]
        key = gpu_key(found, f"cuDNN {nvidia_loading.cudnn_version()}", cuda, module, precision)
        return cls(session, info, max_batch=options.largest_batch, cache_key=key)

    @staticmethod
    def skip_reason(_model: Callable[[], ModelFile], _options: EngineOptions, /) -> str | None:
        """The reason if there is no NVIDIA driver, found without importing anything."""
        return nvidia.driver_fault()


def auto_is_tf32(model: ModelFile, options: EngineOptions, found: nvidia.Gpu) -> bool:
    """Whether `auto` computes an fp32 file in TF32, which is so if the GPU has it and it is not disabled."""
    return (
        options.precision == AUTO_PRECISION
        and model.precision == FP32
        and found.capability >= TF32_CAPABILITY
        and not nvidia.tf32_is_off()
    )


def provider_options(index: int, *, tf32: bool = False) -> dict[str, str]:
    """The CUDA provider's options for arithmetic and memory.

    Its own defaults would use TF32, double its memory whenever it needs more, and time every algorithm of every
    convolution again for each batch size.
    """
    return written(
        PROVIDER,
        {
            "device_id": index,
            "use_tf32": tf32,
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "HEURISTIC",
        },
    )


def gpu_key(
    found: nvidia.Gpu, library: str, cuda_major: int, module: ModuleType, precision: str
) -> dict[str, KeyValue]:
    """Everything except the model on which results on a GPU depend. `library`: the library with its version."""
    return {
        "gpu": found.name,
        "compute_capability": list(found.capability),
        "driver": found.driver,
        "library": library,
        "cuda_runtime": nvidia_loading.runtime_version(cuda_major),
        "onnxruntime": str(module.__version__),
        "precision": precision,
        "tf32_override": os.environ.get(nvidia.TF32_VARIABLE),
    }


def require_cuda(provider: str) -> ModuleType:
    """Load onnxruntime with this provider and all of CUDA's libraries.

    Raises EngineUnavailableError, which names the first missing item, beginning with the driver.
    """
    nvidia.require_driver(ENGINE)
    module = import_onnxruntime(INSTALL)
    if provider not in module.get_available_providers():
        raise wrong_package(module, provider, INSTALL)
    if nvidia.WINDOWS:
        return module  # the installer or onnxruntime itself adds the libraries to the search path
    major, minor = cuda_version(module)
    missing = nvidia_loading.missing(nvidia_loading.cuda_libraries(major))
    if missing:
        raise EngineUnavailableError(
            f"libraries of CUDA {major}.{minor} and cuDNN 9 did not load ({'; '.join(missing.values())}): {INSTALL}, "
            f"or pip install 'onnxruntime-gpu[cuda,cudnn]=={module.__version__}'"
        )
    nvidia_loading.missing(nvidia_loading.optional_libraries(major))
    return module


def cuda_version(module: ModuleType) -> tuple[int, int]:
    """The CUDA version that this onnxruntime was built for."""
    text = str(getattr(module, "cuda_version", "") or DEFAULT_CUDA)
    major, _, minor = text.partition(".")
    return int(major), int(minor.partition(".")[0] or 0)


def gpu_index(engine: str, device: str | None) -> int:
    """The GPU's number in a name like `cuda:1`."""
    if device is None:
        return 0
    if not device.isdecimal():
        raise InputError(f"{engine}:{device}: the device must be a GPU's number from 0, as in {engine}:0")
    return int(device)
