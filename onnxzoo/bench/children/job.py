"""What a job asks of any contender: its inputs run once, a report, and then inferences when told.

A job is a JSON object with `vectors`, `batch_size` and `report` (see `conformance.start`), `images` (paths, for timing
from image files; may be empty) and `preprocess` (as in config.json), and what the contender needs besides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .conformance import Run, start
from .images import from_images
from .serve import serve


def read_job(file: str) -> dict[str, Any]:
    """The job in a file."""
    job: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    return job


def serve_job(
    job: dict[str, Any], out: str, create: Callable[[], Run], describe: Callable[[], Mapping[str, Any]]
) -> None:
    """Load with `create`, report with `describe` what was loaded, and serve."""
    runs: list[Run] = []

    def created() -> Run:
        runs.append(create())
        return runs[0]

    def load() -> Callable[[], Any]:
        infer = start(created, Path(job["vectors"]), job["batch_size"], Path(job["report"]), describe)
        return from_images(lambda images: runs[0](images)["logits"], job) if job["images"] else infer

    serve(load, out)
