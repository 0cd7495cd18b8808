"""The rows of gpu.py: kept from run to run in gpu.json, shown in gpu.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxzoo.bench.timing import Contender, Gate, summary
from onnxzoo.files import atomic_write
from onnxzoo.registry import models

TORCH = "PyTorch "
EAGER = TORCH + "eager"
# |ours - Paddle| <= t + t |Paddle|, as in `onnxzoo validate`. transformers' code has roundings in other places.
TOLERANCE, TORCH_TOLERANCE = 1e-4, 1e-3

Row = dict[str, Any]


class Results:
    """The file gpu.json in `folder`: `rows[model][batch][contender]`, saved after every change of a row.

    Raises SystemExit if the existing file is of another machine (`device` and `cpu` of `machine`).
    """

    def __init__(self, folder: Path, machine: Mapping[str, str]) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, dict[str, Row]]] = {}
        self.machine = dict(machine)
        file = folder / "gpu.json"
        if not file.is_file():
            return
        document = json.loads(file.read_text(encoding="utf-8"))
        for fact in ("device", "cpu"):
            if document["machine"].get(fact) != machine[fact]:
                raise SystemExit(
                    f"{file} was measured on another machine ({fact} {document['machine'].get(fact)!r}, here "
                    f"{machine[fact]!r}); name another --out"
                )
        self.rows = document["rows"]

    def group(self, model: str, batch: int) -> dict[str, Row]:
        """The rows of one model at one batch size, by contender."""
        return self.rows.setdefault(model, {}).setdefault(str(batch), {})

    def all(self) -> Iterator[tuple[str, str, str, Row]]:
        """Model, batch size, contender and row, models in the registry's order, PyTorch's rows last."""
        for model in (name for name in models() if name in self.rows):
            for batch in sorted(self.rows[model], key=int):
                rows = self.rows[model][batch]
                for contender, row in sorted(rows.items(), key=lambda item: item[0].startswith(TORCH)):
                    yield model, batch, contender, row

    def save(self) -> None:
        """Write both files atomically."""
        document = {"machine": self.machine, "rows": self.rows}
        for name, text in (("gpu.json", json.dumps(document, indent=1) + "\n"), ("gpu.md", self.page())):
            with atomic_write(self.folder / name) as file:
                file.write(text.encode())

    def table(self) -> str:
        """All rows as markdown."""
        lines = [
            "| model | batch | | largest difference | images/s, best | median | of eager | build, s | start, s "
            "| second start, s | nodes | |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for model, batch, contender, row in self.all():
            eager = images_per_second(self.rows[model][batch].get(EAGER, {}), batch)
            cells = [model, batch, contender, *_figures(row, batch, eager), "; ".join(shortcomings(contender, row))]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def page(self) -> str:
        """The whole markdown file."""
        described = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        return f"""# All models on {self.machine["device"]}

`python benchmarks/gpu.py`, seeded weights, exact fp32 (no TF32), from numpy arrays to numpy arrays; {described}

{self.table()}

- Largest difference: |logits or embedding - textbook Paddle model| over all conformance vectors, in batches of this size.
- Images/s: of the fastest batch and of the median one. A process each, in turn; see benchmarks/README.md.
- Of eager: best to best, against PyTorch eager (transformers' implementation, same weights).
- Build: of the compiled model that is kept. Start: load and first batch in a fresh process, libraries' imports included for
  onnxzoo and not for PyTorch, with nothing kept; second start: the same with what the first kept.
- Nodes: of the graph per provider or device, as the engine assigned them.
"""  # noqa: E501 - a line of markdown


def finished(row: Row) -> bool:
    """Whether a row is complete, either timed or failed."""
    return bool(row.get("error") or row.get("timing"))


def images_per_second(row: Row, batch: str | int, which: str = "min_ms") -> float | None:
    """Images per second from the milliseconds of one batch; None if they were not measured."""
    return 1000 * int(batch) / row["timing"][which] if row.get("timing") else None


def shortcomings(contender: str, row: Row) -> list[str]:
    """The faults of a row; [] for a correct one and for one that is not measured yet."""
    if row.get("error"):
        return [row["error"].replace("|", "\\|")]
    tolerance = TORCH_TOLERANCE if contender.startswith(TORCH) else TOLERANCE
    found = []
    if "relative" in row and not row["relative"] <= tolerance:
        found.append(f"differs by {row['relative']:.1e} (1 + |reference|), at most {tolerance:g}")
    if not row.get("top1", True):
        found.append("another best class")
    return found


def differences(outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> Row:
    """The differences of outputs [M, ...] from the reference's [K, ...], which is repeated after K.

    `max_abs` by output; `relative`: the smallest t with |difference| <= t + t |reference| everywhere; `top1`: whether
    the best class is the same everywhere. Raises ValueError for shapes that do not match.
    """
    found: Row = {"max_abs": {}, "relative": 0.0}
    for name, values in outputs.items():
        expected = reference[name]
        if values.shape[1:] != expected.shape[1:]:
            raise ValueError(f"{name}: shape {values.shape}, expected {expected.shape}")
        expected = np.resize(expected, values.shape).astype(np.float64)
        gap = np.abs(values - expected)
        found["max_abs"][name] = float(gap.max())
        # numpy's max propagates NaN, Python's does not.
        found["relative"] = float(np.max([found["relative"], (gap / (1 + np.abs(expected))).max()]))
        if name == "logits":
            found["top1"] = bool((values.argmax(1) == expected.argmax(1)).all())
    return found


def timed(contender: Contender, gate: Gate) -> Row:
    """The summary of a contender's samples."""
    keys = ("min_ms", "median_ms", "samples_kept", "samples", "all_samples_ms")
    return {key: value for key, value in summary(contender, gate).items() if key in keys}


def _figures(row: Row, batch: str, eager: float | None) -> list[str]:
    """The middle cells of a row."""
    best, median = (images_per_second(row, batch, which) for which in ("min_ms", "median_ms"))
    of_eager = None if best is None or eager is None else best / eager
    worst = max(row["max_abs"].values()) if "max_abs" in row else None
    nodes = ", ".join(f"{name.removesuffix('ExecutionProvider')} {n}" for name, n in row.get("nodes", {}).items())
    return [
        _cell(worst, ".1e"),
        _cell(best, ".1f"),
        _cell(median, ".1f"),
        _cell(of_eager, ".2f"),
        _cell(row.get("build_s"), ".1f"),
        _cell(row.get("start_s"), ".2f"),
        _cell(row.get("second_start_s"), ".2f"),
        nodes,
    ]


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
