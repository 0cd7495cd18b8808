"""What an engine is: a loaded model that maps named arrays to named arrays, and a description of itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..errors import EngineUnavailableError
from ..files import KeyValue, sha256_of
from ..precisions import FP32
from ..results import Array, EngineInfo, TensorSpec
from .options import EngineOptions

__all__ = [
    "Array",
    "Built",
    "CachedEngine",
    "Engine",
    "EngineClass",
    "EngineInfo",
    "LibraryEngine",
    "ModelFile",
    "ModelFiles",
    "NotBuiltError",
    "Selection",
    "TensorSpec",
]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """An ONNX file that may be read: `sha256` of its bytes ("" until known), `precision` of its weights.

    `weights_bits`: how many of its bits an int8 file's weights use, None where that is not known.
    """

    path: Path
    sha256: str = ""
    precision: str = FP32
    weights_bits: int | None = None

    def digest(self) -> str:
        """The SHA-256, computed now if it was not known: for cache keys."""
        return self.sha256 or sha256_of(self.path)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The ONNX files of an artifact, from which an engine takes the one that its arithmetic needs.

    `precisions`: those that there is a file for. `open` gives the verified file of one of them; it may take a second
    for a large model, so only the one that is needed is opened. `proved`: for each precision the engines in which its
    file passed a validation that is recorded.
    """

    precisions: tuple[str, ...]
    open: Callable[[str], ModelFile]
    proved: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """Why this engine: a sentence, and `considered`: (engine, why it was skipped), in the order of trying."""

    reason: str = "requested"
    considered: tuple[tuple[str, str], ...] = ()


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

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The model's outputs by name, in the order of the graph; `run` gives arrays that fit them."""
        ...

    @property
    def max_batch(self) -> int | None:
        """The largest batch that one `run` takes; None where any fits. Splitting is up to the caller."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these inputs by name; a batch of 1 to `max_batch`.

        Raises EngineError when the library fails; the error carries the library's message.
        """
        ...

    def close(self) -> None:
        """Free the model; calling it twice is allowed."""
        ...


class LibraryEngine(Engine, Protocol):
    """An engine that runs an ONNX file by a library on a device."""

    @property
    def cache_key(self) -> Mapping[str, KeyValue]:
        """All that its results depend on besides the model: library, device, driver, precision, and their versions."""
        ...


@dataclass(frozen=True, slots=True)
class Built:
    """A compiled model in the cache: for batches of up to `batch_size`, in `folder`.

    `found`: it was there before. `seconds`: what building it took, or finding it.
    """

    batch_size: int
    folder: Path
    seconds: float
    found: bool


@runtime_checkable
class CachedEngine(Engine, Protocol):
    """An engine whose compiled models can be kept on disk: `onnxzoo warmup` asks it to."""

    def warm(self) -> Sequence[Built]:
        """Keep what batches of `options.batch_size` need in the cache folder, and say what it is.

        Raises InputError or EngineError when it cannot be kept.
        """
        ...


class NotBuiltError(EngineUnavailableError):
    """The engine would have to be built for this model first, which takes minutes and was not allowed."""


class EngineClass(Protocol):
    """What an entry of the registry names: a class of engines. Its constructor takes what `open` has made ready.

    `FILES`: for each precision that may be asked for, the precisions of the ONNX files that give it, best first;
    one that is missing here is refused. The class still checks what the device can do.
    """

    FILES: Mapping[str, tuple[str, ...]]

    def open(
        self, model: ModelFile, *, options: EngineOptions, device: str | None, selection: Selection
    ) -> LibraryEngine:
        """Load the model; a class method. `device`: what follows the colon in the engine's name (`openvino:GPU`), None
        without one. When it raises, nothing that it opened stays open.

        Raises EngineUnavailableError with cause and fix when the library or device cannot be used here, InputError
        for a device or precision that this engine never has, EngineError when the library rejects the model.
        """
        ...

    @staticmethod
    def skip_reason(model: Callable[[], ModelFile], options: EngineOptions, /) -> str | None:
        """Why `auto` need not try this engine, found without importing its library; None: try it.

        `model` verifies and gives the file: not to be called before it is needed.
        """
        ...
