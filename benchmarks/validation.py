"""The table of whole validations: the results and times of `onnxzoo validate --weights --tol 1e-4`.

    python benchmarks/validation.py [NAME ...] [--out DIR]

By default it validates the two shipped models, with their trained checkpoints, and four at their real sizes, exported
with seeded weights. The time is that of the whole process, including imports, reading the checkpoint, building the
Paddle model, and both engines. Writes DIR/validation.json and .md (default benchmarks/results) after every model. Exit
code 1 if one failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from all_models import STEPS
from cold_start import log, machine
from false_alarms import CHECKPOINTS
from graph_peers import command

from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.registry import find

HERE = Path(__file__).resolve().parent
MODELS = (
    "pvt_v2_nano_fashion", "swinv2_nano_fashion", "pvt_v2_b0", "pvt_v2_b2_linear", "swinv2_tiny_w8", "swinv2_small_w16",
)  # fmt: skip
REFERENCES = ("conformance", "paddle", "order")


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Validate one model, exported in `folder` unless it ships; returns its row."""
    environment = {**os.environ, "ONNXZOO_CACHE": str(folder / "cache"), "GLOG_minloglevel": "2"}
    program: list[str | Path] = [sys.executable, "-P", "-m", "onnxzoo"]
    artifact, weights = SHIPPED_DIR / name, CHECKPOINTS / f"{name}.pdparams"
    if not artifact.is_dir():
        artifact, weights = folder / "artifact", folder / "weights.pdparams"
        command([sys.executable, STEPS, "weights", name, weights], environment)
        command([*program, "export", name, "--weights", weights, "--out", artifact], environment)
    arguments: list[str | Path] = ["validate", artifact, "--weights", weights, "--tol", "1e-4", "--json"]
    start = time.perf_counter()
    done = subprocess.run([*program, *arguments], env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if not done.stdout:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    document = json.loads(done.stdout)
    worst: dict[str, dict[str, float]] = {}
    for check in document["checks"]:
        if check["reference"] in REFERENCES:
            largest = check["comparison"]["max_abs"]
            row = worst.setdefault(check["engine"]["name"], {})
            row[check["reference"]] = max(
                row.get(check["reference"], 0.0), float("nan") if largest is None else largest
            )
    return {
        "passed": document["passed"],
        "checks": len(document["checks"]),
        "inputs": len(document["inputs"]),
        "seconds": seconds,
        "max_abs": worst,
        "problems": [problem for check in document["checks"] for problem in check["comparison"]["problems"]],
    }


def page(document: dict[str, Any]) -> str:
    """The markdown file."""
    described = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    engines = sorted({engine for row in document["models"].values() for engine in row["max_abs"]})
    heads = [f"{engine}: {reference}" for engine in engines for reference in ("recorded", "live", "order")]
    lines = [f"| model | {' | '.join(heads)} | inputs | checks | seconds | |", "|---" * (len(heads) + 5) + "|"]
    for name, row in document["models"].items():
        figures = [f"{row['max_abs'].get(e, {}).get(r, float('nan')):.1e}" for e in engines for r in REFERENCES]
        verdict = "passed" if row["passed"] else "; ".join(row["problems"])
        lines.append(
            f"| {name} | {' | '.join(figures)} | {row['inputs']} | {row['checks']} | {row['seconds']:.1f} | {verdict} |"
        )
    table = "\n".join(lines)
    return f"""# Validations

`python benchmarks/validation.py`, `onnxzoo validate --weights --tol 1e-4`; {described}

{table}

- Largest absolute difference over logits, embedding and batch 1, 2 and 3: from the outputs recorded in the artifact,
  from the Paddle model run at that moment, and of batches in another order from single images.
- Seconds: the whole process, both engines and Paddle.
"""


def main() -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description="Time whole validations and print what they find.")
    parser.add_argument("models", nargs="*", metavar="NAME", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for temporary folders")
    options = parser.parse_args()
    names = [find(name).name for name in options.models] or list(MODELS)
    file = options.out / "validation.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["models"] if file.is_file() else {}
    document: dict[str, Any] = {"machine": machine(None), "models": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="onnxzoo-validation-", dir=options.work) as scratch:
            rows[name] = measure(name, Path(scratch))
        log(f"{name}: {'passed' if rows[name]['passed'] else 'FAILED'}, {rows[name]['seconds']:.1f} s")
        for path, text in ((file, json.dumps(document, indent=1) + "\n"), (file.with_suffix(".md"), page(document))):
            path.write_text(text, encoding="utf-8")
    print(page(document))
    return 0 if all(rows[name]["passed"] for name in names) else 1


if __name__ == "__main__":
    sys.exit(main())
