"""TensorRT: a plan built for one model, one GPU and a range of batch sizes, by ONNX Runtime's TensorRT provider.

Building takes minutes, so the plan is cached (see `cache`) under all that it depends on.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from ..errors import EngineUnavailableError, one_line
from ..files import atomic_write
from ..precisions import AUTO_PRECISION, BF16, FP16, FP32, INT8
from ..temporary import scratch_folder
from . import nvidia, nvidia_libraries
from .cache import has_entries
from .onnxruntime_cuda import PROVIDER as CUDA_PROVIDER
from .onnxruntime_cuda import cuda_version, gpu_index, provider_options, require_cuda
from .onnxruntime_plan import PlanEngine, facts, kept_profile, not_built, plan_entry
from .onnxruntime_session import (
    GpuSessionEngine,
    open_session,
    session_options,
)
from .options import EngineOptions
from .progress import announced
from .protocol import Choice, ModelFile
from .provider_options import TENSORRT, Value, written

ENGINE = "tensorrt"
PROVIDER = TENSORRT
DEFAULT_MAJOR = 10
BF16_CAPABILITY = (8, 0)
TIMING_FOLDER = "timing"
# Tried with all of its versions from 10.13 to 10.16.
FETCHED = "PyPI has an installer only, which fetches the libraries from NVIDIA's own package index"
logger = logging.getLogger(__name__)

# Every flag is written, those that are off as well: nothing is left to ONNX Runtime's own defaults.
PRECISION_FLAGS: Mapping[str, str] = {FP16: "trt_fp16_enable", BF16: "trt_bf16_enable", INT8: "trt_int8_enable"}


class TensorRTEngine(PlanEngine):
    """A model as a TensorRT plan for batches of 1 to `max_batch`; larger ones are refused.

    That is `options.largest_batch`, or more where only a plan that was built before will do (see `plan_entry`).

    fp32 is exact: TF32 is turned off for the whole process (see `nvidia.without_tf32`). `auto` is fp16.
    """

    FILES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        FP32: (FP32,),
        AUTO_PRECISION: (FP16, FP32),
        FP16: (FP16, FP32),
        BF16: (FP32,),
        INT8: (INT8,),
    }

    def __init__(self, model: ModelFile, *, options: EngineOptions, device: str | None, choice: Choice) -> None:
        """Load the plan for the GPU of number `device` (0 for None) from the cache, or build it, which is logged.

        Raises EngineUnavailableError when the driver, the right onnxruntime package, a library of CUDA's or
        TensorRT's right version is missing, or exact fp32 cannot be had any more; InputError for a device that is no
        number or a named cache folder that cannot be written; EngineError when TensorRT rejects the model.
        """
        index = gpu_index(ENGINE, device)
        nvidia.require_driver(ENGINE)
        precision = FP16 if options.precision == AUTO_PRECISION else options.precision
        with nvidia.without_tf32(ENGINE, lasting=options.build) if precision == FP32 else contextlib.nullcontext():
            self._open(model, options, index, precision, choice)

    def _open(self, model: ModelFile, options: EngineOptions, index: int, precision: str, choice: Choice) -> None:
        module = require_cuda(PROVIDER)
        tensorrt = require_tensorrt(module)
        found = nvidia.gpu(index)
        cuda = cuda_version(module)[0]
        nvidia.check_driver(found, cuda)
        if precision == BF16 and found.capability < BF16_CAPABILITY:
            raise EngineUnavailableError(f"{found.device} has no bf16: it needs compute capability 8.0 or higher")
        entry, largest = plan_entry(
            options,
            ENGINE,
            model,
            lambda largest: facts(found, f"TensorRT {tensorrt}", cuda, module, precision, largest),
        )
        timing = options.cache_folder / ENGINE / TIMING_FOLDER / timing_key(found, tensorrt)

        def start(folder: Path | None, timing: Path | None = None) -> None:
            settings: dict[str, Value] = {"device_id": index}
            settings |= {flag: precision == name for name, flag in PRECISION_FLAGS.items()}
            settings |= kept_profile(folder, "trt_profile", module, model, largest)
            if folder is not None:
                settings |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": folder}
            if timing is not None:
                settings |= {"trt_timing_cache_enable": True, "trt_timing_cache_path": timing}
            # What TensorRT cannot do is CUDA's to do before it is the CPU's.
            then = [(CUDA_PROVIDER, provider_options(index))]
            session = open_session(
                module,
                model,
                session_options(module, options),
                PROVIDER,
                written(PROVIDER, settings),
                then=then,
                nameless=True,
            )
            GpuSessionEngine.__init__(
                self,
                session,
                name=ENGINE,
                provider=PROVIDER,
                device=found.device,
                precision=precision,
                version=f"{tensorrt} (onnxruntime {module.__version__})",
                options=options,
                choice=choice,
                max_batch=largest,
            )

        def build(folder: Path | None) -> None:
            what = f"building the TensorRT engine of {model.path.name} in {precision} for batches of 1 to {largest}"
            with announced(f"{what} on {found.device}"), private_copy(None if folder is None else timing) as own_timing:
                start(folder, own_timing)
                # The plan is on disk at the latest when both ends of its range have run.
                self.probe(largest, 1)

        self._keep(entry, options, build, load=start)

    @staticmethod
    def passed_over(model: Callable[[], ModelFile], options: EngineOptions, /) -> str | None:
        """`auto` takes TensorRT where its engine was built before, so that nobody waits minutes unasked."""
        fault = nvidia.driver_fault()
        if fault or has_entries(options.cache_folder, ENGINE, model().digest()):
            return fault
        return not_built(ENGINE, options.largest_batch)


def timing_key(found: nvidia.Gpu, tensorrt: str) -> str:
    """What measured times of kernels hold for, as a folder's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{found.name} {found.capability} {found.driver} {tensorrt}")


