"""An artifact's ONNX file is refused at load unless it is a graph as onnxzoo makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="makes the graphs")
from artifacts import PVT, SWIN, announce, copy_shipped
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from tiny import tiny_graph, write_artifact

from onnxzoo import load
from onnxzoo.artifact.folder import INPUT_NAME, MODEL_FILES, SCHEMA_VERSION, read_artifact
from onnxzoo.artifact.onnx_checks import OPERATORS, Interface, Trust, check_onnx
from onnxzoo.artifact.onnx_graph import read_graph
from onnxzoo.artifact.onnx_shapes import broadcast, check_sizes
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, InputError
from onnxzoo.hub import SHIPPED_DIR

FLOAT = TensorProto.FLOAT
INTERFACE = Interface({INPUT_NAME: (None, 3, 32, 32)}, {"logits": (None, 4), "embedding": (None, 3)})


def value(name: str, shape: Sequence[int | str] | None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def with_logits(*nodes: Any, constants: dict[str, Any] | None = None, logits: Any = None) -> Any:
    """The tiny graph, whose logits `l` [N, 4] go through these nodes to become `logits`."""
    model = tiny_graph()
    head = next(node for node in model.graph.node if "logits" in node.output)
    head.output[:] = ["l"]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in (constants or {}).items())
    if logits is not None:
        model.graph.output[0].CopyFrom(logits)
    return model


def checked(folder: Path, model: Any, trust: Trust = "known") -> None:
    file = folder / "model.onnx"
    file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    check_onnx(file, INTERFACE, schema_version=1, trust=trust)


def node(operator: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, ["logits"] if outputs is None else outputs, **attributes)


def loop() -> Any:
    """`logits` after 2^62 rounds."""
    body = helper.make_graph(
        [node("Identity", ["going"], ["still"]), node("Sin", ["x"], ["y"])],
        "body",
        [value("i", [], TensorProto.INT64), value("going", [], TensorProto.BOOL), value("x", None)],
        [value("still", [], TensorProto.BOOL), value("y", None)],
    )
    constants = {"trips": np.array(2**62), "go": np.array(True)}
    return with_logits(node("Loop", ["trips", "go", "l"], body=body), constants=constants)


def branch() -> Any:
    body = helper.make_graph([node("Identity", ["l"], ["b"])], "body", [], [value("b", ["N", 4])])
    made = node("If", ["go"], then_branch=body, else_branch=body)
    return with_logits(made, constants={"go": np.array(True)})


def hidden_branch() -> Any:
    """A graph as an attribute of an operator that is allowed, where engines may or may not look."""
    made = with_logits(node("Identity", ["l"]))
    made.graph.node[-1].attribute.append(helper.make_attribute("body", made.graph))
    return made


def function() -> Any:
    model = with_logits(node("Relu", ["l"]))
    model.functions.append(
        helper.make_function("", "Relu", ["x"], ["y"], [node("Sin", ["x"], ["y"])], [helper.make_opsetid("", 17)])
    )
    return model


def training() -> Any:
    model = tiny_graph()
    model.training_info.add()
    return model


def sparse(place: str) -> Any:
    dense = numpy_helper.from_array(np.ones(1, np.float32), "s")
    held = helper.make_sparse_tensor(dense, numpy_helper.from_array(np.zeros(1, np.int64), "i"), [2**40])
    if place == "initializer":
        model = tiny_graph()
        model.graph.sparse_initializer.append(held)
        return model
    return with_logits(node("Identity", ["l"]), node("Constant", [], ["c"], sparse_value=held))


def lying_tensor() -> Any:
    model = tiny_graph()
    model.graph.initializer.append(TensorProto(name="huge", dims=[2**40], data_type=FLOAT))
    return model


SHAPE = {"shape": np.array([4, 2**34], np.int64)}
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "Loop": (loop, "has graphs within its operators"),
    "If": (branch, "has graphs within its operators"),
    "a graph in an operator that is allowed": (hidden_branch, "has graphs within its operators"),
    "a local function": (function, "has local functions"),
    "a graph for training": (training, "has graphs for training"),
    "another domain": (lambda: with_logits(node("Relu", ["l"], domain="com.microsoft")), "domain 'com.microsoft'"),
    "Sin": (lambda: with_logits(node("Sin", ["l"])), "operators that no artifact of onnxzoo contains: Sin; if you"),
    "Expand": (lambda: with_logits(node("Expand", ["l", "shape"]), constants=SHAPE), "contains: Expand"),
    "ConstantOfShape": (lambda: with_logits(node("ConstantOfShape", ["shape"]), constants=SHAPE), "ConstantOfShape"),
    "Tile": (lambda: with_logits(node("Tile", ["l", "shape"]), constants=SHAPE), "contains: Tile"),
    "Pad": (lambda: with_logits(node("Pad", ["l", "shape"]), constants=SHAPE), "contains: Pad"),
    "Resize": (lambda: with_logits(node("Resize", ["l", "", "", "shape"]), constants=SHAPE), "contains: Resize"),
    "a sparse initializer": (lambda: sparse("initializer"), "has sparse tensors"),
    "a sparse constant": (lambda: sparse("constant"), "has sparse tensors"),
    "a tensor without its data": (lying_tensor, "has a tensor 'huge' of shape [1099511627776]"),
    "text as output": (
        lambda: with_logits(node("Cast", ["l"], to=TensorProto.STRING), logits=value("logits", ["N", 4], 8)),
        "casts to the element type [8]",
    ),
    "text said to be numbers": (
        lambda: with_logits(node("Cast", ["l"], to=TensorProto.STRING)), "casts to the element type [8]",
    ),
    "whole numbers as output": (
        lambda: with_logits(node("Cast", ["l"], to=TensorProto.INT64), logits=value("logits", ["N", 4], 7)),
        "has 'logits' as element type 7 ('?', 4), expected float32 (N, 4)",
    ),
    "a sequence as output": (
        lambda: with_logits(node("Identity", ["l"]), logits=helper.make_tensor_sequence_value_info("logits", 1, None)),
        "has 'logits' as something that is not a tensor",
    ),
    "another number of classes": (
        lambda: with_logits(node("Identity", ["l"]), logits=value("logits", ["N", 5])),
        "has 'logits' as float32 ('?', 5), expected float32 (N, 4)",
    ),
    "another rank": (
        lambda: with_logits(node("Identity", ["l"]), logits=value("logits", ["N", 4, 1])), "expected float32 (N, 4)",
    ),
    "another number of classes than it says": (
        lambda: with_logits(node("Gather", ["l", "rows"], axis=1), constants={"rows": np.arange(3)}),
        "computes 'logits' of shape (1, 3) for one image, expected (1, 4)",
    ),
    "an output that nothing computes": (lambda: with_logits(), "never computes its output 'logits'"),
    "two results of one name": (
        lambda: with_logits(node("Relu", ["l"]), node("Identity", ["l"])), "computes 'logits' twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_artifact_of_ours_contains_is_refused(case: str, tmp_path: Path) -> None:
    make, expected = REFUSED[case]
    with pytest.raises(ArtifactError) as caught:
        checked(tmp_path, make())
    assert str(caught.value).startswith(f"{tmp_path / 'model.onnx'} ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def outer(model: Any, length: int) -> Any:
    """An outer product of a vector that the file holds, in no more bytes than that."""
    vector = np.ones(length, np.float32)
    model.graph.initializer.extend(
        numpy_helper.from_array(vector.reshape(shape), name) for name, shape in (("row", (1, -1)), ("column", (-1, 1)))
    )
    return model


HUGE: dict[str, tuple[Callable[[], Any], str]] = {
    "an outer product": (
        lambda: outer(with_logits(node("MatMul", ["column", "row"], ["big"])), 2**15),
        "computes 1073741824 values at once",
    ),
    "a broadcast": (
        lambda: outer(with_logits(node("Add", ["column", "row"], ["big"])), 2**15),
        "computes 1073741824 values at once",
    ),
    "gathers": (
        lambda: with_logits(
            node("Gather", ["l", "many"], ["a"], axis=1), node("Gather", ["a", "many"], ["b"], axis=0),
            constants={"many": np.zeros(2**15, np.int64)},
        ),
        "computes 1073741824 values at once",
    ),
    "pads of a convolution": (
        lambda: with_logits(
            node("Conv", [INPUT_NAME, "k"], ["big"], pads=[2**14] * 4),
            constants={"k": np.ones((1, 3, 1, 1), np.float32)},
        ),
        "values at once for an image (operator Conv)",
    ),
    "products without end": (
        lambda: outer(
            with_logits(
                node("MatMul", ["column", "row"], ["m0"]),
                *(node("MatMul", [f"m{at}", f"m{at}"], [f"m{at + 1}"]) for at in range(10)),
            ),
            2**13,
        ),
        "needs more than 4398046511104 operations",
    ),
    "a shape that is computed": (
        lambda: with_logits(node("Reshape", ["l", "s"]), node("Cast", ["l"], ["s"], to=TensorProto.INT64)),
        "has the operator Reshape with inputs that do not fit it",
    ),
    "a scale for every number": (
        lambda: outer(
            with_logits(
                node("QuantizeLinear", ["l", "column"], ["q"]), node("DequantizeLinear", ["q", "column"]),
            ),
            2**10,
        ),
        "the operator QuantizeLinear with inputs that do not fit it",
    ),
    "a reshape to another number of values": (
        lambda: with_logits(node("Reshape", ["l", "s"]), constants={"s": np.array([5, 7])}), "the operator Reshape",
    ),
    "a negative split": (
        lambda: with_logits(node("Split", ["l", "s"], ["logits", "x"], axis=1), constants={"s": np.array([5, -1])}),
        "the operator Split",
    ),
    "a strided convolution of nothing": (
        lambda: with_logits(
            node("Conv", [INPUT_NAME, "k"], ["big"], strides=[0, 0]), constants={"k": np.ones((1, 3, 1, 1), np.float32)}
        ),
        "the operator Conv",
    ),
    "an axis that is not there": (
        lambda: with_logits(node("Gather", ["l", "s"], axis=9), constants={"s": np.arange(1)}), "the operator Gather",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HUGE)
def test_what_would_take_all_memory_or_time_is_refused(case: str, tmp_path: Path) -> None:
    make, expected = HUGE[case]
    with pytest.raises(ArtifactError) as caught:
        checked(tmp_path, make())
    assert expected in str(caught.value)


def test_any_graph_is_loaded_where_it_is_trusted(tmp_path: Path) -> None:
    foreign = with_logits(node("Sin", ["l"]))
    folder = write_artifact(tmp_path / "artifact", model=foreign)
    with pytest.raises(ArtifactError, match=r"contains: Sin; if you trust its author, load it with trust='any'"):
        load(folder)
    batch = np.zeros((2, 3, 32, 32), np.float32)
    plain = write_artifact(tmp_path / "plain")
    with load(folder, trust="any") as model, load(plain) as known:
        assert np.allclose(model.logits(batch), np.sin(known.logits(batch)), atol=1e-5)
    with pytest.raises(InputError, match="trust must be 'known' or 'any', got 'all'"):
        load(folder, trust="all")


@pytest.mark.parametrize("command", ["predict", "validate"])
def test_the_command_line_honours_trust(command: str, tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "artifact")
    # Adds what is nothing: the numbers stay those of the conformance vectors.
    model = onnx.load(folder / MODEL_FILES["fp32"])
    head = next(node for node in model.graph.node if "logits" in node.output)
    head.output[:] = ["l"]
    model.graph.node.extend([node("Floor", ["zero"], ["nothing"]), node("Add", ["l", "nothing"])])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    onnx.save(model, folder / MODEL_FILES["fp32"])
    announce(folder, MODEL_FILES["fp32"])
    photo = str(next((Path(__file__).parents[1] / "data" / "fashion_mnist_sample" / "Sneaker").iterdir()))
    arguments = [command, str(folder), *([photo] if command == "predict" else ["--batch-size", "1"])]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert "contains: Floor; if you trust its author, load it with trust='any' (--trust any)" in refused.stderr
    trusted = CliRunner().invoke(main, [*arguments, "--trust", "any"])
    assert trusted.exit_code == 0, trusted.output


@pytest.mark.parametrize("trust", ["known", "any"])
@pytest.mark.parametrize("case", ["whole numbers as output", "a sequence as output", "another rank"])
def test_outputs_are_checked_with_any_trust(case: str, trust: Trust, tmp_path: Path) -> None:
    make, expected = REFUSED[case]
    with pytest.raises(ArtifactError) as caught:
        checked(tmp_path, make(), trust)
    assert expected in str(caught.value)


@pytest.mark.parametrize("trust", ["known", "any"])
@pytest.mark.parametrize("version", [2**40, 1001, 0, -1])
def test_a_version_of_the_operators_that_cannot_be(version: int, trust: Trust, tmp_path: Path) -> None:
    """OpenVINO counts down from it: for ever from 2^40."""
    model = tiny_graph()
    model.opset_import[0].version = version
    with pytest.raises(ArtifactError, match=f"states version {version} of its operators, expected 1 to 1000"):
        checked(tmp_path, model, trust)


@pytest.mark.parametrize("trust", ["known", "any"])
def test_a_second_input(trust: Trust, tmp_path: Path) -> None:
    model = tiny_graph()
    model.graph.input.append(value("mask", ["batch"]))
    with pytest.raises(ArtifactError, match=r"has the inputs \['mask', 'pixel_values'\], expected \['pixel_values'\]"):
        checked(tmp_path, model, trust)


def test_foreign_outputs_beside_ours_and_without_an_embedding(tmp_path: Path) -> None:
    model = tiny_graph()
    model.graph.output.append(value("colours", None))
    checked(tmp_path, model, "any")
    with pytest.raises(ArtifactError, match="has the outputs"):
        checked(tmp_path, model)
    del model.graph.output[1:]
    checked(tmp_path, model, "any")
    with pytest.raises(ArtifactError, match="has the outputs"):
        checked(tmp_path, model)


def test_a_graph_in_two_pieces_is_one(tmp_path: Path) -> None:
    """Readers of Protocol Buffers join them: what stands in the second must be seen."""
    model, weights = tiny_graph(), onnx.ModelProto()
    weights.graph.initializer.extend(model.graph.initializer)
    del model.graph.initializer[:]
    checked(tmp_path, model.SerializeToString() + weights.SerializeToString())
    more = onnx.ModelProto()
    more.graph.node.append(node("Sin", ["l"], ["x"]))
    with pytest.raises(ArtifactError, match="contains: Sin"):
        checked(tmp_path, tiny_graph().SerializeToString() + more.SerializeToString())


def test_files_that_list_their_constants_as_inputs(tmp_path: Path) -> None:
    model = tiny_graph()
    model.graph.input.extend(value(one.name, list(one.dims), one.data_type) for one in model.graph.initializer)
    checked(tmp_path, model)
    checked(tmp_path, model, "any")


def test_nodes_may_stand_in_any_order(tmp_path: Path) -> None:
    """fp16 converters append theirs at the end of the file."""
    model = tiny_graph()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    checked(tmp_path, model)
    model.graph.node[0].input[0] = "logits"
    with pytest.raises(ArtifactError, match="never computes 'logits', which it uses"):
        checked(tmp_path, model)


SIDES = [(), (1,), (3,), (1, 1), (2, 3), (2, 1), (1, 3), (5, 1, 3), (5, 2, 1), (0,), (2, 0)]


@pytest.mark.parametrize("left", SIDES)
@pytest.mark.parametrize("right", SIDES)
def test_broadcasting_is_numpys(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    try:
        expected = np.broadcast_shapes(left, right)
    except ValueError:
        with pytest.raises(ValueError, match="sides differ"):
            broadcast(left, right)
    else:
        assert broadcast(left, right) == expected


def test_every_schema_version_has_its_operators() -> None:
    assert set(OPERATORS) == set(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("name", [PVT, SWIN])
def test_the_shapes_are_those_that_onnx_infers(name: str) -> None:
    file = SHIPPED_DIR / name / "onnx" / "model.onnx"
    graph = read_graph(file.read_bytes())
    inferred = onnx.shape_inference.infer_shapes(onnx.load(file), strict_mode=True, data_prop=True).graph
    expected = {
        one.name: tuple(side.dim_value if side.HasField("dim_value") else 1 for side in one.type.tensor_type.shape.dim)
        for one in inferred.value_info
    }
    graph.outputs = dict.fromkeys(expected, graph.outputs["logits"])
    assert len(expected) > 200
    size = read_artifact(SHIPPED_DIR / name).image_size
    found = check_sizes(graph, {INPUT_NAME: (1, 3, size, size)})
    assert {n: s for n, s in found.items() if s != expected[n]} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [PVT, SWIN])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_files_of_converters_and_quantisers_load(name: str, precision: str, tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "artifact", name)
    source, target = folder / MODEL_FILES["fp32"], folder / MODEL_FILES[precision]
    if precision == "int8":
        quantization = pytest.importorskip("onnxruntime.quantization")

        class Noise(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                size = read_artifact(folder).image_size
                self.left = [np.zeros((1, 3, size, size), np.float32)]

            def get_next(self) -> dict[str, Any] | None:
                return {INPUT_NAME: self.left.pop()} if self.left else None

        quantization.quantize_static(str(source), str(target), Noise(), per_channel=True)
    else:
        float16 = pytest.importorskip("onnxruntime.transformers.float16")
        onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
    announce(folder, MODEL_FILES[precision], precision=precision)
    assert read_artifact(folder).model_file(precision) == target


@pytest.mark.slow
def test_weights_are_not_read(tmp_path: Path) -> None:
    """By the bytes that are touched, not by the clock: of a file with 64 MiB of weights, next to none."""
    model = tiny_graph()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2**24, np.float32), "weights"))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    read = 0

    class Counted(bytes):
        def __getitem__(self, place: Any) -> Any:
            nonlocal read
            found = super().__getitem__(place)
            read += 1 if isinstance(found, int) else len(found)
            return found

    read_graph(Counted((tmp_path / "model.onnx").read_bytes()))
    assert 100 < read < 10_000
