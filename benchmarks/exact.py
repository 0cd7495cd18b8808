"""The differences of all engines, including Paddle, from the exact reference, and the costs of the exact reference.

    python benchmarks/exact.py [NAME ...] [--torch-python PATH] [--again] [--out DIR]

Runs all models of the registry with seeded weights: the exact reference, which computes in float64, and the textbook
Paddle model; with `--torch-python` timm's implementation in PyTorch, from a safetensors file in timm's layout; for
the models of ENGINE_MODELS also the exported artifact in ONNX Runtime and OpenVINO and, with `--torch-python`,
transformers' implementation. All but the exact reference compute in fp32. Writes DIR/exact.json and DIR/exact.md
(default benchmarks/results) after every model and keeps finished rows. Linux. Exit code 1 if a difference from
the exact reference exceeds LIMIT.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import log, machine
from graph_peers import PEERS, command
from seeded_artifact import SEED, exported

from onnxzoo.registry import find, models

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
from official_weights import official_file  # noqa: E402

STEPS = HERE / "exact_steps.py"
ENGINE_MODELS = ("pvt_v2_b0", "pvt_v2_b2_linear", "swinv2_tiny_w8", "swinv2_small_w16")
PADDLE, TIMM, TRANSFORMERS, ENGINES = (
    "Paddle",
    "timm",
    "transformers",
    {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"},
)
LIMIT = 1e-4


def measure(name: str, folder: Path, torch_python: str | None) -> dict[str, Any]:
    """The row of one model."""
    environment = {**os.environ, "ONNXZOO_CACHE": str(folder / "cache"), "GLOG_minloglevel": "2"}

    def step(kind: str, *more: str | Path) -> tuple[dict[str, Any], Path]:
        out = folder / f"{kind}.npz"
        printed = command([sys.executable, STEPS, kind, name, out, *more], environment)
        return json.loads(printed.splitlines()[-1]), out

    facts, out = step("exact")
    log(f"{name}: exact in {min(facts['seconds']):.2f} s, {facts['extra_mib']:.0f} MiB beside the weights")
    expected = dict(np.load(out))
    row: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "params_m": find(name).params_m, **facts}
    row["distances"] = {PADDLE: distances(expected, dict(np.load(step("paddle")[1])))}
    if name in ENGINE_MODELS:
        made = exported(name, folder)
        for engine, kind in ENGINES.items():
            row["distances"][engine] = distances(expected, dict(np.load(step(kind, made)[1])))
        if torch_python is not None:
            outputs = transformers_outputs(name, folder, torch_python, environment)
            row["distances"][TRANSFORMERS] = distances(expected, outputs)
    if torch_python is not None:
        row["distances"][TIMM] = distances(expected, timm_outputs(name, folder, torch_python, environment))
    return row


def timm_outputs(name: str, folder: Path, torch_python: str, environment: dict[str, str]) -> dict[str, np.ndarray]:
    """Logits and embeddings of timm's implementation with the same weights."""
    entry, images, out = find(name), folder / "images.npy", folder / "timm.npz"
    command([sys.executable, STEPS, "images", name, images], environment)
    weights = official_file(entry, folder / "timm.safetensors", SEED)
    timm_name = str(entry.source.timm_repo).partition("/")[2].partition(".")[0]
    command([torch_python, PEERS / "timm_official.py", timm_name, weights, images, out], environment)
    return dict(np.load(out))


def transformers_outputs(
    name: str, folder: Path, torch_python: str, environment: dict[str, str]
) -> dict[str, np.ndarray]:
    """The logits of transformers' implementation with the same weights, eager on the processor, image by image."""
    images, environment = folder / "images.npy", {**environment, "PYTHONPATH": str(HERE.parent)}
    command([sys.executable, STEPS, "images", name, images], environment)
    logits = []
    for index, image in enumerate(np.load(images)):
        one, out = folder / f"image{index}.npy", folder / f"torch{index}.npy"
        np.save(one, image[None])
        peer = [torch_python, PEERS / "torch_same_weights.py", "serve", name, str(SEED), one, out]
        command([*peer, str(os.cpu_count())], environment)
        logits.append(np.load(out))
    return {"logits": np.concatenate(logits)}


