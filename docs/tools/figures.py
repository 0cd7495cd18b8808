"""Tables of measured figures, from benchmarks/results/*.json, so that no page differs from what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
ONNX_RUNTIME, OPENVINO, FREE_BATCH = "onnxruntime", "openvino-static", "openvino"
"""How graphs.json calls the engines as onnxzoo runs them for one image, and OpenVINO without a fixed batch size."""
OURS, PADDLE2ONNX = "onnxzoo", "paddle2onnx + onnxsim"
CONTENDERS = {
    "openvino": "onnxzoo, OpenVINO",
    "onnxruntime": "onnxzoo, ONNX Runtime",
    "paddle": "Paddle Inference",
    "torch": "PyTorch eager",
    "torch-compile": "torch.compile",
}
"""How bench.json calls what is compared, and the tables."""


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    names = list(header)
    first, *rest = (f"| {' | '.join(line)} |".replace("|  |", "| |") for line in (names, *rows))
    return "\n".join([first, "|---" * len(names) + "|", *rest])


def percent(share: float) -> str:
    """A share as a percentage with two digits."""
    return f"{100 * share:.2f} %"


def read(name: str) -> Any:
    """The document of this name in benchmarks/results/."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def speed() -> str:
    """Milliseconds of one image in our engines and in the peers, the minima of one run for each family."""
    rows: dict[str, dict[str, float]] = {}
    for row in (row for document in read("bench") for row in document["results"]):
        if row["batch_size"] == 1 and row["contender"] in CONTENDERS and not row["error"]:
            rows.setdefault(row["model"], {})[row["contender"]] = row["speed"]["min_ms"]
    cells = [[f"`{name}`", *(f"{found[one]:.1f}" for one in CONTENDERS)] for name, found in sorted(rows.items())]
    return table(["ms per image", *CONTENDERS.values()], cells)


def graphs() -> str:
    """Our graphs against those of paddle2onnx and onnxsim: nodes, and our time as a ratio to theirs."""
    rows = []
    for name, model in read("graphs")["models"].items():
        nodes = {one["graph"]: one["nodes"] for one in model["graphs"]}
        engines = (ONNX_RUNTIME, FREE_BATCH, OPENVINO)
        ratios = [f"{model['ratios'][f'{OURS} : {PADDLE2ONNX}, {engine}']:.2f}" for engine in engines]
        rows.append([f"`{name}`", f"{nodes[OURS]} / {nodes[PADDLE2ONNX]}", *ratios])
    header = ["", "nodes, ours / theirs", "ONNX Runtime", "OpenVINO, any batch size", "OpenVINO, fixed batch size"]
    return table(header, rows)


def cold_start() -> str:
    """Time and memory of a whole process for one image."""
    models = read("cold_start")["models"]
    rows = []
    for contenders in zip(*models.values(), strict=True):
        cells = ((f"{one['wall_min_s']:.2f} s", f"{one['peak_min_mib']:.0f} MiB") for one in contenders)
        rows.append([contenders[0]["name"], *(cell for pair in cells for cell in pair)])
    return table(["", *(f"`{name}`: {what}" for name in models for what in ("time", "memory"))], rows)


def differences() -> str:
    """The largest difference of every model to the textbook model in Paddle, by engine."""
    rows = []
    for name, model in read("all_models")["models"].items():
        largest = (max(model["max_abs"][engine].values()) for engine in ("openvino", "onnxruntime"))
        rows.append([f"`{name}`", *(f"{value:.1e}" for value in largest)])
    return table(["largest difference to Paddle", "OpenVINO", "ONNX Runtime"], rows)


def int8() -> str:
    """Top-1 and sizes of the shipped models' files."""
    shipped = read("quantization")["shipped"]
    rows = []
    for model in dict.fromkeys(one["model"] for one in shipped):
        for precision in ("fp32", "int8", "fp16"):
            found = {one["engine"]: one for one in shipped if (one["model"], one["precision"]) == (model, precision)}
            top1 = (percent(found[engine]["top1"]) for engine in ("onnxruntime", "openvino"))
            rows.append([f"`{model}`", precision, *top1, f"{found['openvino']['share']:.2f}"])
    return table(["", "precision", "Top-1, ONNX Runtime", "Top-1, OpenVINO", "size of the file"], rows)
