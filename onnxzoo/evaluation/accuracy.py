"""Top-1 and Top-5 accuracy of a model on labelled images, on any engine and without Paddle."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.layouts import Dataset
from ..errors import DatasetError, InputError
from ..model import BATCH_SIZE, Model
from ..registry import ModelEntry
from ..results import EngineInfo

Progress = Callable[[int, int], None]
"""Called with the images done so far and the images in all."""

Z_95 = 1.959963984540054
"""Quantile of the standard normal distribution that leaves 2.5 % on either side."""

TOP_K = 5
SHOWN = 3

_SYNSET = re.compile(r"n\d{8}")
_NUMBERED = re.compile(r"(?:class )?(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClassResult:
    """The result for the images of one class.

    `class_id` and `label` are the model's. `correct`: images whose best class is this one.
    `confused_with`: the label that was most often best in its place, for `confused` images; None and 0 when
    every image is correct.
    """

    class_id: int
    label: str
    images: int
    correct: int
    confused_with: str | None
    confused: int

    @property
    def top1(self) -> float:
        """Fraction of the class's images that are correct, in [0, 1]."""
        return self.correct / self.images


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A skipped image: its name in the dataset, and why it could not be read."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The accuracy of a model on labelled images.

    `images`: those that could be read and count. `correct`, `correct_top5`: images whose class was the best, or
    among the best five. `seconds`: wall time from the first file to the last answer, reading, decoding and
    preprocessing included. `classes`: the classes that have images, in the order of the model's ids.
    """

    model: str
    engine: EngineInfo
    images: int
    correct: int
    correct_top5: int
    seconds: float
    classes: tuple[ClassResult, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def top1(self) -> float:
        """Fraction of the images whose class was the best, in [0, 1]."""
        return self.correct / self.images

    @property
    def top5(self) -> float:
        """Fraction of the images whose class was among the best five, in [0, 1]."""
        return self.correct_top5 / self.images

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95 % confidence interval of `top1` (Wilson's)."""
        return wilson_interval(self.correct, self.images)

    @property
    def top5_interval(self) -> tuple[float, float]:
        """95 % confidence interval of `top5` (Wilson's)."""
        return wilson_interval(self.correct_top5, self.images)

    @property
    def images_per_second(self) -> float:
        """Images per second from file to answer, including more than the engine's time."""
        return self.images / self.seconds

    def to_dict(self, entry: ModelEntry | None = None) -> dict[str, Any]:
        """As JSON values; `entry` provides the documented accuracy, if there is one."""
        documented = None
        if entry is not None:
            documented = {"top1": entry.accuracy.top1, "top5": entry.accuracy.top5, "on": entry.dataset}
        return {
            "model": self.model,
            "engine": dataclasses.asdict(self.engine),
            "images": self.images,
            "correct": self.correct,
            "correct_top5": self.correct_top5,
            "top1": self.top1,
            "top1_interval_95": list(self.top1_interval),
            "top5": self.top5,
            "top5_interval_95": list(self.top5_interval),
            "documented": documented,
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "classes": [{**dataclasses.asdict(row), "top1": row.top1} for row in self.classes],
            "unreadable": [dataclasses.asdict(image) for image in self.unreadable],
        }


