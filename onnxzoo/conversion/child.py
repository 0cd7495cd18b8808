"""The child process of a conversion.

    python -P -m onnxzoo.conversion.child convert TARGET JOB.json MEMORY
    python -P -m onnxzoo.conversion.child run TARGET JOB.json MEMORY IMAGES.npy OUTPUTS.npz BATCH_SIZES

`convert` writes the files of a format. `run` writes the outputs of the converted model for all images, once for each of
the batch sizes (such as `1,6`), as arrays NAME.SIZE. MEMORY: the most that the process may allocate, in bytes.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..signals import end_with_parent
from .target import Job
from .targets import target_of

if TYPE_CHECKING:
    from ..results import Array
    from .target import Run


def limit_memory(limit: int) -> None:
    """Let allocations beyond `limit` bytes fail, where the system has such a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return
    # Not the address space (RLIMIT_AS), of which libraries reserve gigabytes for threads without using them.
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = limit if most == resource.RLIM_INFINITY else min(limit, most)
    with contextlib.suppress(OSError, ValueError):  # some systems have the name, but not the limit
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, most))


def run_all(run: Run, images: Array, size: int) -> dict[str, Array]:
    """The outputs for all images [K, 3, S, S], `size` at a time; the first images fill up the last batch."""
    rows = np.resize(np.arange(len(images)), -(-len(images) // size) * size)
    parts = [run(np.ascontiguousarray(images[rows[i : i + size]])) for i in range(0, len(rows), size)]
    return {name: np.concatenate([part[name] for part in parts])[: len(images)] for name in parts[0]}


def main(step: str, name: str, job_file: str, memory: str, *more: str) -> None:
    """Convert, or run what was converted."""
    end_with_parent()
    limit_memory(int(memory))
    target, job = target_of(name), Job.read(Path(job_file))
    if step == "convert":
        target.write(job)
        return
    images_file, outputs_file, sizes = more
    run, images = target.open(job), np.load(images_file)
    found = {
        f"{output}.{size}": values
        for size in map(int, sizes.split(","))
        for output, values in run_all(run, images, size).items()
    }
    np.savez(outputs_file, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
