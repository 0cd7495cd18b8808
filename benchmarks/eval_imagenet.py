"""Accuracy of the sixteen ImageNet models on your copy of ImageNet: documented and measured, side by side.

    python benchmarks/eval_imagenet.py --data /data/imagenet [--engine openvino] [--models 'swinv2_*'] [--limit N]

`--data` is a folder with `val/<synset>/*.JPEG` or with `val_list.txt` (PaddleClas: lines `path id`). A model needs its
artifact on this machine (`onnxzoo export NAME`); those without one are reported and skipped. Every finished model is
written immediately to --out (JSON), and an interrupted run continues after it; the Markdown table is printed and
written next to it. Only small modules are imported here until a model runs.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from onnxzoo import registry
from onnxzoo.artifact.folder import MODEL_FILES, documented_entry
from onnxzoo.data.layouts import open_dataset
from onnxzoo.errors import ModelNotFoundError, OnnxzooError
from onnxzoo.evaluation.accuracy import evaluate
from onnxzoo.files import atomic_write
from onnxzoo.loading import load
from onnxzoo.source import resolve

LABELS = "imagenet1k"
OUT = Path("out") / "eval_imagenet.json"

Rows = dict[str, dict[str, Any]]


def read_rows(file: Path) -> Rows:
    """The rows of an earlier run by model name; empty if there is no file."""
    if not file.is_file():
        return {}
    rows: Rows = json.loads(file.read_text(encoding="utf-8"))
    return rows


def write_rows(file: Path, rows: Rows) -> None:
    """Replace the file atomically, so that an interruption keeps the earlier rows."""
    with atomic_write(file) as stream:
        stream.write((json.dumps(rows, indent=2) + "\n").encode())


def conditions(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The conditions of a row, which is measured again if they or the ONNX file have changed."""
    artifact = resolve(name, make=False).artifact
    return {
        "data": str(arguments.data.resolve()),
        "engine": arguments.engine,
        "limit": arguments.limit,
        "sha256": artifact.files[MODEL_FILES["fp32"]].sha256,
    }


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluate one model."""
    with load(name, engine=arguments.engine) as model, tqdm(desc=name, unit=" images", disable=None) as bar:
        entry = documented_entry(model.artifact)
        if entry is None:
            raise OnnxzooError(f"{model.artifact.folder} has not the classes of {LABELS}; export {name} again")
        dataset = open_dataset(arguments.data, "val", label_set=LABELS)

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = evaluate(model, dataset, batch_size=arguments.batch_size, limit=arguments.limit, progress=progress)
        return result.to_dict(entry)


def table(names: list[str], rows: Rows) -> list[str]:
    """The README's rows: accuracies in percent, with the 95 % interval of the measured one."""
    lines = [
        "| name | Top-1 documented | measured (95 % interval) | Top-5 documented | measured (95 % interval) | images |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        accuracy, row = registry.find(name).accuracy, rows.get(name)
        top1, top5, images = "not measured", "not measured", ""
        if row is not None:
            top1, top5 = (
                f"{100 * row[key]:.2f} % ({100 * row[f'{key}_interval_95'][0]:.2f} to "
                f"{100 * row[f'{key}_interval_95'][1]:.2f})"
                for key in ("top1", "top5")
            )
            images = str(row["images"])
        cells = (f"`{name}`", f"{100 * accuracy.top1:.2f} %", top1, f"{100 * accuracy.top5:.2f} %", top5, images)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Evaluate the models here; 0 if every requested model has its row, 3 if artifacts are missing, 1 on errors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ImageNet's validation images")
    parser.add_argument("--models", default="*", help="pattern of names")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--limit", type=int, help="maximum number of images, spread evenly")
    parser.add_argument("--out", type=Path, default=OUT, help="finished rows as JSON; the table is written next to it")
    arguments = parser.parse_args()
    names = [
        entry.name
        for entry in registry.models().values()
        if entry.labels == LABELS and fnmatch.fnmatchcase(entry.name, arguments.models)
    ]
    rows, done, missing, failed = read_rows(arguments.out), [], [], []
    for name in names:
        try:
            wanted = conditions(name, arguments)
            if rows.get(name, {}).get("conditions") != wanted:
                rows[name] = {"conditions": wanted, **measure(name, arguments)}
                write_rows(arguments.out, rows)
            done.append(name)
        except ModelNotFoundError:
            missing.append(name)
        except OnnxzooError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
    lines = table(names, {name: rows[name] for name in done})
    with atomic_write(arguments.out.with_suffix(".md")) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
    print("\n".join(lines))
    for name in done:
        if rows[name]["unreadable"]:
            print(f"{name}: {len(rows[name]['unreadable'])} unreadable images were left out", file=sys.stderr)
    if missing:
        print(f"not on this machine (onnxzoo export NAME): {' '.join(missing)}", file=sys.stderr)
    return 1 if failed else 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
