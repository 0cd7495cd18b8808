"""TensorRT-RTX: NVIDIA's provider for RTX GPUs, a plugin of ONNX Runtime with its own libraries.

It compiles for the GPU when a model first runs, in seconds, and keeps the result in a runtime cache. It writes to this
cache when a session ends, so every session uses a copy of the cache entry.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from ..errors import EngineUnavailableError, one_line
from ..precisions import AUTO_PRECISION, FP16, FP32
from ..temporary import scratch_folder
from . import nvidia, nvidia_loading
from .library_failures import unavailable
from .onnxruntime_cuda import gpu_index
from .onnxruntime_library import import_onnxruntime, quiet, reinstall, session_options
from .onnxruntime_session import Session, open_session
from .options import EngineOptions
from .progress import announced
from .protocol import ModelFile, Selection
from .provider_options import TENSORRT_RTX, Value, written
from .tensorrt_cache import KeptEngine, Place, cache_key, kept_profile, place_of

ENGINE = "tensorrt-rtx"
PROVIDER = TENSORRT_RTX
PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
INSTALL = "pip install 'onnxzoo[rtx]'"
CUDA_MAJOR = 13  # the version for which the package is built
# Ampere and Ada of GeForce and workstations (but not A100, H100, Orin), and everything from Blackwell on.
CAPABILITIES, ALL_FROM = ((8, 6), (8, 9)), (12, 0)
SUPPORTED = "8.6, 8.9, or 12.0 or higher"

logger = logging.getLogger(__name__)
_registering = threading.Lock()


class TensorRTRTXEngine(KeptEngine):
    """A model in a session on TensorRT-RTX, for batches of 1 to `options.largest_batch`; larger ones are refused.

    It computes in the types of the ONNX file, so fp16 needs an fp16 file, which `auto` prefers. fp32 is exact, as TF32
    is disabled for the whole process (see `nvidia.without_tf32`).
    """

    FILES: ClassVar[Mapping[str, tuple[str, ...]]] = {FP32: (FP32,), AUTO_PRECISION: (FP16, FP32), FP16: (FP16,)}

    @classmethod
    def open(cls, model: ModelFile, *, options: EngineOptions, device: str | None, selection: Selection) -> Self:
        """Load the model on the GPU of number `device` (0 for None), with the compiled kernels of the cache.

        Raises EngineUnavailableError if the driver, a package or a library is missing, the GPU is not supported, or
        exact fp32 is no longer possible; InputError for a device that is not a number or a named cache folder that
        cannot be written; EngineError if TensorRT-RTX rejects the model.
        """
        index = gpu_index(ENGINE, device)
        nvidia.require_driver(ENGINE)
        fp32 = model.precision == FP32
        with nvidia.without_tf32(ENGINE, lasting=options.build) if fp32 else contextlib.nullcontext():
            compiler = Compiler.on_gpu(index, model, options)
            session, built = compiler.place.session(options, compiler.build, compiler.load)
        info = session.info(
            device=compiler.gpu.device, precision=model.precision, version=compiler.version, selection=selection
        )
        return cls(session, info, place=compiler.place, built=built)

    @staticmethod
    def skip_reason(_model: Callable[[], ModelFile], _options: EngineOptions, /) -> str | None:
        """The reason if there is no NVIDIA driver, found without importing anything."""
        return nvidia.driver_fault()


@dataclass(frozen=True, slots=True)
class Compiler:
    """Opens sessions on TensorRT-RTX for one model, which compile it.

    `place`: the compiled model's place in the cache. `device`: the plugin's device for the GPU.
    """

    module: ModuleType
    plugin: str
    gpu: nvidia.Gpu
    device: Any
    model: ModelFile
    options: EngineOptions
    place: Place

    @classmethod
    def on_gpu(cls, index: int, model: ModelFile, options: EngineOptions) -> Self:
        """Load the libraries, and find the GPU and the place in the cache. Raises as TensorRTRTXEngine.open does."""
        module = import_onnxruntime(INSTALL)
        found = nvidia.gpu(index)
        nvidia.check_driver(found, CUDA_MAJOR)
        if found.capability not in CAPABILITIES and found.capability < ALL_FROM:
            raise EngineUnavailableError(
                f"{ENGINE} does not support {found.device}, whose compute capability is "
                f"{'.'.join(map(str, found.capability))}: it needs {SUPPORTED}; use the engine 'cuda' or 'tensorrt'"
            )
        plugin = _plugin(module)  # this loads TensorRT-RTX
        device = _device(_devices(module, plugin), found)
        version = str(plugin.__version__)
        place = place_of(
            options,
            ENGINE,
            model,
            lambda largest: cache_key(found, f"{PLUGIN} {version}", CUDA_MAJOR, module, model.precision, largest),
        )
        return cls(module, version, found, device, model, options, place)

    @property
    def version(self) -> str:
        """The plugin's version and ONNX Runtime's."""
        return f"{self.plugin} (onnxruntime {self.module.__version__})"

    def build(self, folder: Path | None) -> Session:
        """A session that compiles its model; with `folder` the result is saved there, and the session uses a copy."""
        with announced(
            f"compiling {self.model.path.name} for batches of 1 to {self.place.largest} on {self.gpu.device}"
        ):
            session = self._start(folder, folder)
            session.probe(self.place.largest, 1)
        if folder is None:
            return session
        session.close()  # writes the cache
        session = self.load(folder)
        session.probe(1)
        return session

    def load(self, folder: Path) -> Session:
        """A session on a copy of the cache in `folder`, which is removed when the session is closed."""
        with contextlib.ExitStack() as resources:
            copy: Path | None = None
            try:
                copy = resources.enter_context(scratch_folder("rtx")) / "cache"
                shutil.copytree(folder, copy)
            except OSError as error:
                logger.warning("%s runs without its cache, which cannot be copied (%s)", ENGINE, one_line(error))
                copy = None
            session = self._start(folder, copy)
            session.when_closed(resources.pop_all().close)
        return session

    def _start(self, kept: Path | None, runtime_cache: Path | None) -> Session:
        """A session with the profile in `kept`, and the kernels in `runtime_cache`, to which it writes."""
        settings: dict[str, Value] = {
            **kept_profile(kept, ENGINE, "nv_profile", self.module, self.model, self.place.largest)
        }
        if runtime_cache is not None:
            settings["nv_runtime_cache_path"] = runtime_cache
        chosen = session_options(self.module, self.options)
        chosen.add_provider_for_devices([self.device], written(PROVIDER, settings))
        return open_session(
            self.module,
            self.model,
            chosen,
            PROVIDER,
            engine=ENGINE,
            strict=self.options.strict,
            plugin=True,
            nameless=True,
            on_gpu=True,
        )


def _plugin(module: ModuleType) -> ModuleType:
    """The plugin's Python package. Raises EngineUnavailableError if it or the plugin interface is missing."""
    if not hasattr(module, "register_execution_provider_library"):
        raise EngineUnavailableError(
            f"onnxruntime {module.__version__} is too old for plugins, expected 1.24 or newer: {reinstall(INSTALL)}"
        )
    try:
        import onnxruntime_ep_nv_tensorrt_rtx
    except (ImportError, OSError) as error:
        raise unavailable(PLUGIN, error, INSTALL) from error
    plugin: ModuleType = onnxruntime_ep_nv_tensorrt_rtx
    return plugin


