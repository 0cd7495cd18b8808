"""TensorRT by ONNX Runtime's TensorRT provider: an engine built for one model, one GPU and a range of batch sizes.

Building takes minutes, so TensorRT engines are cached (see `compiled_models`) under a key of all their dependencies.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Self

from ..errors import EngineUnavailableError, one_line
from ..files import atomic_write
from ..precisions import AUTO_PRECISION, BF16, FP16, FP32, INT8
from ..temporary import scratch_folder
from . import nvidia, nvidia_loading
from .compiled_models import has_entries
from .onnxruntime_cuda import PROVIDER as CUDA_PROVIDER
from .onnxruntime_cuda import TF32, auto_is_tf32, cuda_version, gpu_index, provider_options, require_cuda
from .onnxruntime_library import session_options
from .onnxruntime_session import Session, open_session
from .options import EngineOptions
from .progress import announced
from .protocol import ModelFile, Selection
from .provider_options import TENSORRT, Value, written
from .tensorrt_cache import KeptEngine, Place, cache_key, kept_profile, not_built, place_of

ENGINE = "tensorrt"
PROVIDER = TENSORRT
DEFAULT_MAJOR = 10
BF16_CAPABILITY = (8, 0)
TIMING_FOLDER = "timing"
# Tested with all of its versions from 10.13 to 10.16.
FETCHED = "PyPI has an installer only, which fetches the libraries from NVIDIA's own package index"
logger = logging.getLogger(__name__)

# All flags are written, including disabled ones, so that ONNX Runtime's defaults do not matter. Without a flag the
# provider builds a strongly typed network, in which the file determines the types: fp16 tensors and QDQ are computed as
# written. (TensorRT 11 supports only such networks.) There is no bf16 file, so bf16 is a flag.
PRECISION_FLAGS: Mapping[str, str] = {BF16: "trt_bf16_enable"}
FLAGS_OFF = ("trt_fp16_enable", "trt_int8_enable")


class TensorRTEngine(KeptEngine):
    """A model as a TensorRT engine for batches of 1 to `max_batch`; larger ones are refused.

    `max_batch` is `options.largest_batch`, or more if a larger engine was built before and none may be built now (see
    `place_of`).

    fp32 is exact, as TF32 is disabled for the whole process (see `nvidia.without_tf32`). fp16 and int8 use the
    artifact's files; `auto` is fp16 if there is such a file, else fp32 with TF32 if the GPU has it.
    """

    FILES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        FP32: (FP32,),
        AUTO_PRECISION: (FP16, FP32),
        FP16: (FP16,),
        BF16: (FP32,),
        INT8: (INT8,),
    }

    @classmethod
    def open(cls, model: ModelFile, *, options: EngineOptions, device: str | None, selection: Selection) -> Self:
        """Load the TensorRT engine for the GPU of number `device` (0 for None) from the cache, or build it with a log.

        Raises EngineUnavailableError if the driver, the right onnxruntime package, a CUDA library or the right version
        of TensorRT is missing, or exact fp32 is no longer possible; InputError for a device that is not a number or a
        named cache folder that cannot be written; EngineError if TensorRT rejects the model.
        """
        index = gpu_index(ENGINE, device)
        nvidia.require_driver(ENGINE)
        exact = options.precision == FP32
        with nvidia.without_tf32(ENGINE, lasting=options.build) if exact else contextlib.nullcontext():
            builder = Builder.on_gpu(index, model, options)
            session, built = builder.place.session(options, builder.build, builder.start)
        info = session.info(
            device=builder.gpu.device, precision=builder.precision, version=builder.version, selection=selection
        )
        return cls(session, info, place=builder.place, built=built)

    @staticmethod
    def skip_reason(model: Callable[[], ModelFile], options: EngineOptions, /) -> str | None:
        """The reason unless an engine was built before, as `auto` must not take minutes to build one."""
        fault = nvidia.driver_fault()
        if fault or has_entries(options.cache_folder, ENGINE, model().digest()):
            return fault
        return not_built(ENGINE, options.largest_batch)


@dataclass(frozen=True, slots=True)
class Builder:
    """Opens sessions on TensorRT for one model, in which TensorRT builds its engine.

    `place`: the engine's place in the cache. `timing`: the folder of the timing cache, for further builds.
    """

    module: ModuleType
    tensorrt: str
    gpu: nvidia.Gpu
    model: ModelFile
    options: EngineOptions
    precision: str
    place: Place
    timing: Path

    @classmethod
    def on_gpu(cls, index: int, model: ModelFile, options: EngineOptions) -> Self:
        """Load the libraries, and find the GPU and the place in the cache. Raises as TensorRTEngine.open does."""
        module = require_cuda(PROVIDER)
        tensorrt = require_tensorrt(module)
        found = nvidia.gpu(index)
        cuda = cuda_version(module)[0]
        nvidia.check_driver(found, cuda)
        precision = model.precision
        if options.precision == BF16:
            precision = BF16
        elif auto_is_tf32(model, options, found):
            precision = TF32
        if precision == BF16 and found.capability < BF16_CAPABILITY:
            raise EngineUnavailableError(f"{found.device} has no bf16: it needs compute capability 8.0 or higher")
        place = place_of(
            options,
            ENGINE,
            model,
            lambda largest: cache_key(found, f"TensorRT {tensorrt}", cuda, module, precision, largest),
        )
        timing = options.cache_folder / ENGINE / TIMING_FOLDER / timing_key(found, tensorrt)
        return cls(module, tensorrt, found, model, options, precision, place, timing)

    @property
    def version(self) -> str:
        """TensorRT's version and ONNX Runtime's."""
        return f"{self.tensorrt} (onnxruntime {self.module.__version__})"

    def build(self, folder: Path | None) -> Session:
        """A session whose TensorRT engine is built now, in `folder` if it is given."""
        what = (
            f"building the TensorRT engine of {self.model.path.name} in {self.precision} for batches of 1 to "
            f"{self.place.largest} on {self.gpu.device}"
        )
        with announced(what), private_copy(None if folder is None else self.timing) as timing:
            session = self.start(folder, timing)
            # The engine is on disk at the latest after runs at both ends of its range.
            session.probe(self.place.largest, 1)
        return session

    def start(self, folder: Path | None, timing: Path | None = None) -> Session:
        """A session on the TensorRT engine in `folder`; TensorRT builds missing parts."""
        largest = self.place.largest
        settings: dict[str, Value] = {"device_id": self.gpu.index}
        settings |= dict.fromkeys(FLAGS_OFF, False)
        settings |= {flag: self.precision == name for name, flag in PRECISION_FLAGS.items()}
        settings |= kept_profile(folder, ENGINE, "trt_profile", self.module, self.model, largest)
        if folder is not None:
            settings |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": folder}
        if timing is not None:
            settings |= {"trt_timing_cache_enable": True, "trt_timing_cache_path": timing}
        return open_session(
            self.module,
            self.model,
            session_options(self.module, self.options),
            PROVIDER,
            written(PROVIDER, settings),
            engine=ENGINE,
            strict=self.options.strict,
            # Nodes that TensorRT does not support run on CUDA if possible, else on the CPU.
            then=[(CUDA_PROVIDER, provider_options(self.gpu.index))],
            nameless=True,
            on_gpu=True,
        )


def timing_key(found: nvidia.Gpu, tensorrt: str) -> str:
    """Folder name of the timing cache: the GPU and TensorRT version for which measured kernel times are valid."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{found.name} {found.capability} {found.driver} {tensorrt}")


