"""PyTorch eager with a DataLoader over image files: images per second, as a user of timm would classify a folder.

    python torch_stream.py JOB.json

The job has what `onnxzoo/bench/children/torch_timm.py` builds the model from, and `photos` (a folder), `count`,
`preprocess`, `threads`, `workers`, `batch_size`. Prints a JSON object. Needs torch, timm and pillow, but not onnxzoo.
"""

from __future__ import annotations

import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import torch

# The children that `onnxzoo bench` times are a package of their own here.
timed_children = types.ModuleType("timed_children")
timed_children.__path__ = [str(Path(__file__).resolve().parents[2] / "onnxzoo" / "bench" / "children")]
sys.modules["timed_children"] = timed_children
from timed_children.pillow_preprocess import preprocess  # type: ignore[import-not-found]  # noqa: E402
from timed_children.torch_timm import build  # type: ignore[import-not-found]  # noqa: E402

SHOWN = 8
"""Images whose best classes are printed, to compare them with the other contenders'."""
WARM_BATCHES = 2


class Photos(torch.utils.data.Dataset):  # type: ignore[misc]
    """The files of a folder, again and again, as model inputs."""

    def __init__(self, folder: str, count: int, spec: dict[str, Any]) -> None:
        self._paths = sorted(map(str, Path(folder).iterdir()))
        self._count, self._spec = count, spec

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(preprocess(self._paths[index % len(self._paths)], self._spec)[0])


def main(job_file: str) -> None:
    """Classify `count` images after some to warm up, and print the rate."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    model = build(job)
    size = job["batch_size"]
    photos = Photos(job["photos"], job["count"] + WARM_BATCHES * size, job["preprocess"])
    loader = torch.utils.data.DataLoader(photos, batch_size=size, num_workers=job["workers"])
    best: list[int] = []
    started = 0.0
    with torch.inference_mode():
        for number, batch in enumerate(loader):
            if number == WARM_BATCHES:
                started = time.perf_counter()
            found = model(batch).argmax(1).tolist()
            best += found[: SHOWN - len(best)]
    seconds = time.perf_counter() - started
    print(json.dumps({"images_s": job["count"] / seconds, "best": best, "version": torch.__version__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