def distances(expected: dict[str, np.ndarray], actual: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """For each output: the largest |actual - exact|, its root mean square, and the largest |exact|."""
    found = {}
    for output, values in actual.items():
        difference = values.astype(np.float64) - expected[output]
        found[output] = {
            "max": float(np.abs(difference).max()),
            "rms": float(np.sqrt(np.square(difference).mean())),
            "largest": float(np.abs(expected[output]).max()),
        }
    return found


def shortcomings(row: dict[str, Any]) -> list[str]:
    """The differences that exceed LIMIT or are not a number."""
    return [
        f"{engine}: {output} differs by {figures['max']:.1e}"
        for engine, outputs in row["distances"].items()
        for output, figures in outputs.items()
        if not figures["max"] <= LIMIT
    ]


def table(rows: dict[str, dict[str, Any]]) -> str:
    """All finished rows as markdown, in the registry's order."""
    columns = [PADDLE, *ENGINES, TIMM, TRANSFORMERS]
    columns = [column for column in columns if any(column in row["distances"] for row in rows.values())]
    lines = [f"| model | parameters, M | {' | '.join(columns)} | seconds per image | beside the weights, MiB |"]
    lines.append("|---" * (len(columns) + 4) + "|")
    for name in (name for name in models() if name in rows):
        row = rows[name]
        cells = []
        for column in columns:
            outputs = row["distances"].get(column, {})
            figures = (outputs[output] for output in ("logits", "embedding") if output in outputs)
            cells.append(", ".join(f"{figure['max']:.1e} ({figure['rms']:.0e})" for figure in figures))
        lines.append(
            f"| {name} | {row['params_m']} | {' | '.join(cells)} | {min(row['seconds']):.2f} | {row['extra_mib']:.0f} |"
        )
    return "\n".join(lines)


def page(document: dict[str, Any]) -> str:
    """The whole markdown file."""
    described = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    return f"""# Distance from the exact reference

`python benchmarks/exact.py`, seeded weights; {described}

{table(document["models"])}

- Largest |engine - exact| and, in brackets, its root mean square, over two images (noise, plain colours): of the
  logits, then of the embedding. Logits and embeddings are of order one, up to 6. Engines compute in fp32 and
  the exact reference in float64, so these are the engines' own errors. timm and transformers run in PyTorch eager.
- Seconds per image: of the exact reference, the least of two to eight runs. Others used the machine at the same time;
  threads that wait for each other in a matrix product make that cost several times what it costs alone.
- Beside the weights: the largest memory of the exact reference's process while it runs, less what was resident before,
  which includes the weights in float32.
"""


def main() -> int:
    """Parse the arguments, measure the missing rows, write."""
    parser = argparse.ArgumentParser(description="The distance of every engine from the exact reference.")
    parser.add_argument("models", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--torch-python", metavar="PATH", help="a Python that has torch, timm and transformers")
    parser.add_argument("--again", action="store_true", help="repeat rows that already exist")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for temporary folders")
    options = parser.parse_args()
    names = [find(name).name for name in options.models] or [name for name in models() if find(name).source.url]
    file = options.out / "exact.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["models"] if file.is_file() else {}
    document: dict[str, Any] = {"machine": machine(options.torch_python), "models": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in rows and not options.again:
            log(f"{name}: done already")
            continue
        with tempfile.TemporaryDirectory(prefix="onnxzoo-exact-", dir=options.work) as scratch:
            rows[name] = measure(name, Path(scratch), options.torch_python)
        log(f"{name}: {'; '.join(shortcomings(rows[name])) or 'ok'}")
        for path, text in ((file, json.dumps(document, indent=1) + "\n"), (file.with_suffix(".md"), page(document))):
            path.write_text(text, encoding="utf-8")
    print(table(rows))
    return 1 if any(shortcomings(rows[name]) for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
