"""A model that is ready to run: an artifact, an engine and the image preprocessing."""

from __future__ import annotations

import contextlib
import logging
import operator
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, NoReturn, TypeVar, overload

import numpy as np
import numpy.typing as npt

from .artifact.folder import INPUT_NAME, OUTPUT_NAMES, Artifact
from .engines.options import DEFAULT_BATCH_SIZE
from .engines.protocol import Engine
from .errors import ArtifactError, EngineError, ImageError, InputError
from .image import ImageInput, describe, pixels_of, preprocess_batch, reduced
from .image_memory import max_pixels as pixel_limit
from .interface import check_interface
from .precisions import FP32
from .results import PICTURE_PIXELS, Array, ClassScore, EngineInfo, Prediction, Verification
from .stream import Result, stream

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]
Answer = TypeVar("Answer")

# Default batch size for several images. Enough to keep the cores that read images busy;
# for swinv2_large_w24, eight images have 1 GB of attention scores per block (8 x 16 windows x 6 heads x 576 x 576).
BATCH_SIZE = DEFAULT_BATCH_SIZE

LOGITS, EMBEDDING = OUTPUT_NAMES


class Model:
    """An image classifier. Safe to use from many threads; close it, or use it in a `with` block, to free memory.

    It belongs to the process that loaded it. A forked process inherits the memory but not the engine's threads, so
    running the model there raises EngineError. Load it in the child, or start children with `multiprocessing`'s method
    `spawn`, which is the only way once CUDA has been initialised. Models cannot be pickled.
    """

    def __init__(
        self,
        artifact: Artifact,
        engine: Engine,
        *,
        batch_size: int = BATCH_SIZE,
        max_pixels: int | None = None,
        verification: Verification | None = None,
        sha256: str = "",
    ) -> None:
        """Combine an artifact with the engine that runs it; `load` finds both. `batch_size`: images per run for lists.
        `max_pixels`: as in `load`. `verification`: what is known of the engine's results. `sha256`: of the file that
        runs, by default the artifact's in fp32.

        Raises ArtifactError, and closes the engine, when its input or outputs are not the artifact's.
        """
        self._artifact = artifact
        self._engine = engine
        self._verification = verification
        self._sha256 = sha256
        self._process = os.getpid()
        self._max_pixels = max_pixels
        # No more than the engine takes at a time, or each batch of a list would be cut in two.
        self._batch_size = min(batch_size, engine.max_batch or batch_size)
        try:
            check_interface(artifact, engine)
        except ArtifactError:
            engine.close()
            raise

    @property
    def name(self) -> str:
        """The model's name, from its artifact."""
        return self._artifact.name

    @property
    def engine(self) -> EngineInfo:
        """Which engine runs the model, on what, and why, and whether its results were verified."""
        info = self._engine.info
        return info if self._verification is None else self._verification.of(info)

    @property
    def artifact(self) -> Artifact:
        """The folder that the model was loaded from, and its description."""
        return self._artifact

    @property
    def sha256(self) -> str:
        """SHA-256 of the ONNX file that runs, or for `paddle` and `exact` of the checkpoint; 64 hexadecimal digits."""
        return self._sha256 or self._artifact.required_model(FP32).sha256

    @property
    def max_pixels(self) -> int:
        """The largest RGB image that is decoded, in pixels."""
        return pixel_limit(self._max_pixels)

    @property
    def image_size(self) -> int:
        """Height and width of the model's input in pixels."""
        return self._artifact.image_size

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, by class id."""
        return self._artifact.id2label

    @overload
    def predict(self, image: ImageInput, top_k: int = 5) -> Prediction: ...  # type: ignore[overload-overlap]

    # A str is an iterable of str to a type checker; the overload above is found first.
    @overload
    def predict(self, image: Iterable[ImageInput], top_k: int = 5) -> list[Prediction]: ...

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, image: ImageInput, top_k: int = 5, *, on_error: OnError
    ) -> Prediction | None: ...

    @overload
    def predict(self, image: Iterable[ImageInput], top_k: int = 5, *, on_error: OnError) -> list[Prediction | None]: ...

    def predict(
        self, image: ImageInput | Iterable[ImageInput], top_k: int = 5, *, on_error: OnError = "raise"
    ) -> Prediction | list[Prediction] | list[Prediction | None] | None:
        """The `top_k` best classes of one image, or of every image of an iterable, in its order.

        An image is a path, bytes, a binary file object, a PIL image, or a uint8 array [H, W, 3] in RGB order or [H, W].
        Several images are a list, a tuple, a generator or another iterable, or a uint8 array [N, H, W, 3]. They run in
        batches of the size that the model was loaded for; no images give []. `top_k` beyond the number of classes gives
        all of them. `on_error`: `raise` stops at the first image that cannot be read; `skip` logs a warning that names
        it and returns None in its place. `stream` yields results as they are ready, with their errors.

        Raises ImageError naming the image that cannot be read, InputError for a `top_k` below 1 or another `on_error`,
        EngineError.
        """
        count = whole("top_k", top_k)
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error must be 'raise' or 'skip', got {on_error!r}")

        def classes(batch: Array) -> list[Prediction]:
            return top_classes(self.logits(batch), self.labels, count)

        many = _as_many(image)
        if many is None:
            return self._one(image, classes, on_error)  # type: ignore[arg-type]
        return self._each(many, classes, on_error)

    def embed(self, image: ImageInput | Iterable[ImageInput]) -> Array:
        """The pooled features before the head: float32 [features], or [N, features] for an iterable of images.

        Takes the same images as `predict`. No images give an array [0, features].

        Raises ImageError naming the image that cannot be read, EngineError.
        """

        def features(batch: Array) -> list[Array]:
            return list(self._run(batch, EMBEDDING)[0])

        many = _as_many(image)
        if many is None:
            return features(self._batch_of(image))[0]  # type: ignore[arg-type]
        rows = [row for row in self._each(many, features, "raise") if row is not None]
        return np.stack(rows) if rows else np.empty((0, self._artifact.architecture.num_features), dtype=np.float32)

    def stream(
        self,
        images: Iterable[ImageInput | ImageError],
        *,
        top_k: int = 5,
        embed: bool = False,
        ordered: bool = True,
        batch_size: int | None = None,
    ) -> Iterator[Result]:
        """Yield a `Result` for every image of an iterable of any length: its classes, or why it cannot be read.

        Threads read images ahead of the engine, each image once; how far ahead is bounded by memory, not by the number
        of images. One batch of `images` is consumed before the first result, and a few batches ahead of the results
        from then on; for a camera, load with `batch_size=1`. `images` may contain an ImageError in place of an image
        that its source could not read; it is returned in its place. `embed`: also return the features before the head,
        from the same run. `ordered`: results in the order of the images, otherwise in the order in which batches are
        read. `batch_size`: images per run of the engine, by default the one that the model was loaded for.

        Raises InputError for a single image, or a `top_k` or `batch_size` below 1; while iterating, EngineError and
        what `images` raises.
        """
        count = whole("top_k", top_k)
        size = self._batch_size if batch_size is None else whole("batch_size", batch_size)
        if _as_many(images) is None:
            raise InputError(f"stream() takes an iterable of images, got {describe(images)}; for one use predict()")

        def answers(batch: Array) -> list[tuple[Prediction, Array | None]]:
            if not embed:
                return [(best, None) for best in top_classes(self._run(batch, LOGITS)[0], self.labels, count)]
            logits, vectors = self._run(batch, LOGITS, EMBEDDING)
            return list(zip(top_classes(logits, self.labels, count), vectors, strict=True))

        return (
            Result(index, image, error=answer)
            if isinstance(answer, ImageError)
            else Result(index, image, answer[0], answer[1])
            for index, image, answer in self._stream(images, answers, size, ordered=ordered)
        )

    def logits(self, batch: Array) -> Array:
        """The head's outputs for a preprocessed batch: float32 [N, 3, S, S] -> float32 [N, classes].

        S is `image_size`; channels are R, G, B, values normalised as `artifact.preprocess` says
        (`onnxzoo.image.preprocess_batch` does it). N may be any number from 0; a batch that is too large for the engine
        is split.

        Raises InputError for another type, dtype or shape, EngineError when the engine fails or
        returns values that are not finite.
        """
        self._check_batch(batch)
        if not len(batch):
            return np.empty((0, len(self.labels)), dtype=np.float32)
        return self._run(batch, LOGITS)[0]

    def outputs(self, batch: Array) -> dict[str, Array]:
        """All outputs by name for a batch of at least one image, as `logits` takes it, from one run of the engine.

        `logits`: float32 [N, classes]; `embedding`: the pooled features before the head, float32 [N, features].

        Raises InputError for no image, another type, dtype or shape; EngineError as `logits` does.
        """
        self._check_batch(batch)
        if not len(batch):
            raise InputError("outputs() takes a batch of at least one image, got none")
        return dict(zip(OUTPUT_NAMES, self._run(batch, *OUTPUT_NAMES), strict=True))

    def close(self) -> None:
        """Free the engine's memory. Calling it twice is allowed; running the model afterwards raises EngineError.

        Runs in progress in other threads finish, or raise EngineError.
        """
        # A forked child must not free anything: it would wait for threads that it does not have.
        if self._process == os.getpid():
            self._engine.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the model {self.name!r} cannot be pickled; load it in the process that uses it")

    def __repr__(self) -> str:
        info = self.engine
        return f"Model({self.name!r}, engine={info.name!r}, device={info.device!r}, precision={info.precision!r})"

    def _stream(
        self,
        images: Iterable[ImageInput | ImageError],
        run: Callable[[Array], Sequence[Answer]],
        size: int,
        *,
        ordered: bool = True,
    ) -> Generator[tuple[int, ImageInput | ImageError, Answer | ImageError], None, None]:
        spec = self._artifact.preprocess
        return stream(images, spec, run, batch_size=size, max_pixels=self._max_pixels, ordered=ordered)

    def _batch_of(self, image: ImageInput) -> Array:
        """One image as a batch, read on this thread, as a pool would cost more than it saves."""
        return preprocess_batch([image], self._artifact.preprocess, max_pixels=self._max_pixels)

    def _one(
        self, image: ImageInput, run: Callable[[Array], Sequence[Prediction]], on_error: OnError
    ) -> Prediction | None:
        """The classes of a single image, with the picture that notebooks show."""
        try:
            batch = self._batch_of(image)
        except ImageError as error:
            _raise_or_warn(error, on_error)
            return None
        return run(batch)[0].with_picture(pixels_of(reduced(batch[0], PICTURE_PIXELS), self._artifact.preprocess))

    def _each(
        self, images: Iterable[ImageInput], run: Callable[[Array], Sequence[Answer]], on_error: OnError
    ) -> list[Answer | None]:
        """The answers for all images, with None for those that are skipped."""
        found: list[Answer | None] = []
        with contextlib.closing(self._stream(images, run, self._batch_size)) as results:
            for _, _, answer in results:
                if isinstance(answer, ImageError):
                    _raise_or_warn(answer, on_error)
                    found.append(None)
                else:
                    found.append(answer)
        return found

    def _check_batch(self, batch: object) -> None:
        size = self.image_size
        expected = f"logits() takes a float32 array of shape (N, 3, {size}, {size})"
        if not isinstance(batch, np.ndarray):
            raise InputError(f"{expected}, got {type(batch).__name__}; for images use predict()")
        shape = batch.shape
        if batch.dtype == np.uint8 or (batch.ndim == 4 and shape[1] != 3 and shape[3] == 3):
            raise InputError(
                f"{expected}, got {batch.dtype} of shape {shape}, which looks like pixels; "
                "give a list of [H, W, 3] images to predict(), or to onnxzoo.image.preprocess_batch()"
            )
        if batch.ndim == 3 and shape == (3, size, size):
            raise InputError(f"{expected}, got shape {shape}; add the batch axis: batch[None]")
        if batch.ndim != 4 or shape[1:] != (3, size, size):
            raise InputError(f"{expected}, got shape {shape}; onnxzoo.image.preprocess_batch() makes such an array")
        if batch.dtype != np.float32:
            raise InputError(f"{expected}, got {batch.dtype}; call .astype(np.float32)")

    def _run(self, batch: Array, *outputs: str) -> list[Array]:
        """The outputs of these names for a preprocessed batch of any size, each float32 [N, its width]."""
        if self._process != os.getpid():
            raise EngineError(
                f"{self.name} was loaded by process {self._process}, and this one ({os.getpid()}) was forked from it, "
                "without the engine's threads; load the model in the child, or, as CUDA needs, start processes with "
                "the method 'spawn'"
            )
        limit = self._engine.max_batch
        if limit is not None and len(batch) > limit:
            cut = [self._run(batch[start : start + limit], *outputs) for start in range(0, len(batch), limit)]
            return [np.concatenate(parts) for parts in zip(*cut, strict=True)]
        found = self._engine.run({INPUT_NAME: batch})
        return [self._checked(found, output, batch) for output in outputs]

    def _checked(self, outputs: Mapping[str, object], output: str, batch: Array) -> Array:
        """One of the engine's outputs, checked, because a foreign graph may return anything."""
        if output not in outputs:
            raise EngineError(f"{self.name} has no output {output!r}; its outputs are {', '.join(outputs) or 'none'}")
        width = len(self.labels) if output == LOGITS else self._artifact.architecture.num_features
        found = outputs[output]
        if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
            kind = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
            raise EngineError(f"{self.name}: {output} has the type {kind}, expected float32")
        values: Array = np.asarray(found, dtype=np.float32)
        if values.shape != (len(batch), width):
            raise EngineError(f"{self.name}: {output} has shape {values.shape}, expected {(len(batch), width)}")
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            finite_input = bool(np.isfinite(batch).all())
            cause = f"{self.engine.name} computed them from finite inputs" if finite_input else "so are the inputs"
            raise EngineError(f"{self.name}: {bad} of {values.size} {output} are NaN or infinite; {cause}")
        return values


