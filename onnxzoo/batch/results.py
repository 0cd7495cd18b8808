"""Results of the images of a source, each beside the entry that names it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ..errors import ImageError
from ..image import ImageInput
from ..model import Model
from ..stream import Result
from .entry import Entry


def results_of(
    model: Model, entries: Iterable[Entry], *, top_k: int = 5, embed: bool = False, batch_size: int | None = None
) -> Iterator[tuple[Entry, Result]]:
    """Yield each entry with its result, in order; the arguments and errors are those of `Model.stream`."""
    waiting: deque[Entry] = deque()

    def images() -> Iterator[ImageInput | ImageError]:
        for entry in entries:
            waiting.append(entry)
            yield entry.image

    for result in model.stream(images(), top_k=top_k, embed=embed, batch_size=batch_size):
        yield waiting.popleft(), result
