"""Small seeded models of both families with their artifacts, and faults to put into their ONNX files.

Every fault edits the graph as a mistaken converter would have written it, and config.json then announces the
edited file: nothing but the numbers gives it away.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnxzoo.artifact.folder import INPUT_NAME, Artifact, read_artifact
from onnxzoo.families import ModelSpec
from onnxzoo.files import sha256_of
from onnxzoo.reference.paddle.build import build_model, load_state, parameter_shapes
from onnxzoo.reference.paddle.engine import PaddleEngine
from onnxzoo.registry import find
from onnxzoo.weights.checkpoint import read_checkpoint
from onnxzoo.weights.seeded import seeded_state

# Small, and with all there is: shifted and unshifted windows on 12 x 12 and 6 x 6 tokens, one window on 3 x 3;
# reduced and unreduced keys. Their names are in the registry, as `validate` wants it.
NAMES = ("swinv2_nano_fashion", "pvt_v2_nano_fashion")
BLOCKS = {
    "swinv2_nano_fashion": [f"layers.{stage}.blocks.{index}" for stage in range(3) for index in range(2)],
    "pvt_v2_nano_fashion": [f"block{stage}.{index}" for stage in (1, 2, 3) for index in range(2)],
}
SEED = 3
CLASSES = 10


# Norms whose inputs are small in the models below, so that their epsilon counts.
SMALL_INPUTS = {"swinv2_nano_fashion": "layers.1.blocks.0.norm1", "pvt_v2_nano_fashion": "block2.0.norm1"}


@dataclasses.dataclass(frozen=True)
class Zoo:
    """One model: its checkpoint, the right artifact exported from it, and the reference."""

    name: str
    weights: Path
    artifact: Path
    reference: PaddleEngine

    def with_fault(self, folder: Path, fault: Callable[[Any], None]) -> Artifact:
        """A copy of the artifact whose graph went through `fault`."""
        shutil.copytree(self.artifact, folder)
        path = folder / "onnx" / "model.onnx"
        model = onnx.load(path)
        fault(model.graph)
        onnx.save(model, path)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["files"]["onnx/model.onnx"].update(sha256=sha256_of(path), bytes=path.stat().st_size)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return read_artifact(folder)


def small_inputs(state: dict[str, Any]) -> None:
    """Make what enters the norms of SMALL_INPUTS small: a projection in one family, a patch embedding in the other."""
    for name in ("layers.1.blocks.0.attn.proj", "patch_embed2.norm"):
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in state:
                state[f"{name}.{kind}"] = state[f"{name}.{kind}"] * np.float32(0.03)


def make_zoo(
    name: str, folder: Path, change: Callable[[dict[str, Any]], None] = small_inputs, **architecture: Any
) -> Zoo:
    """Write a seeded checkpoint, its state put through `change`, and export it; `architecture` changes fields of it."""
    import paddle
    from onnxzoo.exports.pipeline import export_model

    entry = find(name)
    entry = dataclasses.replace(entry, architecture=dataclasses.replace(entry.architecture, **architecture))
    model = build_model(ModelSpec(entry.architecture, entry.image_size, CLASSES))
    state = dict(seeded_state(parameter_shapes(model), SEED))
    change(state)
    load_state(model, state)
    weights = folder / f"{name}.pdparams"
    paddle.save(model.state_dict(), str(weights))
    artifact = export_model(entry, weights=weights, out=folder / name)
    spec = ModelSpec(entry.architecture, entry.image_size, CLASSES)
    return Zoo(name, weights, artifact.folder, PaddleEngine.open(spec, read_checkpoint(weights, entry).state))


def initializer(graph: Any, name: str) -> Any:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def node_of(graph: Any, tensor: str, op_type: str | None = None) -> Any:
    """The one node that takes `tensor`, of this type."""
    (node,) = (node for node in graph.node if tensor in node.input and op_type in (None, node.op_type))
    return node


def edit(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """The fault of storing other values in an initializer."""

    def fault(graph: Any) -> None:
        tensor = initializer(graph, name)
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(values.copy()), values.dtype), name))

    return fault


def one_percent(layer: str) -> Callable[[Any], None]:
    """A weight tensor changed by 1 %."""
    return edit(f"{layer}.weight", lambda values: values * 1.01)


def no_bias(layer: str) -> Callable[[Any], None]:
    """The bias of a linear layer or convolution left out."""

    def fault(graph: Any) -> None:
        node = node_of(graph, f"{layer}.bias")
        graph.initializer.remove(initializer(graph, f"{layer}.bias"))
        if node.op_type in ("Conv", "Gemm"):
            del node.input[2]
            return
        product = next(name for name in node.input if name != f"{layer}.bias")
        source = next(other for other in graph.node if product in other.output)
        source.output[list(source.output).index(product)] = node.output[0]
        graph.node.remove(node)

    return fault


def transposed(layer: str) -> Callable[[Any], None]:
    """A square weight stored the wrong way round."""
    return edit(f"{layer}.weight", lambda values: values.T)


def q_for_k(block: str) -> Callable[[Any], None]:
    """Queries and keys exchanged."""

    def swapped(values: Any) -> Any:
        third = values.shape[-1] // 3
        return np.concatenate([values[..., third : 2 * third], values[..., :third], values[..., 2 * third :]], axis=-1)

    def fault(graph: Any) -> None:
        names = {tensor.name for tensor in graph.initializer}
        for kind in ("weight", "bias"):
            if f"{block}.attn.qkv.{kind}" in names:
                edit(f"{block}.attn.qkv.{kind}", swapped)(graph)
                continue
            query = numpy_helper.to_array(initializer(graph, f"{block}.attn.q.{kind}"))
            both = numpy_helper.to_array(initializer(graph, f"{block}.attn.kv.{kind}"))
            width = query.shape[-1]
            # The scale of the scores is in the queries' weights, and belongs to the product of both.
            edit(f"{block}.attn.q.{kind}", lambda _, both=both, width=width: both[..., :width])(graph)
            edit(
                f"{block}.attn.kv.{kind}",
                lambda _, query=query, both=both, width=width: np.concatenate([query, both[..., width:]], axis=-1),
            )(graph)

    return fault


def no_mask(block: str) -> Callable[[Any], None]:
    """The mask of shifted windows left out."""
    return edit(f"{block}.attn.shift_mask", np.zeros_like)


def transposed_bias_index(block: str) -> Callable[[Any], None]:
    """The index of the relative position bias counted from keys to queries."""

    def fault(graph: Any) -> None:
        gather = node_of(graph, f"{block}.attn.position_bias", "Gather")
        # Blocks share the index: this one gets its own.
        index = numpy_helper.to_array(initializer(graph, gather.input[1]))
        tokens = round(index.size**0.5)
        wrong = np.ascontiguousarray(index.reshape(tokens, tokens).T).reshape(index.shape)
        graph.initializer.append(numpy_helper.from_array(wrong, f"{block}.wrong_index"))
        gather.input[1] = f"{block}.wrong_index"

    return fault


def epsilon(layer: str, value: float) -> Callable[[Any], None]:
    """Another epsilon in a LayerNorm."""

    def fault(graph: Any) -> None:
        node = node_of(graph, f"{layer}.weight", "LayerNormalization")
        kept = [attribute for attribute in node.attribute if attribute.name != "epsilon"]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("epsilon", value)])

    return fault


def unclipped(block: str, values: Any) -> Callable[[Any], None]:
    """The scale of the scores computed from logit_scale `values` [heads, 1, 1] without the limit of ln 100."""
    return edit(f"{block}.attn.qk_scale", lambda scale: np.concatenate([np.exp(values), scale[len(values) :]]))


def bgr(graph: Any) -> None:
    """A first convolution that expects blue, green, red."""
    (first,) = (node for node in graph.node if INPUT_NAME in node.input)
    edit(first.input[1], lambda values: values[:, ::-1])(graph)


def scaled_head(factor: float) -> Callable[[Any], None]:
    """All logits larger by a factor: the best classes stay the best."""

    def fault(graph: Any) -> None:
        for kind in ("weight", "bias"):
            edit(f"head.{kind}", lambda values: values * factor)(graph)

    return fault


def baked_reshapes(graph: Any) -> None:
    """The batch of one in the shapes that the graph computes with: its inputs still promise any."""
    for name in [tensor.name for tensor in graph.initializer if tensor.name.startswith("ints.-1x")]:
        edit(name, lambda shape: np.where(shape == -1, 1, shape))(graph)


def baked_batch(graph: Any) -> None:
    """The batch fixed to one in the graph's inputs and outputs."""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def no_residual(block: str) -> Callable[[Any], None]:
    """What enters the attention is not added to what leaves it."""

    def fault(graph: Any) -> None:
        names = {tensor.name for tensor in graph.initializer}
        made_by = {name: node for node in graph.node for name in node.output}
        swin = f"{block}.attn.qkv.weight" in names
        # The addition feeds the MLP in the one family, its norm in the other.
        following = node_of(graph, f"{block}.mlp.fc1.weight" if swin else f"{block}.norm2.weight")
        addition = made_by[following.input[0]]
        assert addition.op_type == "Add"
        branch = [name for name in addition.input if name.startswith((f"{block}.norm1", f"{block}.attn.proj"))]
        for node in graph.node:
            node.input[:] = [branch[0] if name == addition.output[0] else name for name in node.input]
        graph.node.remove(addition)

    return fault


def wrong_order(block: str) -> Callable[[Any], None]:
    """The tokens that enter a block are in an order that no window explains."""
    return edit(f"{block}.window_order", lambda index: np.roll(index, 1))
