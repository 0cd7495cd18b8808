"""Compiles an ONNX file by OpenVINO for one batch size, with the cache if this is worthwhile.

Compiled models are cached if compiling is slow (GPU, NPU), and for the CPU if `onnxzoo warmup` requested it. On the CPU
this saves a third of the time to the first prediction, and takes the model's size on disk per batch size
(benchmarks/results/compiled_cache.md). OpenVINO's own CACHE_DIR is not used, because it accepts damaged files: it loads
a file with overwritten weights without an error and computes wrong results.
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
    """OpenVINO's compiled model, and the `memory` of its weights if OpenVINO does not own it.

    The memory must outlive every run, as OpenVINO reads from it without keeping it alive.
    """

    model: Any
    memory: Any = None


class Compiler:
    """Compiles one ONNX file for one device, for any batch size. Only `close` is thread-safe."""

    def __init__(self, openvino: Any, file: ModelFile, options: EngineOptions, device: Device, arithmetic: str) -> None:
        """`openvino`: the module. `arithmetic`: the precision in which the device computes."""
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
        """Find the device, and read the ONNX file unless it was compiled before. `device`: ignoring case.

        Raises EngineUnavailableError for a device that is not available or lacks the requested precision; EngineError
        for a file that OpenVINO rejects.
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
        """Everything except the model on which results depend. A compiled model also depends on the run options."""
        processor, drivers = cpu(), self._device.drivers
        return {
            "version": self._openvino.__version__,
            "device": self._device.name,
            "device_name": self._device.full_name,
            "capabilities": " ".join(sorted(self._device.capabilities)),
            "cpu": processor.name,
            "instruction_sets": " ".join(processor.instruction_sets or ()),
            "precision": self._arithmetic,
            # Left out for the CPU, for which all compiled models would have to be rebuilt.
            **({"drivers": drivers} if drivers else {}),
        }

    @property
    def on_cpu(self) -> bool:
        """Whether the device is only the CPU, not a combination with others."""
        return self._device.name == CPU

    def compile(self, size: int) -> CompiledModel:
        """The model for batches of exactly `size` images: from the cache if it is cached, else compiled now.

        Raises EngineError if OpenVINO rejects the model, EngineUnavailableError if the arithmetic is not the requested
        one.
        """
        if self._device.exports and self.fixed_batch is None:
            entry = self._entry(size)
            # An existing folder was requested earlier; if it is damaged, it is rebuilt.
            if self._device.slow_to_compile or os.path.isdir(entry.folder):  # noqa: PTH112 - never raises
                return self._through_cache(entry, size, self._options)
        return self._build(size, None)

    def keep(self, size: int) -> tuple[Path, bool]:
        """Cache the model for this batch size; returns its folder, and whether it already existed.

        Raises InputError if the cache cannot be written, EngineError if the model or device does not support it.
        """
        if not self._device.exports or self.fixed_batch is not None:
            what = f"the device {self._device.name}" if self.fixed_batch is None else "graphs of a fixed batch size"
            raise EngineError(f"openvino keeps no compiled models for {what}")
        entry = self._entry(size)
        found = entry.fault() is None
        if not found:
            # The folder is set as if the user had named it, so that it is an error if it cannot be written.
            self._through_cache(entry, size, replace(self._options, cache=self._options.cache_folder))
        return entry.folder, found

    def kept_before(self) -> bool:
        """Whether the cache has this ONNX file compiled for some batch size, so that reading it may be unnecessary."""
        return self._device.exports and has_entries(self._options.cache_folder, NAME, self._digest())

    def close(self) -> None:
        """Free the original model of the compiled ones."""
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
        """Compile for this batch size; with `folder`, save the result there."""
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
        """The compiled model in a cache folder whose checksums were verified."""
        try:
            # Mapped weights need no copy: half the memory, shared between processes. The mapping is private, as
            # OpenVINO needs writable memory. The file itself is replaced or removed, never written to.
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
                # It is read late if the first compiled model came from the cache, so check that it has not changed.
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
    """The arithmetic of a compiled model in OpenVINO's terms: `f32`, `bf16`, `f16`; several are joined by a plus.

    This is the plug-in's choice after the hint, not the request.
    """
    try:
        found = {model.get_property("INFERENCE_PRECISION_HINT")}
    except RuntimeError:
        # Virtual devices report it for each of their devices.
        devices = model.get_property("DEVICE_PROPERTIES").values()
        found = {device["INFERENCE_PRECISION_HINT"] for device in devices}
    return "+".join(sorted(each.get_type_name() for each in found))


def message_of(error: Exception) -> str:
    """OpenVINO's message without the locations in its source; only its summary if it has one."""
    text = re.sub(r"Exception from \S+?:\d+:\s*|Check '.*?' failed at \S+?:\d+:\s*", "", str(error), flags=re.DOTALL)
    return text.partition("Summary:")[2].strip() or text.strip() or type(error).__name__


def _fixed_batch(source: Any) -> int | None:
    """The batch size of a graph that supports only one, else None."""
    sizes = [node.partial_shape[0] for node in source.inputs if len(node.partial_shape)]
    return next((size.get_length() for size in sizes if not size.is_dynamic), None)
