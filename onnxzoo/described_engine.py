"""What every engine says of itself, in one place; how it computes is its own."""

from __future__ import annotations

from collections.abc import Mapping

from .results import EngineInfo, TensorSpec


class DescribedEngine:
    """The part of an engine's interface that is known once it is open."""

    def __init__(
        self,
        info: EngineInfo,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        max_batch: int | None = None,
    ) -> None:
        """`max_batch`: the largest batch of one run; None if any size is supported, or none is known."""
        self._info = info
        self._inputs = inputs
        self._outputs = outputs
        self._max_batch = max_batch

    @property
    def info(self) -> EngineInfo:
        """Describes the engine, its device and its precision."""
        return self._info

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The model's inputs by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The model's outputs by name."""
        return self._outputs

    @property
    def max_batch(self) -> int | None:
        """The largest batch of one run; None if any size is supported, or none is known."""
        return self._max_batch
