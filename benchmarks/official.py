"""First loads by name from official weights with the base install only: seconds, memory, differences.

    python benchmarks/official.py --base-python PATH [NAME ...] [--out DIR]

A Hub on loopback has seeded weights in place of timm's official ones. In the base environment one process loads the
model by its name (download, assembling, self-check), a second one loads it again, a third one offline, and it is
validated. The outputs are compared with the textbook Paddle model and the exact reference, which run here. Writes
DIR/official.json and DIR/official.md (default benchmarks/results) after every model and keeps finished rows. Linux.
Exit code 1 if a limit is exceeded.
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
from cold_start import PHOTO, log, machine
from exact import distances
from graph_peers import command
from seeded_artifact import SEED

from onnxzoo.registry import find

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
from hub_server import LoopbackHub  # noqa: E402
from official_weights import official_file  # noqa: E402

STEPS, CHILD = HERE / "exact_steps.py", HERE / "official_child.py"
NAMES = ("pvt_v2_b0", "pvt_v2_b2_linear", "swinv2_tiny_w8", "swinv2_small_w16", "swinv2_base_w24")
LIMIT = 1e-4
MEMORY_FACTOR, MEMORY_MB = 3, 400
"""Maximum memory of a first load: this multiple of the weights' size, plus this many MB."""


def measure(name: str, folder: Path, base_python: str) -> dict[str, Any]:
    """The row of one model."""
    entry = find(name)
    hub = LoopbackHub()
    published = folder / "published"
    published.mkdir()
    file = official_file(entry, published / "model.safetensors", SEED)
    weights_mb = file.stat().st_size / 1e6
    hub.store.add_repo(str(entry.source.timm_repo), published)
    file.unlink()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))},
        **hub.environment,
        "HF_HOME": str(folder / "hf"),
        "ONNXZOO_CACHE": str(folder / "zoo"),
    }
    images = folder / "images.npy"
    command([sys.executable, STEPS, "images", name, images], dict(os.environ))

    def child(kind: str, more: dict[str, str] | None = None) -> dict[str, Any]:
        hub.log.clear()
        printed = command(
            [base_python, "-P", CHILD, kind, name, images, folder / "outputs.npz", PHOTO], environment | (more or {})
        )
        return {**json.loads(printed.splitlines()[-1]), "requests": len(hub.log.all()), "sent_mb": hub.log.sent() / 1e6}

    row: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "params_m": entry.params_m, "weights_mb": weights_mb}
    row["first"] = child("first")
    row["second"] = child("again")
    row["offline"] = child("again", {"HF_HUB_OFFLINE": "1"})
    row["validate"] = child("validate")
    hub.close()
    actual = dict(np.load(folder / "outputs.npz"))
    for kind in ("exact", "paddle"):
        out = folder / f"{kind}.npz"
        command([sys.executable, STEPS, kind, name, out], {**os.environ, "GLOG_minloglevel": "2"})
        row[kind] = distances(dict(np.load(out)), actual)
    return row


def shortcomings(row: dict[str, Any]) -> list[str]:
    """The limits that a row exceeds."""
    found = [
        f"{kind}: {output} differs by {figures['max']:.1e}"
        for kind in ("exact", "paddle")
        for output, figures in row[kind].items()
        if not figures["max"] <= LIMIT
    ]
    most = MEMORY_FACTOR * row["weights_mb"] + MEMORY_MB
    if row["first"]["peak_mb"] > most:
        found.append(f"peak memory {row['first']['peak_mb']:.0f} MB, expected up to {most:.0f}")
    found += [f"{kind}: {row[kind]['requests']} requests" for kind in ("second", "offline") if row[kind]["requests"]]
    if row["first"]["importable"]:
        found.append(f"importable: {', '.join(row['first']['importable'])}")
    if row["validate"]["failed"]:
        found.append(f"{row['validate']['failed']} checks of validate failed")
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """All finished rows as markdown."""
    heads = (
        "model | weights, MB | to Paddle | to exact | download, s | assemble, s | exact, s | compare, s "
        "| peak, MB (limit) | first load: requests, MB | second load, s (requests)"
    )
    lines = [f"| {heads} |", "|---" * (heads.count("|") + 1) + "|"]
    for name, row in rows.items():
        largest = [max(figures["max"] for figures in row[kind].values()) for kind in ("paddle", "exact")]
        first, second = row["first"], row["second"]
        steps = first["steps"]
        most = MEMORY_FACTOR * row["weights_mb"] + MEMORY_MB
        cells = [name, f"{row['weights_mb']:.0f}", *(f"{value:.1e}" for value in largest)]
        cells += [f"{steps[0]:.1f}", f"{steps[1] + steps[2]:.1f}", f"{steps[3]:.1f}", f"{steps[4]:.1f}"]
        cells += [f"{first['peak_mb']:.0f} ({most:.0f})", f"{first['requests']}, {first['sent_mb']:.0f}"]
        cells += [f"{second['seconds']:.1f} ({second['requests']})"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(document: dict[str, Any]) -> str:
    """The whole markdown file."""
    described = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    return f"""# First loads by name from official weights

`python benchmarks/official.py`, seeded weights on a Hub on loopback; base install only (no Paddle, onnx, ONNX Runtime
or PyTorch importable); {described}

{table(document["models"])}

- To Paddle, to exact: the largest difference in OpenVINO, of logits and embedding, over two images (noise, plain
  colours).
- Download: from loopback. Assemble: reading the weights and filling the graph. Exact: two images through the exact
  reference. Compare: the same in OpenVINO, and the artifact's files. Others used the machine at the same time; the
  exact reference's matrix products then cost several times what they cost alone.
- Peak: the largest memory of the whole process of the first load and its predictions. The limit is three times the
  weights and 400 MB.
- A second load, and one offline, make no request. `validate` passed for every model.
"""


def main() -> int:
    """Parse the arguments, measure the missing rows, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="NAME", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--base-python", required=True, metavar="PATH", help="a Python with the base install only")
    parser.add_argument("--again", action="store_true", help="repeat rows that already exist")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args()
    names = [find(name).name for name in options.models] or list(NAMES)
    file = options.out / "official.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["models"] if file.is_file() else {}
    document: dict[str, Any] = {"machine": machine(None), "models": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in rows and not options.again:
            log(f"{name}: done already")
            continue
        with tempfile.TemporaryDirectory(prefix="onnxzoo-official-") as scratch:
            rows[name] = measure(name, Path(scratch), options.base_python)
        log(f"{name}: {'; '.join(shortcomings(rows[name])) or 'ok'}")
        for path, text in ((file, json.dumps(document, indent=1) + "\n"), (file.with_suffix(".md"), page(document))):
            path.write_text(text, encoding="utf-8")
    print(table(rows))
    return 1 if any(shortcomings(rows[name]) for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
