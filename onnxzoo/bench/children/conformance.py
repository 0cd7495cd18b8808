"""What is wanted of a contender before it is timed: how long it took to start, and all its numbers.

Standard library and numpy only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

INPUT_NAME = "pixel_values"  # onnxzoo.artifact.folder's
Outputs = Mapping[str, np.ndarray]
Run = Callable[[np.ndarray], Outputs]
"""From a batch to outputs by name."""


def batches(vectors: Path, size: int) -> list[np.ndarray]:
    """The images of a conformance.npz, float32 [K, 3, S, S], in batches of `size`, from the start again at the end."""
    with np.load(vectors) as arrays:
        images = arrays[INPUT_NAME]
    count = -(-len(images) // size) * size
    return list(np.resize(images, (count // size, size, *images.shape[1:])))


def start(
    create: Callable[[], Run],
    vectors: Path,
    size: int,
    report: Path,
    describe: Callable[[], Mapping[str, Any]],
) -> Callable[[], np.ndarray]:
    """Create the model, run every image, and write what came out to `report`; returns the inference to be timed.

    `create()` loads the model and gives a function from a batch to outputs by name. `report`.npz has the outputs of
    all batches, one after the other; `report`.json `describe()` and the seconds of loading and of the first batch.
    """
    given = batches(vectors, size)
    started = time.perf_counter()
    run = create()
    loaded = time.perf_counter()
    found = [dict(run(given[0]))]
    first = time.perf_counter()
    found += [dict(run(batch)) for batch in given[1:]]
    together: dict[str, Any] = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    np.savez(report.with_suffix(".npz"), **together)
    facts = {"load_s": loaded - started, "first_s": first - loaded, **describe()}
    report.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
    return lambda: run(given[0])["logits"]
