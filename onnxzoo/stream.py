"""Running many images through an engine: a pool reads batches ahead of it, and errors are values.

An image is read once, by a thread of the pool, directly into its row of a batch; the rows of images that cannot be read
are left out of the run. A bounded number of batches is read while one runs, so memory does not depend on the number of
images: MAX_AHEAD_BYTES for what was read, `image_memory.BUDGET` for what is being decoded, `ENCODED_BUDGET` for bytes
that are read when their turn comes (LazyImage), and as much as BUDGET for images that are held in memory until then.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from .cpu import worker_threads
from .errors import ImageError
from .image import ImageInput, LazyImage, describe, load_rgb, preprocess_into
from .image_bytes import fetched
from .image_memory import BUDGET_BYTES, RGB_BYTES
from .image_reading import ENCODED, settled
from .registry import Preprocess
from .results import Array, Prediction
from .web_page import html_prediction, html_text

Answer = TypeVar("Answer")

BATCHES_AHEAD = 2
"""Batches that are read while one runs; more if they are so small that threads of the pool would be idle."""

REMOTE_READS = 16
"""Images that are read at a time from other machines, where reading is mostly waiting."""

MAX_AHEAD_BYTES = 256 * 2**20
"""Memory for batches that are read ahead, at least one. Eight images take 4.8 MB at 224 pixels, 14 MB at 384."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one image of a stream; true if it could be read.

    `index`: its position among the images, from 0. `image`: the image as given. `prediction`: its best classes, None
    if there is an error. `embedding`: float32 [features] if requested. `error`: why it cannot be read.
    """

    index: int
    image: ImageInput | ImageError
    prediction: Prediction | None = None
    embedding: Array | None = field(default=None, compare=False)
    error: ImageError | None = None

    def __bool__(self) -> bool:
        return self.error is None

    def _repr_html_(self) -> str:
        """What notebooks show: the classes beside the image, if it is in memory; a file is only named, not read."""
        name = f"{self.index}: {describe(self.image)}"
        if self.prediction is None:
            return html_prediction(name, "", html_text(str(self.error)))
        if isinstance(self.image, str | os.PathLike | ImageError) or hasattr(self.image, "read"):
            return self.prediction.html(name)
        return self.prediction.html(name, load_rgb(self.image))


def stream(
    images: Iterable[ImageInput | ImageError],
    spec: Preprocess,
    run: Callable[[Array], Sequence[Answer]],
    *,
    batch_size: int,
    max_pixels: int | None = None,
    ordered: bool = True,
) -> Generator[tuple[int, ImageInput | ImageError, Answer | ImageError], None, None]:
    """Yield for each of `images` its index from 0, the image, and the answer of `run` or why it cannot be read.

    `run` gets batches like those of `preprocess_batch`, float32 [N, 3, crop_size, crop_size] with N from 1 to
    `batch_size`, and returns an answer for each row; the array may be reused after it returns. `images` is consumed on
    the thread that asks for results: one batch before the first result, then a few ahead. An image that its source
    could not read may be given as an ImageError, which is returned in its place. `ordered`: in the order of the images;
    otherwise a batch that is ready is run before an earlier one that is not.

    Raises what `run` and `images` raise, after the results of all earlier images.
    """
    with closing(_Reader(images, spec, batch_size, max_pixels)) as reader:
        reading: deque[_Batch] = deque()
        while first := _taken(reading, ordered=ordered) or reader.next_batch():
            first.wait()
            # These errors need no engine; a caller that stops at the first error has consumed no more than one batch.
            errors = first.leading_errors()
            yield from errors
            while len(reading) < reader.ahead and (following := reader.next_batch(first, *reading)):
                reading.append(following)
            yield from first.answers(run, skip=len(errors))
            reader.reuse(first)
        if reader.failure is not None:
            raise reader.failure


def _taken(reading: deque[_Batch], *, ordered: bool) -> _Batch | None:
    """Remove and return the next batch: the first one, or if unordered any that is ready, waiting if none is."""
    if not reading:
        return None
    while not ordered:
        for place, batch in enumerate(reading):
            if batch.ready:
                del reading[place]
                return batch
        wait([job for batch in reading for job in batch.jobs if not job.done()], return_when=FIRST_COMPLETED)
    return reading.popleft()


@dataclass(frozen=True, slots=True)
class _Batch:
    """Images being read; `rows[i]` is the i-th of them once `jobs[i]` is done. `bytes`: held by the images."""

    start: int
    images: list[ImageInput | ImageError]
    rows: Array
    jobs: list[Future[None]]
    bytes: int

    @property
    def ready(self) -> bool:
        return all(job.done() for job in self.jobs)

    def wait(self) -> None:
        wait(self.jobs)

    def leading_errors(self) -> list[tuple[int, ImageInput | ImageError, ImageError]]:
        """The images before the first one that could be read, with their errors."""
        found = []
        for index, image, job in zip(
            range(self.start, self.start + len(self.jobs)), self.images, self.jobs, strict=True
        ):
            if (error := _unreadable(job)) is None:
                break
            found.append((index, image, error))
        return found

    def answers(
        self, run: Callable[[Array], Sequence[Answer]], *, skip: int
    ) -> Iterator[tuple[int, ImageInput | ImageError, Answer | ImageError]]:
        """Run the images that could be read, and yield the answer or error of all but the first `skip` images."""
        errors = [_unreadable(job) for job in self.jobs]
        good = [row for row, error in enumerate(errors) if error is None]
        if not good:
            return
        # Contiguous rows are a view; otherwise they are copied.
        answers = iter(run(self.rows if len(good) == len(errors) else self.rows[good]))
        for row in range(skip, len(errors)):
            error = errors[row]
            yield self.start + row, self.images[row], next(answers) if error is None else error


def _unreadable(job: Future[None]) -> ImageError | None:
    """Why an image cannot be read, None if it can. Raises any other error."""
    error = job.exception()
    if error is not None and not isinstance(error, ImageError):
        raise error
    return error


class _Reader:
    """Takes images from their source and lets a pool read them. `failure`: the exception that ended the source."""

    def __init__(
        self,
        images: Iterable[ImageInput | ImageError],
        spec: Preprocess,
        batch_size: int,
        max_pixels: int | None,
    ) -> None:
        self.failure: Exception | None = None
        self._images: Iterator[ImageInput | ImageError] = iter(images)
        self._spec, self._batch_size, self._max_pixels = spec, batch_size, max_pixels
        self._taken = 0
        self._spare: list[Array] = []
        threads = worker_threads()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnxzoo-image")
        # Starts a thread for each image that comes before one is idle, so none without remote images.
        self._waiting = ThreadPoolExecutor(REMOTE_READS, thread_name_prefix="onnxzoo-remote")
        wanted = max(BATCHES_AHEAD, -(-2 * threads // batch_size))
        self.ahead = max(1, min(wanted, MAX_AHEAD_BYTES // (12 * batch_size * spec.crop_size**2)))

    def next_batch(self, *held: _Batch) -> _Batch | None:
        """Give the next images to the pool; None if there are none.

        With batches `held`, takes no more images than fit into BUDGET_BYTES together with theirs, perhaps none for now.
        """
        room = BUDGET_BYTES - sum(batch.bytes for batch in held)
        names: list[str] = []
        images: list[ImageInput | ImageError] = []
        contents: list[ImageInput | ImageError] = []
        used = 0
        while len(images) < self._batch_size and (used < room or not (images or held)):
            try:
                image = next(self._images)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - raised by `stream` in its turn
                self.failure, self._images = error, iter(())
                break
            names.append(describe(image))
            images.append(image)
            contents.append(_settled(image))
            used += _bytes_of(contents[-1])
        if not images:
            return None
        size = self._spec.crop_size
        spare = self._spare.pop() if self._spare else np.empty((len(images), 3, size, size), dtype=np.float32)
        rows = spare[: len(images)]
        jobs = [self._job(*each) for each in zip(rows, contents, names, strict=True)]
        self._taken += len(images)
        return _Batch(self._taken - len(images), images, rows, jobs, used)

    def reuse(self, batch: _Batch) -> None:
        """Keep the memory of a finished batch for another one, if it can be reused."""
        if len(batch.rows) == self._batch_size:
            self._spare.append(batch.rows)

    def close(self) -> None:
        """Drop what has not been read; threads end after their current image."""
        self._waiting.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _job(self, row: Array, image: ImageInput | ImageError, name: str) -> Future[None]:
        if isinstance(image, LazyImage) and image.remote:
            return self._waiting.submit(self._fetch, row, image, name)
        if not isinstance(image, ImageError):
            return self._pool.submit(preprocess_into, row, image, name, self._spec, self._max_pixels)
        failed: Future[None] = Future()
        failed.set_exception(image)
        return failed

    def _fetch(self, row: Array, image: LazyImage, name: str) -> None:
        """Read an image from another machine, then let the pool decode it."""
        with fetched(image, name) as data:
            self._pool.submit(preprocess_into, row, data, name, self._spec, self._max_pixels).result()


def _settled(image: ImageInput | ImageError) -> ImageInput | ImageError:
    """The image in a form for the pool: PIL images and file objects change while they are read, and may occur twice."""
    try:
        return image if isinstance(image, ImageError) else settled(image)
    except ImageError as error:
        return error


def _bytes_of(image: object) -> int:
    """The memory of an image while it waits for the pool."""
    if isinstance(image, ENCODED):
        return len(image)
    if isinstance(image, LazyImage):
        return image.held
    if isinstance(image, np.ndarray):
        return image.nbytes
    width, height = getattr(image, "size", (0, 0)) if hasattr(image, "convert") else (0, 0)
    return int(width * height * RGB_BYTES)