def top_classes(logits: Array, labels: Sequence[str], top_k: int) -> list[Prediction]:
    """The best classes of every row of logits [N, classes], by softmax; equal scores in the order of class ids."""
    # In float64: the scores of all classes then sum to 1 to the last printed digit.
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    scores: npt.NDArray[np.float64] = np.exp(shifted)
    scores /= scores.sum(axis=1, keepdims=True)
    order = np.argsort(-shifted, axis=1, kind="stable")[:, :top_k]
    return [
        Prediction(tuple(ClassScore(int(i), labels[i], float(row[i])) for i in best))
        for row, best in zip(scores, order, strict=True)
    ]


def _as_many(image: ImageInput | Iterable[ImageInput | ImageError]) -> Iterable[ImageInput] | None:
    """The images of an iterable; None for a single image of any kind and for anything else."""
    if isinstance(image, np.ndarray):
        return image if image.ndim == 4 else None
    # Strings, bytes, file objects and mappings are iterable as well, but not image by image.
    single = isinstance(image, str | os.PathLike | bytes | bytearray | memoryview | Mapping) or hasattr(image, "read")
    return None if single or not isinstance(image, Iterable) else image  # type: ignore[return-value]


def _raise_or_warn(error: ImageError, on_error: OnError) -> None:
    if on_error == "raise":
        raise error
    logger.warning("%s; it is skipped", error)


def whole(name: str, value: int) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        raise InputError(f"{name} must be a whole number from 1, got {value!r}")
    return count
