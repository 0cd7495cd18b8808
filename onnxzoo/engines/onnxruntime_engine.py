"""What all engines on ONNX Runtime are: an open session, held together with its description."""

from __future__ import annotations

from collections.abc import Mapping

from ..files import KeyValue
from ..results import EngineInfo
from .concurrent_runs import ConcurrentRuns
from .feeds import checked_feeds
from .onnxruntime_session import Session
from .protocol import Array, TensorSpec


class SessionEngine:
    """A model in an ONNX Runtime session."""

    def __init__(
        self,
        session: Session,
        info: EngineInfo,
        *,
        max_batch: int,
        cache_key: Mapping[str, KeyValue],
        concurrent: ConcurrentRuns | None = None,
    ) -> None:
        """`max_batch`: the largest batch of one run. `concurrent`: what splits it into runs; by default it is one.

        The session is the engine's from now on.
        """
        self._session = session
        self._info = info
        self._max_batch = max_batch
        self._cache_key = cache_key
        self._concurrent = concurrent

    @property
    def info(self) -> EngineInfo:
        """What runs the model, and how."""
        return self._info

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The model's inputs by name."""
        return self._session.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The model's outputs by name."""
        return self._session.outputs

    @property
    def max_batch(self) -> int | None:
        """The largest batch of one run."""
        return self._max_batch

    @property
    def cache_key(self) -> Mapping[str, KeyValue]:
        """All that the results depend on besides the model."""
        return self._cache_key

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these inputs by name, as arrays of their own.

        Raises InputError for inputs that do not fit, EngineError when ONNX Runtime fails or was closed.
        """
        ready = checked_feeds(feeds, self._session.inputs, self._max_batch)
        return self._session.run(ready) if self._concurrent is None else self._concurrent.run(self._session.run, ready)

    def close(self) -> None:
        """Free the session; calling it twice is allowed."""
        self._session.close()
