"""The base of all engines on ONNX Runtime: an open session and its description."""

from __future__ import annotations

from collections.abc import Mapping

from ..described_engine import DescribedEngine
from ..files import KeyValue
from ..results import EngineInfo
from .concurrent_runs import ConcurrentRuns
from .feeds import checked_feeds
from .onnxruntime_session import Session
from .protocol import Array


class SessionEngine(DescribedEngine):
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
        """`max_batch`: the largest batch of one run. `concurrent`: splits it into runs; if None, it is one run.

        The engine owns the session from now on.
        """
        super().__init__(info, session.inputs, session.outputs, max_batch)
        self._session = session
        self._cache_key = cache_key
        self._concurrent = concurrent

    @property
    def cache_key(self) -> Mapping[str, KeyValue]:
        """Everything except the model on which the results depend."""
        return self._cache_key

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these inputs by name, as new arrays.

        Raises InputError for inputs that do not fit, EngineError if ONNX Runtime fails or was closed.
        """
        ready = checked_feeds(feeds, self._inputs, self._max_batch)
        return self._session.run(ready) if self._concurrent is None else self._concurrent.run(self._session.run, ready)

    def close(self) -> None:
        """Free the session; calling it twice is allowed."""
        self._session.close()
