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
from typing import Any, Self

import numpy as np

from ..cpu import cpu
from ..errors import EngineError, EngineUnavailableError
from ..files import KeyValue, sha256_of
from ..precisions import AUTO_PRECISION
from .compiled_models import Entry, compiled, entry_for, has_entries
from .library_failures import failure
from .openvino_device import CPU, Device
from .options import EngineOptions
from .protocol import ModelFile

NAME = "openvino"
BLOB = "model.blob"


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """OpenVINO's compiled model, and the `memory` that its weights are in where that is not its own.

    The memory must outlive every run: OpenVINO reads from it and does not hold it.
    """

    model: Any
    memory: Any = None


class Compiler:
    """Compiles one ONNX file for one device, for any batch size. Not safe for threads, but for `close`."""

    def __init__(self, openvino: Any, file: ModelFile, options: EngineOptions, device: Device, arithmetic: str) -> None:
        """`openvino`: the module. `arithmetic`: the precision computed in, as the device says it."""
        self._openvino = openvino
        self._file = file
        self._options = options
        self._core = device.core
        self._device = device
        self._arithmetic = arithmetic
        self._settings = device.settings(options, arithmetic)
        self._source: Any = None
        self._sha256 = file.sha256
        self._opened = False
        self.version: str = openvino.__version__.split("-")[0]
        self.parallel = 1
        self.fixed_batch: int | None = None

    @classmethod
    def open(cls, openvino: Any, file: ModelFile, options: EngineOptions, device: str) -> Self:
        """Find the device, and read the ONNX file unless it was compiled before. `device`: in any case.

        Raises EngineUnavailableError for a device that is not here, or one without the precision asked for;
        EngineError for a file that OpenVINO rejects.
        """
        found = Device.find(openvino.Core(), device)
        arithmetic = found.arithmetic(options.precision, file.precision)
        if options.precision != AUTO_PRECISION:
            found.check_precision(arithmetic)
        compiler = cls(openvino, file, options, found, arithmetic)
        if options.hint == "throughput":
            compiler.parallel = found.most_streams(options.cpu_threads)
        if not compiler.kept_before():
            compiler.fixed_batch = _fixed_batch(compiler._read())
        compiler._opened = True
        return compiler

    @property
    def cache_key(self) -> dict[str, KeyValue]:
        """All that results depend on besides the model. A compiled model also depends on how it is to be run."""
        processor, drivers = cpu(), self._device.drivers
        return {
            "version": self._openvino.__version__,
            "device": self._device.name,
            "device_name": self._device.full_name,
            "capabilities": " ".join(sorted(self._device.capabilities)),
            "cpu": processor.name,
            "instruction_sets": " ".join(processor.instruction_sets or ()),
            "precision": self._arithmetic,
            # Not for the CPU, whose compiled models would all be built again.
            **({"drivers": drivers} if drivers else {}),
        }

    @property
    def on_cpu(self) -> bool:
        """Whether the device is the CPU, and no combination of it with others."""
        return self._device.name == CPU

    def compile(self, size: int) -> CompiledModel:
        """The model for batches of exactly `size` images: from the cache where it is kept, else compiled now.

        Raises EngineError when OpenVINO rejects the model, EngineUnavailableError when the arithmetic is not the one
        that was asked for.
        """
        if self._device.exports and self.fixed_batch is None:
            entry = self._entry(size)
            # A folder that is there was wanted once: where it is damaged, it is built again.
            if self._device.slow_to_compile or os.path.isdir(entry.folder):  # noqa: PTH112 - never raises
                return self._through_cache(entry, size, self._options)
        return self._build(size, None)

    def keep(self, size: int) -> tuple[Path, bool]:
        """Have the model for this batch size in the cache: its folder, and whether it was there before.

        Raises InputError when the cache cannot be written, EngineError when the model or device does not allow it.
        """
        if not self._device.exports or self.fixed_batch is not None:
            what = f"the device {self._device.name}" if self.fixed_batch is None else "graphs of a fixed batch size"
            raise EngineError(f"openvino keeps no compiled models for {what}")
        entry = self._entry(size)
        found = entry.fault() is None
        if not found:
            # As if the user had named the folder: one that cannot be written is an error here.
            self._through_cache(entry, size, replace(self._options, cache=self._options.cache_folder))
        return entry.folder, found

    def kept_before(self) -> bool:
        """Whether the cache has this ONNX file compiled for some batch size; then it need not be read, perhaps."""
        return self._device.exports and has_entries(self._options.cache_folder, NAME, self._digest())

    def close(self) -> None:
        """Free the model that the compiled ones were made from."""
        self._source = None

    def _through_cache(self, entry: Entry, size: int, options: EngineOptions) -> CompiledModel:
        return compiled(entry, options, build=lambda folder: self._build(size, folder), load=self._load)

    def _entry(self, size: int) -> Entry:
        return entry_for(
            self._options.cache_folder,
            NAME,
            self._digest(),
            {
                **self.cache_key,
                "cores": cpu().cores,
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
            result = self._core.compile_model(model, self._device.name, self._settings)
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
                self._openvino.Tensor(data, shared_memory=True), self._device.name, self._settings
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
                if self._opened and sha256_of(self._file.path) != self._digest():
                    raise EngineError(f"{self._file.path} was replaced since it was loaded; load the model again")
                self._source = self._core.read_model(str(self._file.path))
            except EngineError:
                raise
            except Exception as error:
                raise failure(f"openvino cannot read {self._file.path}", message_of(error)) from error
        return self._source

    def _digest(self) -> str:
        if not self._sha256:
            try:
                self._sha256 = self._file.digest()
            except OSError as error:
                raise failure(f"{self._file.path} cannot be read", error) from error
        return self._sha256

    def _check_arithmetic(self, model: Any) -> None:
        wanted = self._settings.get("INFERENCE_PRECISION_HINT")
        got = arithmetic_of(model)
        if wanted is not None and got != wanted:
            raise EngineUnavailableError(
                f"openvino's {self._device.name} took {got} where {wanted} was asked for ({self._options.precision}); "
                "use precision 'auto', which states what it takes"
            )


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


def _fixed_batch(source: Any) -> int | None:
    """The batch size of a graph that has only one."""
    sizes = [node.partial_shape[0] for node in source.inputs if len(node.partial_shape)]
    return next((size.get_length() for size in sizes if not size.is_dynamic), None)
