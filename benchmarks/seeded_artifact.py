"""Makes artifacts with seeded weights: exported, which needs Paddle, or assembled, which does not.

    python benchmarks/seeded_artifact.py OUT NAME ...

assembles OUT/NAME of each model and keeps its checkpoint beside it, OUT/NAME.safetensors (needs safetensors).
"""

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


def assembled(name: str, folder: Path) -> Path:
    """The artifact `folder`/NAME of this model with the weights of SEED, which are `folder`/NAME.safetensors."""
    # Here: who measures others must be small itself (see cold_start.py).
    from safetensors.numpy import save_file

    from onnxzoo.assemble import assemble
    from onnxzoo.families import ModelSpec
    from onnxzoo.reference.exact.engine import exact_model
    from onnxzoo.registry import find, labels
    from onnxzoo.weights.seeded import seeded_state

    log(f"{name}: assembling with seeded weights")
    folder.mkdir(parents=True, exist_ok=True)
    entry, weights, out = find(name), folder / f"{name}.safetensors", folder / name
    spec = ModelSpec(entry.architecture, entry.image_size, len(labels(entry.labels)))
    save_file(seeded_state(exact_model(spec).shapes, SEED), weights)
    assemble(entry, weights, out)
    return out


if __name__ == "__main__":
    for model in sys.argv[2:]:
        assembled(model, Path(sys.argv[1]))
