"""Layers by name: what a source of their values is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..results import Array


class LayerSource(Protocol):
    """Something that gives the values of a model's layers for images."""

    def run_layers(self, images: Array, names: Sequence[str]) -> Mapping[str, Array]:
        """The output of every layer in `names` (`NAME:input`: its input) for images float32 [N, 3, S, S].

        Layers that the source does not have are left out.
        """
        ...
