"""Reads the values of layers of an ONNX model: finds their tensors by the parameters, adds these as outputs, and runs.

The names of initializers follow the checkpoint: a LayerNormalization whose scale is `norm1.weight` computes the layer
`norm1`, a product with `proj.weight` and the following addition compute `proj`. Nothing else is assumed of the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..artifact.folder import INPUT_NAME
from ..precisions import FP32
from ..results import Array, EngineInfo
from ..temporary import scratch_folder
from .onnx_file import reading
from .probe_points import ProbePoint
from .running import open_engine

PROBES_PER_RUN = 16
"""Maximum number of tensors added per run. Outputs prevent fusions, so adding all would run a different program."""

# Position of the weight among the inputs by operator; either for a product, and for the scale of a decomposed norm.
WEIGHT_INPUT = {"LayerNormalization": (1,), "Conv": (1,), "Gemm": (1,), "MatMul": (0, 1), "Mul": (0, 1)}
RELABELLING = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
REARRANGING = (*RELABELLING, "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")
QUANTIZED = "_quantized"


class GraphProbes:
    """Locates the probe points of a model in one ONNX graph."""

    def __init__(self, graph: Any, points: Sequence[ProbePoint]) -> None:
        """`tensors`: the tensor of each found probe point, by the point's name. `anchors`: the nodes that use a layer's
        weight, by the layer.
        """
        self._consumers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._consumers[name].append(node)
        self._parameters = self._parameter_names(graph)
        self.anchors: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for place in WEIGHT_INPUT.get(node.op_type, ()):
                layer, _, kind = self._parameters.get(_at(node, place), "").rpartition(".")
                if kind == "weight":
                    self.anchors[layer].append(node)
        places = ((point.name, self._tensor(point)) for point in points)
        self.tensors: dict[str, str] = {name: tensor for name, tensor in places if tensor}

    def _parameter_names(self, graph: Any) -> dict[str, str]:
        """Constant tensor -> the name of its parameter, which is the constant that it was computed from."""
        names = {tensor.name: tensor.name.removesuffix(QUANTIZED) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                names[node.output[0]] = node.output[0]
            elif node.op_type in REARRANGING and node.input and all(name in names for name in node.input if name):
                names[node.output[0]] = names[node.input[0]]
        return names

    def _tensor(self, point: ProbePoint) -> str:
        nodes = self.anchors.get(point.anchor, [])
        if len(nodes) != 1:
            # Equal parameters may be stored once and used by several layers; then the bias identifies the layer.
            nodes = [node for node in nodes if self._parameters.get(_at(node, 2)) == f"{point.anchor}.bias"]
        if len(nodes) != 1:
            return ""
        node = nodes[0]
        if point.side == "input":
            # Of a decomposed norm only the end can be recognised.
            return next((name for name in node.input if name not in self._parameters and node.op_type != "Mul"), "")
        output = self._with_bias(node)
        return output if point.side == "output" else self._sum(output)

    def _with_bias(self, node: Any) -> str:
        """The output of `node`, or of the addition of a constant that follows it."""
        output = str(node.output[0])
        if node.op_type in ("MatMul", "Mul"):
            addition = self._following(output, RELABELLING)
            if addition is not None and any(name in self._parameters for name in addition.input):
                return str(addition.output[0])
        return output

    def _sum(self, tensor: str) -> str:
        addition = self._following(tensor, REARRANGING)
        if addition is None or any(name in self._parameters for name in addition.input):
            return ""
        return str(addition.output[0])

    def _following(self, tensor: str, passing: Sequence[str]) -> Any:
        """The Add that is the only user of a tensor, directly or through the operators `passing`."""
        while len(users := self._consumers.get(tensor, [])) == 1:
            if users[0].op_type == "Add":
                return users[0]
            if users[0].op_type not in passing:
                return None
            tensor = users[0].output[0]
        return None


class OnnxLayers:
    """A source of the values of an ONNX model's layers on an engine.

    `found`: names of the probe points in the graph. After a run, `outputs` are the model's own outputs from the same
    run as the added tensors, and `info` describes the engine.
    """

    def __init__(
        self, model_file: Path, points: Sequence[ProbePoint], engine: str, precision: str = FP32, *, build: bool = True
    ) -> None:
        """`precision`: of the file's weights. `build`: whether to use an engine that takes minutes to build.

        Raises MissingDependencyError without the package onnx, ValidationError if the file cannot be read.
        """
        with reading(model_file, "layers") as onnx:
            self._model = onnx.load(str(model_file), load_external_data=False)
        self.model_file = model_file
        self._engine, self._precision, self._build = engine, precision, build
        self._tensors = GraphProbes(self._model.graph, points).tensors
        self.found = tuple(self._tensors)
        self.info: EngineInfo | None = None
        self.outputs: dict[str, Array] = {}

    def chunks(self, names: Sequence[str]) -> Iterator[list[str]]:
        """The layers among `names` that the graph has, in groups for one run each."""
        wanted = [name for name in names if name in self._tensors]
        for start in range(0, len(wanted), PROBES_PER_RUN):
            yield wanted[start : start + PROBES_PER_RUN]

    def run_layers(self, images: Array, names: Sequence[str]) -> dict[str, Array]:
        """See LayerSource; raises EngineError if the engine rejects or cannot run the model."""
        values: dict[str, Array] = {}
        for chunk in self.chunks(names):
            marks = {f"onnxzoo_probe_{number}": name for number, name in enumerate(chunk)}
            results = self._run(images, {mark: self._tensors[name] for mark, name in marks.items()})
            values |= {name: results[mark] for mark, name in marks.items()}
            self.outputs = {name: value for name, value in results.items() if name not in marks}
        return values

    def run_outputs(self, images: Array) -> dict[str, Array]:
        """The outputs of the unmodified model; raises EngineError."""
        self.outputs = self._run(images, {})
        return self.outputs

    def _run(self, images: Array, marks: Mapping[str, str]) -> dict[str, Array]:
        with scratch_folder("layers") as folder:
            path = folder / "model.onnx"
            path.write_bytes(self._marked(marks))
            # Models compiled from this file are never used again.
            cache = folder / "cache"
            engine = open_engine(self._engine, path, self._precision, len(images), cache=cache, build=self._build)
            try:
                self.info = engine.info
                return engine.run({INPUT_NAME: images})
            finally:
                engine.close()

    def _marked(self, marks: Mapping[str, str]) -> bytes:
        """The model with additional float32 outputs, given by the tensor of each."""
        from onnx import TensorProto, helper

        model = type(self._model)()
        model.CopyFrom(self._model)
        for mark, tensor in marks.items():
            model.graph.node.append(helper.make_node("Cast", [tensor], [mark], name=mark, to=TensorProto.FLOAT))
            model.graph.output.append(helper.make_tensor_value_info(mark, TensorProto.FLOAT, None))
        content: bytes = model.SerializeToString()
        return content


def _at(node: Any, place: int) -> str:
    return str(node.input[place]) if place < len(node.input) else ""
