"""What an engine is: a loaded model that maps named arrays to named arrays, and a description of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..results import Array, EngineInfo, TensorSpec

__all__ = ["Array", "Engine", "EngineInfo", "TensorSpec"]


class Engine(Protocol):
    """A model loaded into an inference library; implementations are safe to use from many threads."""

    @property
    def info(self) -> EngineInfo:
        """What runs the model, and how."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The model's inputs by name."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these inputs by name; any batch size.

        Raises EngineError when the library fails; the error carries the library's message.
        """
        ...

    def close(self) -> None:
        """Free the model; calling it twice is allowed."""
        ...
