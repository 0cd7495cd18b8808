"""ONNX Runtime's converter to fp16, and the nodes that must not be converted as they overflow or lose too much.

Engines on GPUs compute in fp16 and round every result to it. ONNX Runtime on CPUs widens fp16 to fp32, computes, and
omits the intermediate roundings, so running the file on a CPU would show almost no loss. Instead, the loss is measured
on the fp32 graph with every result rounded to fp16 and back, by operators that no optimiser removes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..engines.onnxruntime_library import import_onnxruntime
from ..errors import QuantizationError, one_line
from ..results import Array
from .layers import QUANTIZERS
from .static import INSTALL, import_onnx, set_metadata

LARGEST = 65504.0
"""The largest finite number in fp16."""
HEADROOM = 4.0
"""Factor by which values of unmeasured inputs may be larger."""
SMALLEST = 1e-7
"""Smaller numbers other than 0 are set to this value, so that a small divisor does not become 0."""
SQUARED = ("ReduceL2",)
"""Operators that sum the squares of their input; engines may keep that sum in fp16 as well."""
FP32_NOTE = "fp32_nodes"
FLOAT, FLOAT16 = 1, 10  # onnx.TensorProto


class HalfConverter:
    """Converts one model, any number of times, to fp16 with inputs and outputs in fp32."""

    def __init__(self, model_file: Path, work: Path) -> None:
        """`work`: an empty folder for intermediate files. Raises InputError for a model that is already quantised,
        MissingDependencyError, EngineUnavailableError.
        """
        from ..errors import InputError

        self._onnx = import_onnx()
        self._runtime = import_onnxruntime(INSTALL)
        self._file, self._work = model_file, work
        self._exact = self._onnx.shape_inference.infer_shapes(self._onnx.load(str(model_file)))
        if any(node.op_type in QUANTIZERS for node in self._exact.graph.node):
            raise InputError(f"{model_file} is already quantised; convert the fp32 file that it was made from")
        for number, node in enumerate(self._exact.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        kinds = {value.name: value.type.tensor_type.elem_type for value in self._exact.graph.value_info}
        kinds |= {value.name: value.type.tensor_type.elem_type for value in self._exact.graph.output}
        self._floats = {name for name, kind in kinds.items() if kind == FLOAT}
        self.kinds: Mapping[str, tuple[str, ...]] = _by_kind(self._exact.graph.node, self._floats)

    def overflowing(self, images: Array) -> dict[str, float]:
        """Nodes that write or read values, including constants, near fp16's maximum, or sum such squares -> the value.

        `images`: float32 [N, 3, S, S], run one by one.
        """
        names = sorted(self._floats)
        largest = dict.fromkeys(names, 0.0)
        model = self._copy()
        outputs = {value.name for value in model.graph.output}
        model.graph.output.extend(
            self._onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in names if name not in outputs
        )
        session = self._session(model)
        feed = session.get_inputs()[0].name
        for image in images:
            for name, value in zip(names, session.run(names, {feed: image[None]}), strict=True):
                largest[name] = max(largest[name], float(np.abs(value).max(initial=0)))
        for tensor in self._exact.graph.initializer:
            if tensor.data_type == FLOAT:
                largest[tensor.name] = float(np.abs(self._onnx.numpy_helper.to_array(tensor)).max(initial=0)) / HEADROOM
        found = {}
        for node in self._exact.graph.node:
            value = max((largest[name] for name in (*node.input, *node.output) if name in largest), default=0.0)
            if node.op_type in SQUARED:
                value = max(value, max(largest[name] for name in node.output) ** 2)
            if not value * HEADROOM <= LARGEST:
                found[node.name] = value
        return found

    def rounded(self, images: Array, fp32_nodes: Collection[str]) -> dict[str, Array]:
        """The outputs for images if every constant, and the result of every node except these, is rounded to fp16."""
        model = self._copy()
        graph = model.graph
        outputs = {value.name for value in graph.output}
        nodes = list(graph.node)
        del graph.node[:]
        converted = {name for node in nodes if node.name not in fp32_nodes for name in node.input}
        for tensor in graph.initializer:
            if tensor.data_type == FLOAT and tensor.name in converted:
                values = _half(self._onnx.numpy_helper.to_array(tensor))
                tensor.CopyFrom(self._onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
        make = self._onnx.helper.make_node
        for node in nodes:
            graph.node.append(node)
            if node.name in fp32_nodes:
                continue
            placed = graph.node[len(graph.node) - 1]
            for place, name in enumerate(node.output):
                if name in self._floats:
                    exact, half = f"{name}/exact", f"{name}/half"
                    placed.output[place] = exact
                    graph.node.append(make("Cast", [exact], [half], name=half, to=FLOAT16))
                    graph.node.append(make("Cast", [half], [name], name=f"{half}/wide", to=FLOAT))
        names = sorted(outputs)
        session = self._session(model)
        feed = session.get_inputs()[0].name
        parts = [session.run(names, {feed: image[None]}) for image in images]
        return {name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(names)}

    def write(self, target: Path, fp32_nodes: Collection[str]) -> None:
        """Write the model with all nodes except these in fp16.

        Raises QuantizationError if the converter fails, OSError if the file cannot be written.
        """
        try:
            from onnxruntime.transformers.float16 import convert_float_to_float16

            model = convert_float_to_float16(
                self._copy(),
                keep_io_types=True,
                min_positive_val=SMALLEST,
                op_block_list=[],
                node_block_list=sorted(fp32_nodes),
                disable_shape_infer=True,
            )
            del model.graph.value_info[:]
            _join_fp32(model.graph)
            _name_casts(model.graph)
            _sort(model.graph)
            self._onnx.checker.check_model(model)
        except Exception as error:
            raise QuantizationError(f"ONNX Runtime cannot convert the model to fp16: {one_line(error)}") from error
        notes = {prop.key: prop.value for prop in self._exact.metadata_props}
        set_metadata(model, {**notes, FP32_NOTE: " ".join(sorted(fp32_nodes))})
        self._onnx.save(model, str(target))

    def _copy(self) -> Any:
        model = self._onnx.ModelProto()
        model.CopyFrom(self._exact)
        return model

    def _session(self, model: Any) -> Any:
        """A session that runs the graph without fusing nodes, so that the roundings stay in place."""
        from ..engines.options import EngineOptions

        file = self._work / "probed.onnx"
        self._onnx.save(model, str(file))
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = EngineOptions().cpu_threads
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return self._runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _by_kind(nodes: Any, floats: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The nodes that compute floats, grouped by kind: by their names without the numbers of blocks."""
    kinds: dict[str, list[str]] = {}
    for node in nodes:
        if any(name in floats for name in node.output):
            kinds.setdefault(re.sub(r"\d+", "#", node.name), []).append(node.name)
    return {kind: tuple(names) for kind, names in kinds.items()}


