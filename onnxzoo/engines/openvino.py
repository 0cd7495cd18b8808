"""OpenVINO on the CPU, and on its GPU and NPU devices.

Models are compiled for a few fixed batch sizes (see `batches`), each when it is first needed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from ..described_engine import DescribedEngine
from ..errors import EngineError, EngineUnavailableError, InputError
from ..files import KeyValue
from ..precisions import AUTO_PRECISION, BF16, FP16, FP32, INT8
from ..results import EngineInfo
from .batches import SMALL_BYTES, BatchSplitter, Piece, batch_sizes
from .feeds import checked_feeds
from .library_failures import closed, failure
from .openvino_compile import NAME, CompiledModel, Compiler, arithmetic_of, message_of
from .openvino_device import ARITHMETIC, CPU
from .openvino_module import import_openvino
from .options import EngineOptions
from .protocol import Array, Built, ModelFile, Selection, TensorSpec

# OpenVINO's names of the parts of a compiled graph that store values instead of computing them.
NOT_COMPUTED = ("Const", "Input", "Parameter", "Output", "Result")
# If two precisions have the same arithmetic, as fp32 and the unquantised parts of an int8 graph, the finer one is used.
PRECISIONS = {arithmetic: precision for precision, arithmetic in reversed(ARITHMETIC.items())}
# For larger files fewer batch sizes are compiled, as each needs the weights once or twice more. Measured: SwinV2-S w16,
# a file of 192 MiB, takes 570 MiB for batch 1, 470 more for batch 8 and 350 more for batch 2; closing frees all of it.
LARGE_BYTES = 64 * 2**20


class OpenVINOEngine(DescribedEngine):
    """A model compiled by OpenVINO, in exactly the requested arithmetic.

    `run` may be called from many threads at once, as every call has its own infer requests.
    """

    FILES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        FP32: (FP32,),
        AUTO_PRECISION: (INT8, FP32),
        FP16: (FP16, FP32),
        BF16: (FP32,),
        INT8: (INT8,),
    }

    def __init__(
        self,
        compiler: Compiler,
        models: dict[int, _Compiled],
        *,
        sizes: tuple[int, ...],
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        info: EngineInfo,
    ) -> None:
        """`models`: the compiled models by batch size. `sizes`: the sizes that may be compiled, descending."""
        super().__init__(info, inputs, outputs)  # any batch is split into the compiled sizes
        self._compiler = compiler
        self._compiling = threading.Lock()
        self._models: dict[int, _Compiled] | None = models  # None after `close`
        self._first = next(iter(models))
        self._sizes = sizes
        self._splitter = BatchSplitter(sizes)

    @classmethod
    def open(cls, model: ModelFile, *, options: EngineOptions, device: str | None, selection: Selection) -> Self:
        """Load the ONNX file and compile it for the first batch size.

        Raises EngineUnavailableError if openvino cannot be imported or the device is missing or lacks the precision,
        EngineError if OpenVINO rejects the model.
        """
        compiler = Compiler.open(import_openvino(), model, options, device or CPU)
        try:
            sizes = _sizes(compiler, model, options)
            # If no batch size is given, the first run probably has one image.
            first = sizes[-1 if options.hint == "latency" and options.batch_size is None else 0]
            models = {first: _Compiled(compiler.compile(first), compiler.parallel)}
            compiled = models[first].model
            free = compiler.fixed_batch is None
            return cls(
                compiler,
                models,
                sizes=sizes,
                inputs={node.any_name: _spec(node, free=free) for node in compiled.inputs},
                outputs={_output_name(node): _spec(node, free=free) for node in compiled.outputs},
                info=_described(compiled, compiler, model, options, selection),
            )
        except BaseException:
            compiler.close()
            raise

    @staticmethod
    def skip_reason(_model: Callable[[], ModelFile], _options: EngineOptions, /) -> str | None:
        """None, as it can run on any machine."""
        return None

    @property
    def cache_key(self) -> Mapping[str, KeyValue]:
        """Everything except the model on which the results depend."""
        # A GPU or NPU may be correct at only one batch size.
        return {**self._compiler.cache_key, **({} if self._info.device == CPU else {"batch": self._first})}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these inputs by name; any batch size from 1.

        Raises InputError for inputs that do not fit, EngineError if OpenVINO fails or was closed.
        """
        models = self._models
        if models is None:
            raise closed(NAME)
        ready = checked_feeds(feeds, self._inputs)
        count = len(next(iter(ready.values())))
        if count < 1 or any(len(array) != count for array in ready.values()):
            raise InputError(f"a batch must have at least one image, got shapes {[a.shape for a in ready.values()]}")
        outputs: dict[str, Array] = {}
        running: deque[_Run] = deque()
        try:
            for piece in self._splitter.split(count, tuple(models)):
                compiled = self._compiled(piece.size)
                if len(running) == compiled.parallel:
                    self._collect(running.popleft(), count, outputs)
                running.append(_Run(compiled, ready, piece))
            while running:
                self._collect(running.popleft(), count, outputs)
        except (EngineError, InputError):
            raise
        except Exception as error:
            raise failure("openvino failed while running the model", message_of(error)) from error
        finally:
            for run in running:
                run.abandon()
        return outputs

    def warm(self) -> Sequence[Built]:
        """Cache the compiled models for a batch of `options.batch_size`, and for one image, in the cache folder."""
        built = []
        for size in dict.fromkeys((self._sizes[0], self._sizes[-1])):
            started = time.monotonic()
            folder, found = self._compiler.keep(size)
            built.append(Built(size, folder, time.monotonic() - started, found))
        return built

    def close(self) -> None:
        """Free the compiled models; calling it twice is allowed. Runs in progress are completed."""
        self._models = None
        self._compiler.close()

    def _compiled(self, size: int) -> _Compiled:
        """The model for this batch size, compiled on first use."""
        models = self._models
        if models is not None and size in models:
            return models[size]
        with self._compiling:
            models = self._models  # the engine may have been closed while this waited
            if models is None:
                raise closed(NAME)
            if size not in models:
                models[size] = _Compiled(self._compiler.compile(size), self._compiler.parallel)
            return models[size]

    def _collect(self, run: _Run, count: int, outputs: dict[str, Array]) -> None:
        """Wait for a run and copy its outputs, because the request's next run overwrites its tensors."""
        run.request.wait()
        start, stop = run.piece.start, run.piece.stop
        for index, name in enumerate(self._outputs):
            value = run.request.get_output_tensor(index).data[: stop - start]
            if stop - start == count:
                outputs[name] = np.array(value)
            else:
                if name not in outputs:
                    outputs[name] = np.empty((count, *value.shape[1:]), value.dtype)
                outputs[name][start:stop] = value
        if self._models is not None:
            run.compiled.requests.append(run.request)


