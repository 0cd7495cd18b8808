"""An engine without a library, for tests of code that uses an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..artifact.folder import INPUT_NAME, OUTPUT_NAMES
from ..described_engine import DescribedEngine
from ..files import KeyValue
from ..precisions import FP32
from ..results import EngineInfo
from .feeds import checked_feeds
from .library_failures import closed, failure
from .protocol import Array, TensorSpec

Compute = Callable[[Array], Mapping[str, Array]]
OUTPUTS: Mapping[str, TensorSpec] = {name: TensorSpec((None, None), "float32") for name in OUTPUT_NAMES}


class FakeEngine(DescribedEngine):
    """Runs a Python function instead of a model.

    `compute` takes the image batch, float32 [N, 3, H, W], and returns the outputs by name, such as
    `logits` [N, classes] and `embedding` [N, features]. Its exceptions are translated to EngineError, as in a real
    engine. `batches` records the batch size of every run; more than `max_batch` images in one run are refused.
    `outputs`: the specifications of its outputs, by default both names without further details.
    """

    def __init__(
        self,
        compute: Compute,
        *,
        input_name: str = INPUT_NAME,
        outputs: Mapping[str, TensorSpec] = OUTPUTS,
        reason: str = "a test",
        max_batch: int | None = None,
    ) -> None:
        super().__init__(
            EngineInfo("fake", "CPU", FP32, "0", reason),
            {input_name: TensorSpec((None, 3, None, None), "float32")},
            dict(outputs),
            max_batch,
        )
        self._compute: Compute | None = compute
        self._input_name = input_name
        self.batches: list[int] = []

    @property
    def cache_key(self) -> Mapping[str, KeyValue]:
        """Everything except the model on which the results depend."""
        return {"version": self._info.version}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The result of `compute` for the image batch.

        Raises InputError for inputs that do not fit, EngineError if `compute` raises or after `close()`.
        """
        if self._compute is None:
            raise closed("fake")
        image = checked_feeds(feeds, self._inputs, self._max_batch)[self._input_name]
        self.batches.append(len(image))
        try:
            return dict(self._compute(image))
        except Exception as error:
            raise failure("the fake engine failed while running the model", error) from error

    def close(self) -> None:
        """Release the function; calling it twice is allowed."""
        self._compute = None