def _half(values: Any) -> Any:
    """The values rounded as the converter rounds constants: they stay finite, and only 0 becomes 0."""
    limited = np.clip(values, -LARGEST, LARGEST)
    small = (values != 0) & (np.abs(values) < SMALLEST)
    return np.where(small, np.copysign(SMALLEST, values), limited).astype(np.float16)


def _join_fp32(graph: Any) -> None:
    """Connect fp32 nodes that follow one another directly, in place.

    The converter casts the values between them to fp16 and back, where they may become infinite.
    """
    outputs = {value.name for value in graph.output}
    makers = {name: node for node in graph.node for name in node.output}
    for wide in [node for node in graph.node if _casts(node, FLOAT)]:
        narrow = makers.get(wide.input[0])
        if narrow is None or not _casts(narrow, FLOAT16):
            continue
        value, copy = narrow.input[0], wide.output[0]
        kept, gone = (copy, value) if copy in outputs else (value, copy)
        graph.node.remove(wide)
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [kept if name == gone else name for name in names]
    read = {name for node in graph.node for name in node.input} | outputs
    for node in [node for node in graph.node if _casts(node, FLOAT16) and node.output[0] not in read]:
        graph.node.remove(node)


def _casts(node: Any, kind: int) -> bool:
    return node.op_type == "Cast" and any(each.name == "to" and each.i == kind for each in node.attribute)


def _name_casts(graph: Any) -> None:
    """Name the value after an input's cast, and the one before an output's cast, after that input or output, in place.

    OpenVINO treats such a pair as one value with two names, and reports the alphabetically first one.
    """
    inputs, outputs = ({value.name for value in values} for values in (graph.input, graph.output))
    new = {}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in inputs:
            new[node.output[0]] = f"{node.input[0]}/half"
        elif node.op_type == "Cast" and node.output[0] in outputs:
            new[node.input[0]] = f"{node.output[0]}/half"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]


def _sort(graph: Any) -> None:
    """Sort the nodes topologically, in place, because the converter appends casts at the end."""
    waiting = list(graph.node)
    known = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input} | {""}
    ordered = []
    while waiting:
        ready = list(_ready(waiting, known))
        if not ready:
            raise ValueError("the graph has a cycle")
        ordered += ready
        taken = {id(node) for node in ready}
        waiting = [node for node in waiting if id(node) not in taken]
    copies = [type(node)() for node in ordered]
    for copy, node in zip(copies, ordered, strict=True):
        copy.CopyFrom(node)
    del graph.node[:]
    graph.node.extend(copies)


def _ready(waiting: list[Any], known: set[str]) -> Iterator[Any]:
    """The waiting nodes whose inputs are known, in one pass that adds their outputs to the known ones."""
    for node in waiting:
        if all(name in known for name in node.input):
            known.update(node.output)
            yield node