class _Compiled:
    """A model compiled for one batch size. `parallel`: number of simultaneous requests that use the whole device."""

    def __init__(self, compiled: CompiledModel, parallel: int) -> None:
        self.model = compiled.model
        self.parallel = int(self.model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) if parallel > 1 else 1
        # Idle requests. deque.pop and append are atomic, so they need no lock.
        self.requests: deque[Any] = deque()
        self.memory = compiled.memory  # the last attribute, so that it is freed after the model and the requests

    def request(self) -> Any:
        try:
            return self.requests.pop()
        except IndexError:
            return self.model.create_infer_request()


class _Run:
    """One started piece of a batch. It keeps its model alive, even if the engine is closed."""

    def __init__(self, compiled: _Compiled, feeds: Mapping[str, Array], piece: Piece) -> None:
        self.compiled = compiled
        self.piece = piece
        self.request = compiled.request()
        self.request.start_async(
            {name: _filled(array[piece.start : piece.stop], piece) for name, array in feeds.items()}
        )

    def abandon(self) -> None:
        """Wait for the end of the run; the request may have failed and is not used again."""
        with contextlib.suppress(RuntimeError):
            self.request.wait()


def _filled(images: Array, piece: Piece) -> Array:
    """The images followed by zeros, up to the batch size."""
    missing = piece.size - len(images)
    return np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)]) if missing else images


def _sizes(compiler: Compiler, model: ModelFile, options: EngineOptions) -> tuple[int, ...]:
    """The batch sizes to compile for."""
    if compiler.fixed_batch is not None:
        return (compiler.fixed_batch,)
    size = model.path.stat().st_size
    if size > SMALL_BYTES and compiler.on_cpu and (options.hint == "throughput" or options.cpu_threads == 1):
        return (1,)
    # In throughput mode, several pieces of a batch run at a time.
    largest = -(-options.largest_batch // compiler.parallel)
    return batch_sizes(largest, few=size > LARGE_BYTES)


def _spec(node: Any, *, free: bool) -> TensorSpec:
    """The specification of an input or output; `free`: any batch size fits, independent of the compiled one."""
    shape = node.partial_shape
    sides = () if shape.rank.is_dynamic else tuple(None if side.is_dynamic else side.get_length() for side in shape)
    return TensorSpec(
        shape=(None, *sides[1:]) if free and sides else sides, dtype=np.dtype(node.element_type.to_dtype()).name
    )


def _described(
    compiled: Any, compiler: Compiler, model: ModelFile, options: EngineOptions, selection: Selection
) -> EngineInfo:
    """The description of a compiled model. Raises EngineUnavailableError if it violates `options.strict`."""
    devices = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
    if options.strict and CPU in devices and len(devices) > 1:
        raise EngineUnavailableError(
            f"openvino would run the model on {', '.join(devices)}, and strict allows no part of it on the CPU; "
            "name one device, or leave strict out"
        )
    arithmetic = arithmetic_of(compiled)
    return EngineInfo(
        name=NAME,
        device=",".join(devices),
        precision=model.precision if model.precision != FP32 else PRECISIONS.get(arithmetic, arithmetic),
        version=compiler.version,
        reason=selection.reason,
        nodes=_nodes(compiled, devices),
        considered=selection.considered,
    )


def _nodes(model: Any, devices: Sequence[str]) -> dict[str, int]:
    """Numbers of operations per device; OpenVINO uses one device for all, or does not report their devices."""
    if len(devices) != 1:
        return {}
    return {devices[0]: sum(_kind(operation) not in NOT_COMPUTED for operation in model.get_runtime_model().get_ops())}


def _kind(operation: Any) -> str:
    """The kind of an operation in a compiled graph; most have the type ExecutionNode, with the kind in their info."""
    notes = operation.get_rt_info()
    return str(notes["layerType"].astype(str) if "layerType" in notes else operation.get_type_name())


def _output_name(node: Any) -> str:
    """The ONNX name of an output, as a tensor that OpenVINO merged with others has all their names."""
    friendly = str(node.get_node().get_friendly_name()).split("/sink_port_")[0]
    return friendly if friendly in node.get_names() else str(node.any_name)


def devices() -> list[dict[str, Any]]:
    """OpenVINO's devices: `name`, `description`, `capabilities`. Raises EngineUnavailableError without openvino."""
    core = import_openvino().Core()
    return [
        {
            "name": str(name),
            "description": str(core.get_property(name, "FULL_DEVICE_NAME")),
            "capabilities": [str(each) for each in core.get_property(name, "OPTIMIZATION_CAPABILITIES")],
        }
        for name in core.available_devices
    ]