def _devices(module: ModuleType, plugin: ModuleType) -> list[Any]:
    """The plugin's devices, one per supported GPU, in no particular order; it is registered once per process."""

    def found() -> list[Any]:
        return [device for device in module.get_ep_devices() if device.ep_name == PROVIDER]

    with _registering:
        if not found():
            _register(module, plugin)
    devices = found()
    if not devices:
        raise EngineUnavailableError(f"{PLUGIN} finds no GPU that it supports: it needs compute capability {SUPPORTED}")
    return devices


def _register(module: ModuleType, plugin: ModuleType) -> None:
    library = Path(plugin.get_library_path())
    # It is linked with the CUDA runtime library in the same folder, where the system does not search.
    name = f"libcudart.so.{CUDA_MAJOR}"
    missing = None if nvidia.WINDOWS else nvidia_loading.load_carried(library, name)
    try:
        with quiet(module):
            module.register_execution_provider_library(PROVIDER, str(library))
    except Exception as error:
        said = f"{one_line(error)}; {missing}" if missing else one_line(error)
        raise EngineUnavailableError(
            f"{PLUGIN} did not load: {said}; reinstall it: {INSTALL} (libcuda and libnvidia-ml are the driver's)"
        ) from error


def _device(devices: Sequence[Any], found: nvidia.Gpu) -> Any:
    """The plugin's device for this GPU. Raises EngineUnavailableError if there is none."""
    buses = [nvidia.pci_bus(str(device.device.metadata.get("pci_bus_id", ""))) for device in devices]
    if found.bus is not None and found.bus in buses:
        return devices[buses.index(found.bus)]
    if buses == [None] and found.of == 1:
        return devices[0]  # the only one, at any PCI address
    raise EngineUnavailableError(f"{ENGINE} offers {len(devices)} of this machine's GPUs, and not {found.device}")