@contextlib.contextmanager
def private_copy(folder: Path | None) -> Iterator[Path | None]:
    """A copy of a folder of files for one build, which replaces the files when it succeeds; None for None.

    Builds of several models may run at once, and TensorRT writes its timing cache in place. A folder that cannot be
    written afterwards costs time and nothing else: it is warned about.
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
    """The version of TensorRT that this onnxruntime loads; its libraries are loaded by this.

    Raises EngineUnavailableError when they did not load, saying when only another major version is there.
    """
    major = needed_major(module)
    stems = ("nvinfer", "nvonnxparser")
    names = [f"{stem}_{major}.dll" if nvidia.WINDOWS else f"lib{stem}.so.{major}" for stem in stems]
    missing = nvidia_libraries.missing(names)
    if missing:
        cuda = cuda_version(module)[0]
        others = [name for name in nvidia_libraries.other_versions("libnvinfer") if name not in names]
        only = f"; only {', '.join(others)} is here" if others else ""
        raise EngineUnavailableError(
            f"TensorRT {major} is needed and did not load ({'; '.join(missing.values())}){only}: "
            f"pip install 'tensorrt-cu{cuda}-libs>={major},<{major + 1}' ({FETCHED})"
        )
    nvidia_libraries.load_all(nvidia_libraries.TENSORRT_PACKAGE, major)
    return nvidia_libraries.tensorrt_version(names[0])


def needed_major(module: ModuleType) -> int:
    """The major version of TensorRT that the provider's library is linked with."""
    if module.__file__ is None:
        return DEFAULT_MAJOR
    capi = Path(module.__file__).parent / "capi"
    for name in ("libonnxruntime_providers_tensorrt.so", "onnxruntime_providers_tensorrt.dll"):
        if (capi / name).is_file():
            found = re.search(rb"nvinfer(?:\.so\.|_)(\d+)", (capi / name).read_bytes())
            if found:
                return int(found.group(1))
    return DEFAULT_MAJOR
