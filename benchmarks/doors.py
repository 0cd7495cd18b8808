"""What other tools make of an artifact: their logits for sample images beside ours.

    python benchmarks/doors.py [--optimum-python PATH] [--transformers-js FOLDER] [--out FOLDER]

`--optimum-python`: a Python with optimum-onnx; `--transformers-js`: a folder whose node_modules has
@huggingface/transformers. What is not given is not measured, and keeps its earlier figures. Writes doors.md and
doors.json. It needs the extras `cpu` and `dev`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import HERE, log

import onnxzoo
from onnxzoo.data.photos import photo
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.image import preprocess
from onnxzoo.model import Model
from onnxzoo.results import Array

MODELS = ("pvt_v2_nano_fashion", "swinv2_nano_fashion")
CLOTHES = HERE.parent / "tests" / "data" / "fashion_mnist_sample"
PHOTOS = ("astronaut", "brick", "camera", "chelsea", "coffee", "hubble_deep_field", "retina", "rocket")
SCRIPTS = HERE / "doors"
TIMEOUT_S = 170

Answer = tuple[Array, dict[str, Any]]
"""The logits [N, classes] of a door, and what it says of itself."""


@dataclass(frozen=True, slots=True)
class Door:
    """Another tool. `answers`: runs it on a model's folder and images, in a working folder."""

    name: str
    answers: Callable[[Model, Sequence[Path], Path], Answer]


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of a door: the largest difference of a logit to ours, and how many of the best classes differ."""

    door: str
    model: str
    images: str
    count: int
    max_abs: float
    answers_differ: int
    versions: str


def finished(command: Sequence[str | Path]) -> None:
    """Run a command; raises SystemExit with the end of its output if it fails."""
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode} from {command[1]}: {(done.stdout + done.stderr)[-2000:]}")


def listed(images: Sequence[Path], work: Path) -> Path:
    """A file that lists the images."""
    file = work / "images.json"
    file.write_text(json.dumps([str(path) for path in images]), encoding="utf-8")
    return file


def from_python(script: str, python: str, artifact: Path, images: Sequence[Path], work: Path) -> tuple[Array, Any]:
    """The array and the description that a script of SCRIPTS writes."""
    finished([python, SCRIPTS / script, artifact, listed(images, work), work / "out.npz"])
    with np.load(work / "out.npz") as found:
        return found[found.files[0]], json.loads(str(found["described"]))


def image_processor(python: str) -> Door:
    """transformers' AutoImageProcessor before our engine."""

    def answers(model: Model, images: Sequence[Path], work: Path) -> Answer:
        pixels, described = from_python("transformers_pixels.py", python, model.artifact.folder, images, work)
        return model.logits(pixels), described

    return Door("transformers' AutoImageProcessor, our engine", answers)


def optimum(python: str) -> Door:
    """optimum's model, with transformers' image processor."""

    def answers(model: Model, images: Sequence[Path], work: Path) -> Answer:
        return from_python("optimum_logits.py", python, model.artifact.folder, images, work)

    return Door("optimum's ORTModelForImageClassification", answers)


def transformers_js(modules: Path) -> Door:
    """transformers.js in Node."""

    def answers(model: Model, images: Sequence[Path], work: Path) -> Answer:
        script, out = SCRIPTS / "transformers_js.mjs", work / "out.json"
        finished(["node", script, modules, model.artifact.folder, listed(images, work), out])
        found = json.loads(out.read_text(encoding="utf-8"))
        return np.array(found["logits"], np.float32), found["described"]

    return Door("transformers.js", answers)


def our_logits(model: Model, images: Sequence[Path]) -> Array:
    """Our logits of the images."""
    return model.logits(np.stack([preprocess(path, model.artifact.preprocess) for path in images]))


def measured(door: Door, model: Model, name: str, images: Sequence[Path]) -> Row:
    """The row of a door for some images. Raises SystemExit if it names the classes differently."""
    with tempfile.TemporaryDirectory(prefix="onnxzoo-doors-") as work:
        found, described = door.answers(model, images, Path(work))
    labels = [described["id2label"][str(number)] for number in range(model.artifact.num_classes)]
    if labels != list(model.artifact.id2label):
        raise SystemExit(f"{door.name} has other classes: {labels}")
    ours = our_logits(model, images)
    return Row(
        door.name,
        model.artifact.name,
        name,
        len(images),
        float(np.abs(found - ours).max()),
        int((found.argmax(axis=1) != ours.argmax(axis=1)).sum()),
        described["versions"],
    )


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The rows as markdown."""
    yield "| tool | model | images | largest difference of a logit | other answers | with |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row['door']} | `{row['model']}` | {row['images']} | {row['max_abs']:.2g} "
            f"| {row['answers_differ']} of {row['count']} | {row['versions']} |"
        )


TEXT = """
What differs:

- transformers' AutoImageProcessor resizes with Pillow as we do, but cuts off the fraction of a pixel of the long side,
  where PaddleClas rounds (`int(round())`). The images of clothing are square, so that nothing is cut off.
- transformers' AutoConfig has the classes and the image size. Its sizes of the network (`embed_dim`, `depths` ...) are
  transformers' defaults: ours stand in `config.architecture`. A model cannot be built from it, only run.
- transformers.js has another resize (that of sharp in Node, that of the canvas in browsers), which is not Pillow's. It
  knows neither `swinv2` nor `pvt_v2`: the model type has to be replaced, as `doors/transformers_js.mjs` does.
  `clients/web` gives our pixels in browsers.
"""


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description="What other tools make of an artifact.")
    parser.add_argument("--transformers-python", default=sys.executable, metavar="PATH", help="default this one")
    parser.add_argument("--optimum-python", metavar="PATH", help="a Python with optimum-onnx")
    parser.add_argument("--transformers-js", type=Path, metavar="FOLDER", help="with @huggingface/transformers")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    doors = [image_processor(options.transformers_python)]
    doors += [optimum(options.optimum_python)] if options.optimum_python else []
    doors += [transformers_js(options.transformers_js)] if options.transformers_js else []
    kept = options.out / "doors.json"
    earlier = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    names = {door.name for door in doors}
    rows = [row for row in earlier if row["door"] not in names]
    with tempfile.TemporaryDirectory(prefix="onnxzoo-doors-photos-") as scratch:
        photos = []
        for name in PHOTOS:
            photos.append(Path(scratch, f"{name}.jpg"))
            photos[-1].write_bytes(photo(f"{name}.jpg"))
        clothes = sorted(CLOTHES.rglob("*.png"))
        for door in doors:
            for model in MODELS:
                with onnxzoo.load(str(SHIPPED_DIR / model), engine="onnxruntime") as loaded:
                    for name, images in (
                        ("clothing, 28 x 28 pixels", clothes),
                        ("photos, 384 to 600 pixels wide", photos),
                    ):
                        log(f"{door.name}: {model}, {name}")
                        rows.append(asdict(measured(door, loaded, name, images)))
    lines = ["# Other tools on our artifacts", "", "Beside onnxzoo on ONNX Runtime, fp32 (`benchmarks/doors.py`).", ""]
    text = "\n".join([*lines, *table(rows), TEXT])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "doors.md").write_text(text, encoding="utf-8")
    kept.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
