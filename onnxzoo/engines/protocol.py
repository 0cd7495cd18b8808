"""The interface of engines: a loaded model that maps named arrays to named arrays, and a description of itself."""

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
    """An ONNX file to read: `sha256` of its bytes ("" until known), `precision` of its weights.

    `weights_bits`: number of bits that an int8 file's weights use, None if unknown.
    """

    path: Path
    sha256: str = ""
    precision: str = FP32
    weights_bits: int | None = None

    def digest(self) -> str:
        """The SHA-256 for cache keys, computed now if it was not known."""
        return self.sha256 or sha256_of(self.path)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The ONNX files of an artifact, from which an engine selects the one for its arithmetic.

    `precisions`: the precisions with a file. `open` returns the verified file of one of them; this may take a second
    for a large model, so only the needed file is opened. `proved`: precision -> the engines in which its file passed a
    recorded validation.
    """

    precisions: tuple[str, ...]
    open: Callable[[str], ModelFile]
    proved: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """The reason for an engine, a sentence, and `considered`: (engine, why it was skipped), in the order of trying."""

    reason: str = "requested"
    considered: tuple[tuple[str, str], ...] = ()


class Engine(Protocol):
    """A model loaded into an inference library; implementations are safe to use from many threads."""

    @property
    def info(self) -> EngineInfo:
        """Describes the engine, its device and its precision."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The model's inputs by name."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The model's outputs by name, in the order of the graph; the arrays of `run` fit them."""
        ...

    @property
    def max_batch(self) -> int | None:
        """The largest batch of one `run`; None if any size is supported. The caller splits larger batches."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for these inputs by name; a batch of 1 to `max_batch`.

        Raises EngineError with the library's message if the library fails.
        """
        ...

    def close(self) -> None:
        """Free the model; calling it twice is allowed."""
        ...


class LibraryEngine(Engine, Protocol):
    """An engine that runs an ONNX file with a library on a device."""

    @property
    def cache_key(self) -> Mapping[str, KeyValue]:
        """Everything except the model on which results depend: library, device, driver, their versions, precision."""
        ...


@dataclass(frozen=True, slots=True)
class Built:
    """A compiled model in the cache: for batches of up to `batch_size`, in `folder`.

    `found`: whether it existed before. `seconds`: the time for building or finding it.
    """

    batch_size: int
    folder: Path
    seconds: float
    found: bool


@runtime_checkable
class CachedEngine(Engine, Protocol):
    """An engine whose compiled models can be cached on disk, for `onnxzoo warmup`."""

    def warm(self) -> Sequence[Built]:
        """Cache the compiled models for batches of `options.batch_size` in the cache folder, and list them.

        Raises InputError or EngineError if they cannot be cached.
        """
        ...


class NotBuiltError(EngineUnavailableError):
    """The engine would first have to be built for this model, which takes minutes and was not allowed."""


class EngineClass(Protocol):
    """The class of an engine, as listed in ENGINES. Its constructor takes the objects that `open` has prepared.

    `FILES`: requestable precision -> the precisions of ONNX files for it, best first; other precisions are refused.
    The class also checks the device's capabilities.
    """

    FILES: Mapping[str, tuple[str, ...]]

    def open(
        self, model: ModelFile, *, options: EngineOptions, device: str | None, selection: Selection
    ) -> LibraryEngine:
        """Load the model; a class method. `device`: the text after the colon in the engine's name (`openvino:GPU`), or
        None. If it raises, it closes everything that it opened.

        Raises EngineUnavailableError with cause and fix if the library or device cannot be used here, InputError for a
        device or precision that this engine does not support, EngineError if the library rejects the model.
        """
        ...

    @staticmethod
    def skip_reason(model: Callable[[], ModelFile], options: EngineOptions, /) -> str | None:
        """Why `auto` can skip this engine, found without importing its library; None to try it.

        `model` verifies and returns the file, so it should be called only if needed.
        """
        ...
