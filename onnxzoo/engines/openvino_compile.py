"""From an ONNX file to a model that OpenVINO has compiled for one batch size, by way of the cache where it pays.

Compiled models are kept where compiling is slow (GPU, NPU); for the CPU where `onnxzoo warmup` asked for it: there it
saves a third of the time to the first prediction, and costs the model's size on disk per batch size
(benchmarks/results/compiled_cache.md). OpenVINO's own CACHE_DIR is not used, because it takes damaged files for good:
with bytes of the weights overwritten, it loads one without a word and computes something else.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cpu import available_cores, cpu
from ..errors import EngineError, EngineUnavailableError
from ..files import sha256_of
from ..precisions import AUTO_PRECISION, BF16, FP16, FP32, INT8
from .cache import Entry, compiled, entry_for, has_entries
from .libraries import failure
from .options import EngineOptions
from .protocol import ModelFile

NAME = "openvino"
CPU = "CPU"
# Names of devices that stand for others, such as AUTO:GPU,CPU.
COMBINING = ("AUTO", "MULTI", "HETERO")
# Devices that take long to compile for: what they made is kept without asking.
SLOW_TO_COMPILE = ("GPU", "NPU")
# fp32 means fp32: on CPUs with AVX512-BF16 or AMX, OpenVINO's own choice is bf16. What an int8 graph does not quantize
# stays in fp32.
ARITHMETIC = {FP32: "f32", FP16: "f16", BF16: "bf16", INT8: "f32"}
# What the device must name among its capabilities.
CAPABILITIES = {FP32: "FP32", FP16: "FP16", BF16: "BF16", INT8: "INT8"}
BLOB = "model.blob"
# What a device needs that OpenVINO does not bring.
CURES = {
    "GPU": "; an Intel GPU needs its driver (intel-opencl-icd) and access to /dev/dri (group render)",
    "NPU": "; an Intel NPU needs its driver (intel-driver-compiler-npu, intel-level-zero-npu)",
}


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """OpenVINO's compiled model, and the `memory` that its weights are in where that is not its own.

    The memory must outlive every run: OpenVINO reads from it and does not hold it.
    """

    model: Any
    memory: Any = None


class Compiler:
    """Compiles one ONNX file for one device, for any batch size. Not safe for threads, but for `close`."""

    def __init__(self, openvino: Any, file: ModelFile, options: EngineOptions, device: str) -> None:
        """`openvino`: the module. `device`: as OpenVINO names it, in any case.

        Raises EngineUnavailableError for a device that is not here, or one without the precision asked for.
        """
        self._openvino = openvino
        self._file = file
        self._options = options
        self._core = openvino.Core()
        self._device = _checked_device(self._core, device)
        self._base = self._device.partition(":")[0].partition(".")[0]
        self._combined = self._base in COMBINING
        self._check_precision()
        self._settings = self._chosen_settings()
        self._source: Any = None
        self._sha256 = file.sha256
        self._loaded = False
        self._exports = "EXPORT_IMPORT" in self._capabilities()
        self.version: str = openvino.__version__.split("-")[0]
        self.parallel = self._most_streams() if options.hint == "throughput" else 1
        self.fixed_batch: int | None = None
        if not self.kept_before():
            self._read()
            self.fixed_batch = self._fixed_batch()
        self._loaded = True

    def compile(self, size: int) -> CompiledModel:
        """The model for batches of exactly `size` images: from the cache where it is kept, else compiled now.

        Raises EngineError when OpenVINO rejects the model, EngineUnavailableError when the arithmetic is not the one
        that was asked for.
        """
        if self._exports and self.fixed_batch is None:
            entry = self._entry(size)
            # A folder that is there was wanted once: where it is damaged, it is built again.
            if self._base in SLOW_TO_COMPILE or os.path.isdir(entry.folder):  # noqa: PTH112 - never raises
                return self._through_cache(entry, size, self._options)
        return self._build(size, None)

    def keep(self, size: int) -> tuple[Path, bool]:
        """Have the model for this batch size in the cache: its folder, and whether it was there before.

        Raises InputError when the cache cannot be written, EngineError when the model or device does not allow it.
        """
        if not self._exports or self.fixed_batch is not None:
            what = f"the device {self._device}" if self.fixed_batch is None else "graphs of a fixed batch size"
            raise EngineError(f"openvino keeps no compiled models for {what}")
        entry = self._entry(size)
        found = entry.fault() is None
        if not found:
            # As if the user had named the folder: one that cannot be written is an error here.
            self._through_cache(entry, size, replace(self._options, cache=self._options.cache_folder))
        return entry.folder, found

    def kept_before(self) -> bool:
        """Whether the cache has this ONNX file compiled for some batch size; then it need not be read, perhaps."""
        return self._exports and has_entries(self._options.cache_folder, NAME, self._digest())

    def close(self) -> None:
        """Free the model that the compiled ones were made from."""
        self._source = None

    def _through_cache(self, entry: Entry, size: int, options: EngineOptions) -> CompiledModel:
        return compiled(entry, options, build=lambda folder: self._build(size, folder), load=self._load)

    def _entry(self, size: int) -> Entry:
        processor = cpu()
        return entry_for(
            self._options.cache_folder,
            NAME,
            self._digest(),
            {
                "version": self._openvino.__version__,
                "device": self._device,
                "device_name": str(self._core.get_property(self._device, "FULL_DEVICE_NAME")),
                "capabilities": " ".join(sorted(self._capabilities())),
                "cpu": processor.name,
                "instruction_sets": " ".join(processor.instruction_sets or ()),
                "cores": processor.cores,
                "precision": self._options.precision,
                "hint": self._options.hint,
                "threads": self._options.cpu_threads,
                "batch": size,
            },
        )

    def _build(self, size: int, folder: Path | None) -> CompiledModel:
        """Compile for this batch size; with `folder`, leave the result in it."""
        source = self._read()
        try:
            model = source.clone()
            if self.fixed_batch is None:
                model.reshape({node: [size, *list(node.partial_shape)[1:]] for node in model.inputs})
            for node in model.outputs:
                if node.partial_shape[0] != size:
                    raise EngineError(
                        f"openvino cannot compile {self._file.path}: with batches of {size}, the output "
                        f"{node.any_name} has shape {node.partial_shape}, whose first size should be {size}"
                    )
            result = self._core.compile_model(model, self._device, self._settings)
            data: Any = None if folder is None else result.export_model()
        except EngineError:
            raise
        except Exception as error:
            raise failure(f"openvino cannot compile {self._file.path}", message_of(error)) from error
        self._check_arithmetic(result)
        if folder is not None:
            (folder / BLOB).write_bytes(data.getbuffer())
        return CompiledModel(result)

    def _load(self, folder: Path) -> CompiledModel:
        """The compiled model in a cache folder, whose checksums were found right."""
        try:
            # Mapped, weights are read where they lie: half the memory, and shared between processes. Privately, as
            # OpenVINO wants memory that can be written. The file itself is replaced or removed, never written to.
            data = np.memmap(folder / BLOB, np.uint8, "c")
            result = self._core.import_model(
                self._openvino.Tensor(data, shared_memory=True), self._device, self._settings
            )
        except Exception as error:
            raise failure(f"openvino does not take {folder / BLOB}", message_of(error)) from error
        self._check_arithmetic(result)
        return CompiledModel(result, data)

    def _read(self) -> Any:
        """The model of the ONNX file, read once and kept for further batch sizes."""
        if self._source is None:
            try:
                # Read late, because the first compiled model came from the cache: is it still the same file?
                if self._loaded and sha256_of(self._file.path) != self._digest():
                    raise EngineError(f"{self._file.path} was replaced since it was loaded; load the model again")
                self._source = self._core.read_model(str(self._file.path))
            except EngineError:
                raise
            except Exception as error:
                raise failure(f"openvino cannot read {self._file.path}", message_of(error)) from error
        return self._source

    def _fixed_batch(self) -> int | None:
        sizes = [node.partial_shape[0] for node in self._source.inputs if len(node.partial_shape)]
        return next((size.get_length() for size in sizes if not size.is_dynamic), None)

    def _digest(self) -> str:
        if not self._sha256:
            try:
                self._sha256 = self._file.digest()
            except OSError as error:
                raise failure(f"{self._file.path} cannot be read", error) from error
        return self._sha256

    def _chosen_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"PERFORMANCE_HINT": self._options.hint.upper()}
        if self._options.precision != AUTO_PRECISION:
            settings["INFERENCE_PRECISION_HINT"] = ARITHMETIC[FP32 if self._widens() else self._options.precision]
        if self._base == CPU or self._combined:
            settings["INFERENCE_NUM_THREADS"] = self._options.cpu_threads
        if self._base == CPU and self._options.cpu_threads < available_cores():
            # Else it binds its threads to the first cores, as every such process does: all containers of a machine
            # would share core 0.
            settings["ENABLE_CPU_PINNING"] = False
        if self._base == "AUTO":
            # Else it begins on the CPU while it compiles for the device it names.
            settings["ENABLE_STARTUP_FALLBACK"] = False
        if self._device == "AUTO":
            # Else it goes to another device when that fails. With AUTO:CPU, OpenVINO then finds none.
            settings["ENABLE_RUNTIME_FALLBACK"] = False
        return settings

    def _widens(self) -> bool:
        """Whether an fp16 file is computed in fp32, as ONNX Runtime does: a CPU without arithmetic of 16 bits."""
        return (
            self._options.precision == self._file.precision == FP16
            and self._base == CPU
            and CAPABILITIES[FP16] not in self._capabilities()
        )

    def _check_precision(self) -> None:
        """Refuse what the device would replace by something else: a CPU takes the hint f16 and computes in bf16."""
        needed = CAPABILITIES.get(self._options.precision)
        have = self._capabilities()
        if needed is None or self._widens() or self._combined or not have or needed in have:
            return
        offered = [name for name, capability in CAPABILITIES.items() if capability in have]
        raise EngineUnavailableError(
            f"openvino's {self._device} ({self._core.get_property(self._device, 'FULL_DEVICE_NAME')}) does not compute "
            f"in {self._options.precision}; it has {', '.join(offered)}"
        )

    def _check_arithmetic(self, model: Any) -> None:
        wanted = self._settings.get("INFERENCE_PRECISION_HINT")
        got = arithmetic_of(model)
        if wanted is not None and got != wanted:
            raise EngineUnavailableError(
                f"openvino's {self._device} took {got} where {wanted} was asked for ({self._options.precision}); "
                "use precision 'auto', which states what it takes"
            )

    def _capabilities(self) -> list[str]:
        return (
            []
            if self._combined
            else [str(c) for c in self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")]
        )

    def _most_streams(self) -> int:
        """How many requests the device can work on at a time, at most."""
        try:
            most = max(1, int(self._core.get_property(self._device, "RANGE_FOR_STREAMS")[1]))
        except Exception:  # noqa: BLE001 - devices differ in the properties they have
            return 1
        return min(most, self._options.cpu_threads) if self._base == CPU else most


def arithmetic_of(model: Any) -> str:
    """What a compiled model computes in, as OpenVINO says it: `f32`, `bf16`, `f16`; several with a plus in between.

    That is what the plug-in made of the hint, not what was asked for.
    """
    try:
        found = {model.get_property("INFERENCE_PRECISION_HINT")}
    except RuntimeError:
        # Devices that stand for others say it for each of them.
        devices = model.get_property("DEVICE_PROPERTIES").values()
        found = {device["INFERENCE_PRECISION_HINT"] for device in devices}
    return "+".join(sorted(each.get_type_name() for each in found))


def message_of(error: Exception) -> str:
    """OpenVINO's message without the places in its source that it passed through; only its summary if it has one."""
    text = re.sub(r"Exception from \S+?:\d+:\s*|Check '.*?' failed at \S+?:\d+:\s*", "", str(error), flags=re.DOTALL)
    return text.partition("Summary:")[2].strip() or text.strip() or type(error).__name__


def _checked_device(core: Any, device: str) -> str:
    """The device's name in capitals; the devices behind AUTO:GPU,CPU are looked for as well."""
    name = device.upper()
    base, _, members = name.partition(":")
    wanted = [member.partition("(")[0] for member in members.split(",") if member] if base in COMBINING else [base]
    available = [str(found) for found in core.available_devices]
    for each in wanted:
        # With two GPUs they are GPU.0 and GPU.1, and GPU is the first.
        if each not in available and not any(found.partition(".")[0] == each for found in available):
            raise EngineUnavailableError(
                f"openvino finds no device {each} here; it has {', '.join(available) or 'none'}"
                f"{CURES.get(each.partition('.')[0], '')}"
            )
    return name
