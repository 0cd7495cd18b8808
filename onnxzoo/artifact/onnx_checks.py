"""Checks of an artifact's ONNX file when it is loaded, before an engine opens it.

Engines run whatever a file asks for: infinite loops, unbounded tensors, data from other files. The graphs that onnxzoo
makes consist of a few operators that cannot express any of these; other graphs are refused unless the user trusts them.
Only the structure is read, so a file of 200 MB takes milliseconds.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ..errors import ArtifactError, InputError
from ..precisions import PRECISIONS
from .external_data import has_external_data
from .onnx_graph import FLOAT, INT64, Graph, RefusedError, UnsafeError, Value, read_graph, read_interface
from .onnx_shapes import check_sizes

Trust: TypeAlias = Literal["known", "any"]
"""`known`: only graphs of bounded size with the operators of onnxzoo's own artifacts. `any`: whatever engines run."""

KNOWN: Trust = "known"
ANY: Trust = "any"

HINT = "if you trust its author, load it with trust='any' (--trust any)"

OPERATORS: Mapping[int, frozenset[str]] = {
    1: frozenset(
        {
            # The exported graphs of the two families.
            "Add", "Conv", "Div", "Erf", "Gather", "LayerNormalization", "MatMul", "Max", "Mul", "ReduceL2",
            "ReduceMean", "Relu", "Reshape", "Softmax", "Split", "Transpose",
            # Operators that conversion to fp16 and quantisation (QDQ) add.
            "Cast", "Constant", "DequantizeLinear", "Gelu", "Gemm", "Identity", "QuantizeLinear",
        }
    )
}  # fmt: skip
"""Operators of ai.onnx that an artifact's graph may have, by the schema version of its config.json."""

CAST_TYPES = frozenset({6, INT64}).union(*(precision.element_types for precision in PRECISIONS.values()))
"""Types that Cast may convert to: int32, int64 and those of the precisions, but not strings."""


@dataclass(frozen=True, slots=True)
class Interface:
    """Inputs and outputs of a model, all float32; None in a shape is the batch size."""

    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: Mapping[str, tuple[int | None, ...]]


def require_trust(trust: str) -> Trust:
    """Return `trust` if it is valid, else raise InputError."""
    for one in get_args(Trust):
        if trust == one:
            return one  # type: ignore[no-any-return]
    raise InputError(f"trust must be {' or '.join(map(repr, get_args(Trust)))}, got {trust!r}")


class InputsError(UnsafeError):
    """Internal: the graph has other inputs than expected; `names` are theirs."""

    def __init__(self, names: Collection[str], expected: Collection[str]) -> None:
        super().__init__(f"has the inputs {sorted(names)[:5]}, expected {sorted(expected)}")
        self.names = names


def check_onnx(
    file: Path,
    interface: Interface,
    *,
    schema_version: int,
    trust: Trust = KNOWN,
    advice: Callable[[Collection[str]], str] = lambda _names: "",
) -> None:
    """Raise ArtifactError unless the ONNX file has this interface and, except for trust `any`, only known operators.

    Data in other files is refused in either case, as it would be read from wherever the file says. `advice`: given the
    names of the graph's inputs, returns the end of the error message for a graph with inputs of other names.
    """
    if file.stat().st_size == 0:
        raise ArtifactError(f"{file} is empty, expected an ONNX model")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            if trust == ANY:
                if has_external_data(data, 0, len(data)):
                    raise UnsafeError("stores data in other files; an artifact's model must be a single file")
                _check_interface(read_interface(data), interface, exact=False)
            else:
                graph = read_graph(data)
                _check_operators(graph, OPERATORS[schema_version])
                _check_interface(graph, interface, exact=True)
                _check_results(graph, interface)
        except RefusedError as error:
            hint = "" if isinstance(error, UnsafeError) else f"; {HINT}"
            if isinstance(error, InputsError):
                hint = advice(error.names)
            raise ArtifactError(f"{file} {error}{hint}") from None
        except (IndexError, ValueError, KeyError):
            raise ArtifactError(f"{file} is not a valid ONNX model; its structure is damaged") from None


def _check_operators(graph: Graph, allowed: frozenset[str]) -> None:
    foreign = sorted({node.operator for node in graph.nodes} - allowed)
    if foreign:
        raise RefusedError(f"has operators that no artifact of onnxzoo contains: {', '.join(foreign[:5])}")
    for node in graph.nodes:
        if node.operator == "Cast" and not set(node.ints.get("to", [0])) <= CAST_TYPES:
            raise RefusedError(f"casts to the element type {node.ints.get('to')}, expected numbers")


def _check_interface(graph: Graph, interface: Interface, *, exact: bool) -> None:
    """`exact`: no other outputs are allowed, and only the first may be missing."""
    # Files of IR versions before 4 list their constants among the inputs.
    given = {name: value for name, value in graph.inputs.items() if name not in graph.constants}
    if given.keys() != interface.inputs.keys():
        raise InputsError(given.keys(), interface.inputs.keys())
    first = next(iter(interface.outputs))
    if first not in graph.outputs or (exact and graph.outputs.keys() != interface.outputs.keys()):
        raise UnsafeError(f"has the outputs {sorted(graph.outputs)[:5]}, expected {sorted(interface.outputs)}")
    for found, expected in ((given, interface.inputs), (graph.outputs, interface.outputs)):
        for name, shape in expected.items():
            if name in found and not _fits(found[name], shape):
                wanted = ", ".join("N" if side is None else str(side) for side in shape)
                raise UnsafeError(f"has {name!r} as {_described(found[name])}, expected float32 ({wanted})")


def _fits(value: Value, expected: tuple[int | None, ...]) -> bool:
    """Whether a value can be float32 of this shape; the batch size may be fixed, and sizes may be unspecified."""
    if value.kind != FLOAT or value.shape is None:
        return value.kind == FLOAT
    return len(value.shape) == len(expected) and all(
        None in (side, wanted) or side == wanted for side, wanted in zip(value.shape, expected, strict=True)
    )


def _described(value: Value) -> str:
    if value.kind is None:
        return "something that is not a tensor"
    kind = "float32" if value.kind == FLOAT else f"element type {value.kind}"
    return kind if value.shape is None else f"{kind} {tuple('?' if side is None else side for side in value.shape)}"


def _check_results(graph: Graph, interface: Interface) -> None:
    def of_one(shape: tuple[int | None, ...]) -> tuple[int, ...]:
        return tuple(1 if side is None else side for side in shape)

    made = check_sizes(graph, {name: of_one(shape) for name, shape in interface.inputs.items()})
    for name, shape in interface.outputs.items():
        if made[name] != of_one(shape):
            raise RefusedError(f"computes {name!r} of shape {made[name]} for one image, expected {of_one(shape)}")
