"""Makes an artifact with seeded weights, which needs Paddle."""

from __future__ import annotations

import sys
from pathlib import Path

from cold_start import log, measure

SEED = 1
# This runs in its own process, as a process with Paddle loaded is too large to measure others from.
WEIGHTS = """
import sys
from pathlib import Path
from onnxzoo.reference.paddle.saving import save_seeded_checkpoint
from onnxzoo.registry import find
save_seeded_checkpoint(find(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
"""


def exported(name: str, folder: Path) -> Path:
    """The artifact `folder`/NAME of this model with 1000 classes and the weights of SEED (needs the extra `export`)."""
    log(f"{name}: exporting with seeded weights")
    folder.mkdir(parents=True, exist_ok=True)
    weights, out = folder / f"{name}.pdparams", folder / name
    try:
        measure([sys.executable, "-P", "-c", WEIGHTS, name, str(weights), str(SEED)])
        measure([sys.executable, "-P", "-m", "onnxzoo", "export", name, "--weights", str(weights), "--out", str(out)])
    finally:
        weights.unlink(missing_ok=True)
    return out
