"""The model families. Everything specific to a family is in its folder here; other code dispatches by this table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import RegistryError
from ..text import beginning
from . import pvt_v2, swinv2
from .family import Architecture, Constants, Family, ModelSpec, State, at_image_size

__all__ = [
    "FAMILIES",
    "Architecture",
    "Constants",
    "Family",
    "ModelSpec",
    "State",
    "at_image_size",
    "constants",
    "family_named",
    "family_of",
]

FAMILIES: Mapping[str, Family] = {family.name: family for family in (swinv2.FAMILY, pvt_v2.FAMILY)}


def family_named(name: str) -> Family:
    """The family of this name; raises RegistryError, which lists the known ones."""
    if name not in FAMILIES:
        raise RegistryError(f"unknown model family {beginning(str(name))!r}; known are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def family_of(architecture: Architecture) -> Family:
    """The family of an architecture; raises RegistryError for a class of no known family."""
    for family in FAMILIES.values():
        if type(architecture) is family.architecture:
            return family
    raise RegistryError(f"no model family has the architecture {type(architecture).__name__}")


def constants(spec: ModelSpec, state: State) -> dict[str, Any]:
    """The initializers of the exported graph of `spec` by name, float32 and int32.

    `state`: the parameters of a checkpoint, float32, names and layouts as in PaddleClas. Raises KeyError for a
    missing parameter.
    """
    return family_of(spec.architecture).constants(spec, state)
