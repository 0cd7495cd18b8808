"""Names and shapes of parameters, for the lists of both models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Shape = tuple[int, ...]
NamedShape = tuple[str, Shape]


def weight_and_bias(name: str, weight: Shape, outputs: int) -> Iterator[NamedShape]:
    """The two parameters of a layer."""
    yield f"{name}.weight", weight
    yield f"{name}.bias", (outputs,)


def norms_of(shapes: Mapping[str, Shape]) -> list[str]:
    """The names of all norms, which are the only layers with a vector as weight."""
    weights = (name for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 1)
    return [name.removesuffix(".weight") for name in weights]