def evaluate(
    model: Model,
    dataset: Dataset,
    *,
    batch_size: int = BATCH_SIZE,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Classify the images of a dataset with the model's own preprocessing, and count what is right.

    `batch_size`: images per run of the engine. `limit`: maximum number of images, spread evenly over the dataset,
    because data in class folders is sorted by class. An image that cannot be read is skipped and named in the result.

    Raises DatasetError when the dataset's classes are not the model's or no image can be read, InputError for a
    `batch_size` or `limit` below 1, EngineError.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise InputError(f"batch_size and limit must be at least 1, got {batch_size} and {limit}")
    class_ids = np.array(match_classes(dataset.classes, model.labels), dtype=np.int64)
    indices = _spread(len(dataset), limit)
    outcomes: Counter[tuple[int, int]] = Counter()  # (true class id, best class id) -> images
    in_top5 = 0
    unreadable: list[Unreadable] = []
    started = time.perf_counter()
    results = model.stream((dataset.image(int(i)) for i in indices), top_k=TOP_K, batch_size=batch_size)
    for done, (index, result) in enumerate(zip(indices.tolist(), results, strict=True), start=1):
        if result.prediction is None:
            unreadable.append(Unreadable(dataset.name(index), str(result.error)))
        else:
            truth = int(class_ids[dataset.labels[index]])
            best = [one.class_id for one in result.prediction.top]
            outcomes[truth, best[0]] += 1
            in_top5 += truth in best
        if progress is not None and (done % batch_size == 0 or done == len(indices)):
            progress(done, len(indices))
    seconds = time.perf_counter() - started
    if not outcomes:
        raise DatasetError(f"none of the {len(indices)} images can be read; the first: {unreadable[0].reason}")
    return Evaluation(
        model=model.name,
        engine=model.engine,
        images=outcomes.total(),
        correct=sum(count for (true, best), count in outcomes.items() if true == best),
        correct_top5=in_top5,
        seconds=seconds,
        classes=tuple(_per_class(outcomes, model.labels)),
        unreadable=tuple(unreadable),
    )


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a proportion, as (low, high) in [0, 1]; 95 % by default.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212;
    recommended over the usual interval of p +- z * sqrt(p(1-p)/n) by Brown, Cai and DasGupta, Interval Estimation for a
    Binomial Proportion, Statistical Science 16 (2001) 101-133: it keeps its promise near 0 and 1, too.

    Raises InputError unless 0 <= successes <= trials and trials > 0.
    """
    if not 0 <= successes <= trials or not trials:
        raise InputError(f"expected 0 <= successes <= trials and trials > 0, got {successes} and {trials}")
    share, z2 = successes / trials, z * z
    centre = share + z2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    scale = 1 + z2 / trials
    # At the ends the formula gives 0 and 1 up to rounding.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


def match_classes(classes: Sequence[str], labels: Sequence[str]) -> tuple[int, ...]:
    """The model's class id of every class of a dataset, from the dataset's class names and the model's labels.

    In this order: the same names in the same order; the same names but for case, punctuation and spaces (a folder
    cannot be called 'T-shirt/top'), the dataset having all or some of the model's; WordNet synsets of ImageNet folders
    ('n01440764'), as many as the model has classes, which count in sorted order (that is how ImageNet-1k's ids were
    given); numbers ('17' or 'class 17'), which are ids; any names in their order, as many as there are, for a model
    whose own labels are only 'class 0', 'class 1', ...

    Raises DatasetError naming both sides when none of these holds.
    """
    if tuple(classes) == tuple(labels):
        return tuple(range(len(labels)))
    ids: dict[str, list[int]] = {}
    for class_id, label in enumerate(labels):
        ids.setdefault(_plain(label), []).append(class_id)
    named = [ids.get(_plain(name), []) for name in classes]
    if all(len(found) == 1 for found in named) and len({found[0] for found in named}) == len(named):
        return tuple(found[0] for found in named)
    if len(classes) == len(labels) and all(_SYNSET.fullmatch(name) for name in classes):
        order = {name: class_id for class_id, name in enumerate(sorted(classes))}
        return tuple(order[name] for name in classes)
    numbers = [_NUMBERED.fullmatch(name) for name in classes]
    values = [int(number[1]) for number in numbers if number]
    if len(values) == len(classes) and len(set(values)) == len(values) and max(values) < len(labels):
        return tuple(values)
    if len(classes) == len(labels) and list(labels) == [f"class {i}" for i in range(len(labels))]:
        return tuple(range(len(labels)))
    strange = [name for name, found in zip(classes, named, strict=True) if len(found) != 1]
    raise DatasetError(
        f"the data's {len(classes)} classes ({_shown(classes)}) are not the model's {len(labels)} ({_shown(labels)}): "
        f"{_shown(strange)} cannot be matched; name the class folders as the model's labels, or by their numbers"
    )


def _spread(total: int, limit: int | None) -> npt.NDArray[np.int64]:
    """Indices of at most `limit` of `total` images, evenly spaced from the first."""
    count = total if limit is None else min(limit, total)
    return np.arange(count, dtype=np.int64) * total // count


def _per_class(outcomes: Counter[tuple[int, int]], labels: Sequence[str]) -> Iterator[ClassResult]:
    for class_id in sorted({true for true, _ in outcomes}):
        answers = Counter({best: count for (true, best), count in outcomes.items() if true == class_id})
        wrong = [(-count, best) for best, count in answers.items() if best != class_id]
        most, confused_with = min(wrong, default=(0, None))  # of equal counts, the lower class id
        yield ClassResult(
            class_id=class_id,
            label=labels[class_id],
            images=answers.total(),
            correct=answers[class_id],
            confused_with=None if confused_with is None else labels[confused_with],
            confused=-most,
        )


def _plain(name: str) -> str:
    """A name as a folder may carry it: lower case, every run of other characters than letters and digits one '_'."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
