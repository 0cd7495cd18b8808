"""The parts of all_models.py that need Paddle, each run in its own process.

python all_models_steps.py weights NAME WEIGHTS.pdparams       write a seeded checkpoint
python all_models_steps.py check NAME ARTIFACT WEIGHTS         facts and differences as JSON on the last line
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import onnx
from onnxzoo.exports.graph_facts import foreign_operators, integer_arithmetic, operator_counts, unwanted_operators
from onnxzoo.validators.references import CONFORMANCE, PADDLE
from onnxzoo.validators.validate import validate

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.reference.paddle.saving import save_seeded_checkpoint
from onnxzoo.registry import find

SEED = 5
TOLERANCE = 1e-4


def graph_facts(file: Path) -> dict[str, Any]:
    """Facts about the contents of the graph."""
    model = onnx.load(file)
    return {
        "operators": dict(operator_counts(model)),
        "unwanted": unwanted_operators(model),
        "foreign": foreign_operators(model),
        "integer_arithmetic": integer_arithmetic(model),
        "opset": [imported.version for imported in model.opset_import],
    }


def differences(folder: Path, weights: Path) -> dict[str, Any]:
    """Largest |engine - Paddle| by engine and batch size, over recorded and fresh inputs and both outputs."""
    worst: dict[str, dict[str, float]] = {}
    problems: list[str] = []
    start = time.perf_counter()
    for check in validate(read_artifact(folder), weights=weights, tolerance=TOLERANCE):
        key = str(check.batch_size)
        problems += [f"{check.engine.name}, batch {key}: {problem}" for problem in check.comparison.problems]
        if check.reference in (CONFORMANCE, PADDLE):
            by_batch = worst.setdefault(check.engine.name, {})
            by_batch[key] = max(by_batch.get(key, 0.0), check.comparison.max_abs)
    return {"max_abs": worst, "problems": problems, "validate_seconds": time.perf_counter() - start}


def main(action: str, name: str, *paths: str) -> None:
    """Write weights, or print facts."""
    if action == "weights":
        save_seeded_checkpoint(find(name), Path(paths[0]), SEED)
        return
    artifact, weights = map(Path, paths)
    facts = {**graph_facts(read_artifact(artifact).model_file()), **differences(artifact, weights)}
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
