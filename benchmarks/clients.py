"""The C++ client against Python: build, sizes, time of one image, and differences for each model and image.

    python benchmarks/clients.py [--onnxruntime FOLDER] [--out FILE]

FOLDER has ONNX Runtime's include/ and lib/. Models: the two that ship, and pvt_v2_b0 and swinv2_tiny_w8 with seeded
weights (see seeded_artifact.py). Images: the photos of the package, and the golden images of `onnxzoo validate
--preprocess`.
Needs a C++ compiler, CMake, the headers of libjpeg and libpng, and OpenVINO.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from cold_start import log
from seeded_artifact import assembled

import onnxzoo
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cpu import cpu
from onnxzoo.image import preprocess

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "clients" / "cpp"
SHIPPED = ("pvt_v2_nano_fashion", "swinv2_nano_fashion")
SEEDED = ("pvt_v2_b0", "swinv2_tiny_w8")
PHOTOS = sorted((ROOT / "onnxzoo" / "data" / "photos").glob("*.jpg"))
GOLDEN = ROOT / "validators" / "golden" / "cases.npz"
RUNS = 3


def finished(command: Sequence[str | Path]) -> str:
    """Standard output of a command; raises SystemExit if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def built(build: Path, onnxruntime: Path | None) -> list[str]:
    """Build the client in Release mode; rows of what it takes."""
    import openvino.utils

    options = [f"-DOpenVINO_DIR={openvino.utils.get_cmake_path()}", "-DCMAKE_BUILD_TYPE=Release", "-DONNXZOO_TESTS=ON"]
    options += [f"-DONNXRUNTIME_ROOT={onnxruntime.resolve()}"] if onnxruntime else []
    configuring = processor_seconds(["cmake", "-S", SOURCE, "-B", build, *options])
    rows = [f"| cmake's configuration | {configuring:.1f} s |"]
    for target in ("zoo-predict", "zoo-pixels"):
        compiling = processor_seconds(["cmake", "--build", build, "--target", target])
        stripped = build / f"{target}.stripped"
        finished(["strip", "-o", stripped, build / target])
        what = "the command" if target == "zoo-predict" else "decoding and preprocessing alone, no engine"
        rows.append(
            f"| {target}, {what} | {compiling:.1f} s, {stripped.stat().st_size / 1024:.0f} KiB without symbols |"
        )
    return rows


def written_golden(folder: Path) -> list[tuple[str, Path]]:
    """The golden images as files, with their names."""
    images = []
    with np.load(GOLDEN) as cases:
        for number, name in enumerate(cases["names"]):
            images.append((str(name), folder / f"golden-{number}"))
            images[-1][1].write_bytes(cases[f"image_{number}"].tobytes())
    return images


def compared(build: Path, artifact: Path, images: list[tuple[str, Path]], engine: str) -> tuple[list[str], str]:
    """A cell per image, the greatest difference of its logits, and a summary of all."""
    paths = [path for _, path in images]
    spec = read_artifact(artifact).preprocess
    expected = np.stack([preprocess(path, spec) for path in paths])
    got = finished([build / "zoo-pixels", artifact, *paths])
    equal = sum(
        bytes.fromhex(line) == tensor.tobytes() for line, tensor in zip(got.splitlines(), expected, strict=True)
    )
    with onnxzoo.load(str(artifact), engine=engine) as model:
        logits = np.concatenate([model.logits(one[None]) for one in expected])
    found = finished([build / "zoo-predict", "--engine", engine, "--json", "--logits", artifact, *paths])
    theirs = np.array([result["logits"] for result in json.loads(found)["results"]], np.float32)
    differences = np.abs(theirs - logits).max(axis=1)
    same = int((theirs.argmax(axis=1) == logits.argmax(axis=1)).sum())
    summary = (
        f"| {artifact.name} | {engine} | {equal} of {len(paths)} | {differences.max():.1e} | "
        f"{np.abs(logits).max():.3g} | {same} of {len(paths)} |"
    )
    return [f"{difference:.1e}" for difference in differences], summary


def processor_seconds(command: Sequence[str | Path]) -> float:
    """The time that a command takes of all cores, which other programs on the machine hardly change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def times(build: Path, artifact: Path, engine: str) -> str:
    """A row of the least processor seconds of whole processes that classify one photo."""
    python = [sys.executable, "-P", "-m", "onnxzoo", "predict", "--engine", engine, artifact, PHOTOS[0]]
    client = [build / "zoo-predict", "--engine", engine, artifact, PHOTOS[0]]
    best = [min(processor_seconds(command) for _ in range(RUNS)) for command in (client, python)]
    return f"| {artifact.name} | {engine} | {best[0]:.2f} | {best[1]:.2f} |"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxruntime", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "clients.md")
    options = parser.parse_args()
    engines = ["openvino", *(["onnxruntime"] if options.onnxruntime else [])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        log("building")
        build_rows = built(folder / "build", options.onnxruntime)
        artifacts = [ROOT / "onnxzoo" / "shipped" / name for name in SHIPPED]
        artifacts += [assembled(name, folder) for name in SEEDED]
        images = [(path.name, path) for path in PHOTOS] + written_golden(folder)
        columns, summaries, timed = [], [], []
        for artifact in artifacts:
            for engine in engines:
                log(f"{artifact.name}: {engine}")
                cells, summary = compared(folder / "build", artifact, images, engine)
                summaries.append(summary)
                timed.append(times(folder / "build", artifact, engine))
                if engine == engines[0]:
                    columns.append(cells)
    compiler = finished([shutil.which("c++") or "c++", "--version"]).splitlines()[0]
    names = " | ".join(artifact.name for artifact in artifacts)
    lines = [
        "# The C++ client against Python",
        "",
        f"`python benchmarks/clients.py{' --onnxruntime ...' if options.onnxruntime else ''}` on {date.today()}: "
        f"{cpu()}, {compiler}. The weights of {' and '.join(SEEDED)} are seeded random numbers.",
        "",
        f"{len(images)} images ({len(PHOTOS)} photos, {len(images) - len(PHOTOS)} golden images of all kinds), "
        "the same engine in both languages; inputs are compared bit for bit:",
        "",
        "| model | engine | equal inputs | largest difference of logits | largest logit | same best class |",
        "|---|---|---|---|---|---|",
        *summaries,
        "",
        "Building it, in seconds of all cores together:",
        "",
        "| | |",
        "|---|---|",
        *build_rows,
        "",
        f"One photo, whole process, seconds of all cores together, least of {RUNS} runs:",
        "",
        "| model | engine | zoo-predict, s | onnxzoo predict, s |",
        "|---|---|---|---|",
        *timed,
        "",
        "Largest difference of the logits for each image, with OpenVINO:",
        "",
        f"| image | {names} |",
        f"|---|{'---|' * len(artifacts)}",
        *(f"| {name} | {' | '.join(cells)} |" for (name, _), *cells in zip(images, *columns, strict=True)),
    ]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
