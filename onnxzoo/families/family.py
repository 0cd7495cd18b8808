"""The interface of a model family: its architecture, and a record of everything specific to it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

from ..errors import InputError, RegistryError
from ..text import beginning

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

State: TypeAlias = "Mapping[str, npt.NDArray[np.float32]]"
"""Parameters by name, names and layouts as in PaddleClas: linear weights [in, out]."""

Constants: TypeAlias = "dict[str, npt.NDArray[Any]]"
"""Initializers of an exported graph by name: float32 weights and tables, int32 indices."""

Naming: TypeAlias = Literal["paddle", "timm", "transformers"]
Shape: TypeAlias = tuple[int, ...]
Rules: TypeAlias = tuple[tuple[str, Any], ...]
"""Patterns for a part of a name and their replacements, in order."""

MAX_STAGES = 16
MAX_WIDTH = 4096
MAX_HEADS = 1024
MAX_FEATURES = 65536
"""Maximum length of a value in an error message."""


class Architecture(ABC):
    """The size of a model, apart from its image size and its number of classes. Subclasses are frozen dataclasses."""

    __slots__ = ()

    depths: tuple[int, ...]
    drop_path_rate: float

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Length of the pooled feature vector before the head."""

    @property
    @abstractmethod
    def size_multiple(self) -> int:
        """Image sides must be a multiple of this number of pixels."""

    def check_image_size(self, image_size: int) -> None:
        """Raise InputError unless the model can take square inputs of `image_size` pixels a side."""
        if image_size <= 0 or image_size % self.size_multiple:
            raise InputError(
                f"image_size must be a positive multiple of {self.size_multiple} for this architecture, "
                f"got {image_size}"
            )

    def at_image_size(self, trained: int, wanted: int) -> Self:  # noqa: ARG002
        """The architecture that runs the weights of image size `trained` at image size `wanted` (pixels a side).

        Unchanged, unless something in it grows with the image. Raises InputError for an impossible size.
        """
        return self

    def to_dict(self) -> dict[str, Any]:
        """The values by name, as in config.json."""
        return dataclasses.asdict(cast("Any", self))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What determines a model's graph and parameter shapes.

    `image_size`: side of the square input in pixels. `num_classes`: length of the logits.
    Raises InputError for a size that the architecture cannot have.
    """

    architecture: Architecture
    image_size: int
    num_classes: int

    def __post_init__(self) -> None:
        self.architecture.check_image_size(self.image_size)
        if self.num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {self.num_classes}")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a family's parameters in other libraries, and how they map to Paddle's.

    `signatures`: for each naming, a pattern of names that no other naming or family has. `rules`: for each naming, the
    replacements, in order, that give Paddle's names; `inverse`: those that give the naming's from Paddle's. `joined`:
    Paddle's attention parameters and their parts in transformers, joined along the output axis. `buffers`: last parts
    of the names of constants, which models compute and never read from a file. `settled`: decides what no single name
    tells, given Paddle's names by those of the file.
    """

    signatures: Mapping[Naming, str]
    rules: Mapping[Naming, Rules]
    inverse: Mapping[Naming, Rules]
    joined: tuple[tuple[str, tuple[str, ...]], ...]
    buffers: frozenset[str] = frozenset()
    settled: Callable[[Mapping[str, str], Naming, Architecture], tuple[dict[str, str], Naming]] = (
        lambda names, naming, _architecture: (dict(names), naming)
    )


@dataclass(frozen=True, slots=True)
class Family:
    """One family, an entry of the table in `onnxzoo.families`.

    `name`: as in models.json and config.json. `title`: its usual spelling. `citation`: BibTeX of its paper.
    `constants`: the initializers of a model's exported graph, computed from a checkpoint's parameters. `fitted`: the
    architecture and image size that the shapes of a file's buffers imply, given those of the registry.
    """

    name: str
    title: str
    citation: str
    architecture: type[Architecture]
    names: Names
    constants: Callable[[ModelSpec, State], Constants]
    fitted: Callable[[Architecture, int, Mapping[str, Shape]], tuple[Architecture, int]] = (
        lambda architecture, image_size, _buffers: (architecture, image_size)
    )


def at_image_size(spec: ModelSpec, image_size: int) -> ModelSpec:
    """The same model for images of another size, with the same weights.

    The family decides what grows with the image. Raises InputError for a size that the architecture does not support.
    """
    architecture = spec.architecture
    if image_size != spec.image_size:
        architecture = architecture.at_image_size(spec.image_size, image_size)
    return ModelSpec(architecture, image_size, spec.num_classes)


def require(condition: bool, expected: str, got: object) -> None:
    """Raise RegistryError, `expected, got ...`, unless the condition holds."""
    if not condition:
        raise RegistryError(f"{expected}, got {beginning(repr(got))}")


def require_whole(name: str, values: tuple[Any, ...], least: int, most: int) -> None:
    """Raise RegistryError unless all values of a field are whole numbers from `least` to `most`; bool is refused."""
    fits = all(type(value) is int and least <= value <= most for value in values)
    require(fits, f"{name} must be whole numbers from {least} to {most}", values)


def require_numbers(name: str, values: tuple[Any, ...], least: float, most: float) -> None:
    """Raise RegistryError unless all values of a field are numbers from `least` to `most`."""
    fits = all(type(value) in (int, float) and least <= value <= most for value in values)
    require(fits, f"{name} must be numbers from {least:g} to {most:g}", values)


def require_lists(architecture: Architecture, names: tuple[str, ...]) -> None:
    """Raise RegistryError unless these fields are lists and the fields of every family are valid."""
    for name in names:
        require(type(getattr(architecture, name)) is tuple, f"{name} must be a list", getattr(architecture, name))
    require_whole("depths", architecture.depths, 1, 256)
    require_numbers("drop_path_rate", (architecture.drop_path_rate,), 0, 1)


def require_stages(architecture: Architecture, names: tuple[str, ...]) -> None:
    """Raise RegistryError unless these lists describe the same stages, 1 to MAX_STAGES of them."""
    lengths = {name: len(getattr(architecture, name)) for name in names}
    # Sizes double at every stage.
    most = max(lengths.values())
    require(most <= MAX_STAGES, f"the number of stages must be up to {MAX_STAGES}", most)
    require(len(set(lengths.values())) == 1 and min(lengths.values()) > 0, "all stages must be described", lengths)


def parameters(state: State, name: str, *parts: str) -> Constants:
    """The parameters `name.part` of `state`, unchanged; the parts are `weight` and `bias` unless others are given."""
    return {f"{name}.{part}": state[f"{name}.{part}"] for part in parts or ("weight", "bias")}
