"""The static program of a model in Paddle, in a process of its own.

    python -P -m onnxzoo.bench.paddle_program JOB.json

The job has `family`, `architecture`, `image_size` and `num_classes` as config.json has them, `weights` (.npz, in
Paddle's names and layout), and `program`: where it goes, without a suffix.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ..families import ModelSpec
from ..reference.paddle.saving import save_program
from ..registry import architecture_from_dict
from .children.job import read_job


def main(job_file: str) -> None:
    """Build and save."""
    job = read_job(job_file)
    architecture = architecture_from_dict(job["family"], job["architecture"])
    with np.load(job["weights"]) as arrays:
        state = {name: arrays[name] for name in arrays.files}
    save_program(ModelSpec(architecture, job["image_size"], job["num_classes"]), state, Path(job["program"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
