"""The table of all models: nodes, bytes, differences from Paddle, and time and memory of their export.

    python benchmarks/all_models.py [NAME ...] [--again] [--out DIR]

Exports every model with seeded weights, one at a time, and compares it with the reference on both engines. Writes
DIR/all_models.json and DIR/all_models.md (default benchmarks/results) after every model and keeps finished rows, so
that it can be stopped and started again; --again repeats the named rows (or all). Needs 24 GB of memory and 5 GB of
disk for the largest model. Exit code 1 if a model failed or exceeds a limit.
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

from cold_start import log, machine
from graph_peers import command

from onnxzoo.registry import find, models

HERE = Path(__file__).resolve().parent
STEPS = HERE / "all_models_steps.py"
TOLERANCE = 1e-4
ENGINES, BATCHES = ("onnxruntime", "openvino"), ("1", "2", "3")


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Export and compare one model in `folder`; returns its row, with `error` if something failed."""
    weights, artifact = folder / "weights.pdparams", folder / "artifact"
    environment = {**os.environ, "ONNXZOO_CACHE": str(folder / "cache"), "GLOG_minloglevel": "2"}
    row: dict[str, Any] = {"params_m": find(name).params_m, "date": time.strftime("%Y-%m-%d"), "error": ""}
    row["bytes_limit"] = round(1.03 * 4e6 * row["params_m"] + 6e6)
    try:
        command([sys.executable, STEPS, "weights", name, weights], environment)
        log(f"{name}: exporting")
        arguments: list[str | Path] = ["export", name, "--weights", weights, "--out", artifact, "--json"]
        printed = command([sys.executable, "-P", "-m", "onnxzoo", *arguments], environment)
        row |= {key: value for key, value in json.loads(printed)["results"][0].items() if key != "folder"}
        log(f"{name}: {row['seconds']:.0f} s, {row['peak_mib']:.0f} MiB; comparing with Paddle")
        printed = command([sys.executable, STEPS, "check", name, artifact, weights], environment)
        row |= json.loads(printed.splitlines()[-1])
    except SystemExit as error:
        row["error"] = str(error).strip().splitlines()[-1]
    return row


def shortcomings(row: dict[str, Any]) -> list[str]:
    """The project's limits that a row exceeds; [] if there are none."""
    if row["error"]:
        return [row["error"]]
    found = [f"{name} {count}" for name, count in {**row["unwanted"], **row["foreign"]}.items()]
    found += row["integer_arithmetic"][:1] + row["problems"][:1]
    if row["bytes"] > row["bytes_limit"]:
        found.append(f"{row['bytes'] / 1e6:.1f} MB, at most {row['bytes_limit'] / 1e6:.1f}")
    worst = [row["max_abs"].get(engine, {}).get(batch, float("nan")) for engine in ENGINES for batch in BATCHES]
    if not all(value <= TOLERANCE for value in worst):
        found.append(f"differs by more than {TOLERANCE:g}")
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """All finished rows as markdown, in the registry's order."""
    batches = " / ".join(BATCHES)
    lines = [
        f"| model | parameters, M | nodes | file, MB | limit, MB | ONNX Runtime, batch {batches} "
        f"| OpenVINO, batch {batches} | export, s | peak, MiB | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in models() if name in rows):
        row = rows[name]
        verdict = "; ".join(shortcomings(row)) or "ok"
        if row["error"]:
            lines.append(f"| {name} | {row['params_m']} | | | | | | | | {verdict} |")
            continue
        differences = [
            " / ".join(f"{row['max_abs'].get(engine, {}).get(batch, float('nan')):.1e}" for batch in BATCHES)
            for engine in ENGINES
        ]
        lines.append(
            f"| {name} | {row['params_m']} | {row['nodes']} | {row['bytes'] / 1e6:.1f} "
            f"| {row['bytes_limit'] / 1e6:.1f} | {' | '.join(differences)} "
            f"| {row['seconds']:.0f} | {row['peak_mib']:.0f} | {verdict} |"
        )
    return "\n".join(lines)


def page(document: dict[str, Any]) -> str:
    """The whole markdown file."""
    described = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    return f"""# All models

`python benchmarks/all_models.py`, seeded weights; {described}

{table(document["models"])}

- Differences: the largest |engine - textbook Paddle model| over logits and embedding, for the conformance inputs and fresh noise.
- Limit: 1.03 times the parameters' 4 bytes, plus 6 MB.
- Export: wall time of `onnxzoo export`. Peak: of its own process plus its largest child, which bounds what they held together.
- ok: within the limit, within {TOLERANCE:g} of the reference, none of the unwanted operators of `exports/graph_facts.py`,
  ONNX's own operators only, integers only as stored shapes, indices and axes.
"""  # noqa: E501 - a line of markdown


def save(document: dict[str, Any], folder: Path) -> None:
    """Write both files atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("all_models.json", json.dumps(document, indent=1) + "\n"), ("all_models.md", page(document))):
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)


def main() -> int:
    """Parse the arguments, measure the missing rows, write."""
    parser = argparse.ArgumentParser(description="Export every model and compare it with Paddle; writes a table.")
    parser.add_argument("models", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--again", action="store_true", help="repeat rows that already exist")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for temporary folders, 5 GB")
    options = parser.parse_args()
    names = [find(name).name for name in options.models] or list(models())
    file = options.out / "all_models.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["models"] if file.is_file() else {}
    document: dict[str, Any] = {"machine": machine(None), "models": rows}
    for number, name in enumerate(names, start=1):
        if name in rows and not rows[name]["error"] and not options.again:
            log(f"{name}: done already")
            continue
        log(f"{name}: {number} of {len(names)}, writing seeded weights")
        with tempfile.TemporaryDirectory(prefix="onnxzoo-all-", dir=options.work) as scratch:
            rows[name] = measure(name, Path(scratch))
        save(document, options.out)
        log(f"{name}: {'; '.join(shortcomings(rows[name])) or 'ok'}")
    print(table(rows))
    return 1 if any(shortcomings(rows[name]) for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