@contextlib.contextmanager
def private_copy(folder: Path | None) -> Iterator[Path | None]:
    """A copy of a folder of files for one build, which replaces the original if the build succeeds; None for None.

    It is needed because builds of several models may run at once, and TensorRT writes its timing cache in place. If the
    folder cannot be written afterwards, which only costs time, a warning is logged.
    """
    if folder is None:
        yield None
        return
    with scratch_folder("timing") as scratch:
        own = scratch / "timing"
        if folder.is_dir():
            shutil.copytree(folder, own)
        own.mkdir(exist_ok=True)
        yield own
        try:
            for path in own.iterdir():
                with atomic_write(folder / path.name) as file:
                    file.write(path.read_bytes())
        except OSError as error:
            logger.warning("%s cannot be written (%s): the next build takes longer", folder, one_line(error))


def require_tensorrt(module: ModuleType) -> str:
    """Load TensorRT's libraries for this onnxruntime; returns their version.

    Raises EngineUnavailableError if they cannot be loaded, which says if only another major version is installed.
    """
    major = needed_major(module)
    stems = ("nvinfer", "nvonnxparser")
    names = [f"{stem}_{major}.dll" if nvidia.WINDOWS else f"lib{stem}.so.{major}" for stem in stems]
    missing = nvidia_loading.missing(names)
    if missing:
        cuda = cuda_version(module)[0]
        others = [name for name in nvidia_loading.other_versions("libnvinfer") if name not in names]
        only = f"; only {', '.join(others)} is here" if others else ""
        raise EngineUnavailableError(
            f"TensorRT {major} is needed and did not load ({'; '.join(missing.values())}){only}: "
            f"pip install 'tensorrt-cu{cuda}-libs>={major},<{major + 1}' ({FETCHED})"
        )
    nvidia_loading.load_all(nvidia_loading.TENSORRT_PACKAGE, major)
    return nvidia_loading.tensorrt_version(names[0])


def needed_major(module: ModuleType) -> int:
    """The major version of TensorRT with which the provider's library is linked."""
    if module.__file__ is None:
        return DEFAULT_MAJOR
    capi = Path(module.__file__).parent / "capi"
    for name in ("libonnxruntime_providers_tensorrt.so", "onnxruntime_providers_tensorrt.dll"):
        if (capi / name).is_file():
            found = re.search(rb"nvinfer(?:\.so\.|_)(\d+)", (capi / name).read_bytes())
            if found:
                return int(found.group(1))
    return DEFAULT_MAJOR
