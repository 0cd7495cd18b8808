"""ONNX files that refer to other files are found without the onnx package."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="makes the graphs")
from onnx import TensorProto, helper, numpy_helper

from onnxzoo.artifact.onnx_checks import Interface, Trust, check_onnx
from onnxzoo.errors import ArtifactError


def refuse_external_data(file: Path, trust: Trust = "any") -> None:
    """As an artifact's file is checked; where any graph is trusted, its data must still be its own."""
    check_onnx(file, Interface({}, {"y": (300,)}), schema_version=1, trust=trust)


def tensor(*, external: bool):
    made = numpy_helper.from_array(np.ones(300, np.float32), "w")
    if external:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="../../etc/passwd")
    return made


def model(place: str, *, external: bool):
    """A model with the tensor as an initializer, a Constant, or a Constant in a branch of an If."""
    held = tensor(external=external)
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [300])
    if place == "initializer":
        graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [held])
    elif place == "constant":
        graph = helper.make_graph([helper.make_node("Constant", [], ["y"], value=held)], "g", [], [value])
    else:
        branch = helper.make_graph([helper.make_node("Constant", [], ["y"], value=held)], "b", [], [value])
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        graph = helper.make_graph(nodes, "g", [], [value], [numpy_helper.from_array(np.array(True), "c")])
    return helper.make_model(graph)


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_external_data_is_refused_wherever_it_is(place: str, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(model(place, external=False).SerializeToString())
    refuse_external_data(file)
    file.write_bytes(model(place, external=True).SerializeToString())
    with pytest.raises(ArtifactError, match=r"model\.onnx stores data in other files"):
        refuse_external_data(file)
    with pytest.raises(ArtifactError, match=r"model\.onnx (stores data in other files|has graphs within)"):
        refuse_external_data(file, "known")


def test_data_that_is_said_to_lie_elsewhere_is_refused_without_a_place_too(tmp_path: Path) -> None:
    built = model("initializer", external=False)
    built.graph.initializer[0].data_location = TensorProto.EXTERNAL
    file = tmp_path / "model.onnx"
    file.write_bytes(built.SerializeToString())
    with pytest.raises(ArtifactError, match="stores data in other files"):
        refuse_external_data(file)


@pytest.mark.parametrize("depth", [40, 5000])
def test_graphs_in_graphs_without_end_are_refused(depth: int, tmp_path: Path) -> None:
    """Each is a field in a field: Graph.node (1), Node.attribute (5), Attribute.g (6)."""
    data = b""
    for field in [6, 5, 1] * depth:
        data = bytes([field << 3 | 2]) + length_of(data) + data
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes([7 << 3 | 2]) + length_of(data) + data)
    with pytest.raises(ArtifactError, match="its structure is damaged"):
        refuse_external_data(file)


def length_of(data: bytes) -> bytes:
    """The length as a number of seven bits a byte, the last one first."""
    length, out = len(data), []
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    return bytes([*out, length])


def test_a_location_alone_is_refused_too(tmp_path: Path) -> None:
    built = model("initializer", external=False)
    built.graph.initializer[0].external_data.add(key="location", value="w.bin")
    file = tmp_path / "model.onnx"
    file.write_bytes(built.SerializeToString())
    with pytest.raises(ArtifactError, match="stores data in other files"):
        refuse_external_data(file)


def varint(value: int) -> bytes:
    """A number as Protocol Buffers write it: seven bits a byte, the lowest first."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes, high_bits: int = 0) -> bytes:
    return varint((number << 3 | 2) | high_bits << 32) + varint(len(content)) + content


@pytest.mark.parametrize(("number", "high_bits"), [(13, 1), (13, 1 << 31), (0, 0)])
def test_field_numbers_of_which_engines_drop_bits_are_refused(number: int, high_bits: int, tmp_path: Path) -> None:
    location = field(number, onnx.StringStringEntryProto(key="location", value="w.bin").SerializeToString(), high_bits)
    weights = tensor(external=False).SerializeToString() + location
    graph = field(5, weights)
    file = tmp_path / "model.onnx"
    file.write_bytes(field(7, graph))
    with pytest.raises(ArtifactError, match=r"its structure is damaged|stores data in other files"):
        refuse_external_data(file)


@pytest.mark.parametrize("number", [b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x01"])
def test_numbers_of_more_than_64_bits_are_refused(number: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(varint(1 << 3) + number)  # ir_version
    with pytest.raises(ArtifactError, match="its structure is damaged"):
        refuse_external_data(file)
    whole = model("initializer", external=False).SerializeToString()
    file.write_bytes(varint(1 << 3) + b"\xff" * 9 + b"\x01" + whole)  # -1
    refuse_external_data(file)


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("place", ["default of a function", "initialization", "algorithm"])
def test_functions_and_training_are_looked_into(place: str, external: bool, tmp_path: Path) -> None:
    built = model("initializer", external=False)
    if place == "default of a function":
        built.functions.add(name="f", domain="d").attribute_proto.append(
            helper.make_attribute("value", tensor(external=external))
        )
    else:
        getattr(built.training_info.add(), place).initializer.append(tensor(external=external))
    file = tmp_path / "model.onnx"
    file.write_bytes(built.SerializeToString())
    if external:
        with pytest.raises(ArtifactError, match="stores data in other files"):
            refuse_external_data(file)
    else:
        refuse_external_data(file)


def test_damaged_files_are_refused_and_nothing_else_is_raised(tmp_path: Path) -> None:
    whole = model("branch", external=False).SerializeToString()
    file = tmp_path / "model.onnx"
    random = np.random.RandomState(0)
    refused = 0
    for number in range(300):
        data = bytearray(whole)
        if number % 2:
            data = data[: random.randint(0, len(data))]
        else:
            data[random.randint(0, 60)] = random.randint(0, 256)
        file.write_bytes(data)
        with contextlib.suppress(ArtifactError):
            refuse_external_data(file)
            continue
        refused += 1
    assert refused > 100
