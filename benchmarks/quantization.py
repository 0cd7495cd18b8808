"""Measures the loss of accuracy of int8 and fp16 files: benchmarks/results/quantization.md and .json.

    apt-get install dataset-fashion-mnist
    python benchmarks/quantization.py [--data /usr/share/datasets/fashion-mnist] [--seeded NAME]... [--keep DIR]
        [--no-layers]

For the shipped models it measures Top-1 on the 10,000 test images in every precision on both engines, the number of
images whose correctness changed, and the signal-to-noise ratio to fp32 in the same engine over all these images,
between the engines, and to the exact reference (NumPy, float64) on some of them. With `--seeded`, models of ImageNet's
size with seeded weights are quantised on the shipped photos; their ratios show how the noise adds up, but not an
accuracy. `--keep` keeps these artifacts, for `onnxzoo bench DIR/NAME --precision fp32 --precision int8`. Two ratios
are given: of the logits, and of their variation between images, which validations use.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from seeded_artifact import assembled

from onnxzoo import load
from onnxzoo.artifact.folder import INPUT_NAME, MODEL_FILES, Artifact, read_artifact
from onnxzoo.artifact.writing import add_model
from onnxzoo.cpu import cpu
from onnxzoo.data.layouts import open_dataset
from onnxzoo.engines import create_engine
from onnxzoo.evaluation.paired import paired_drop
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.image import preprocess_batch
from onnxzoo.quantization.images import shipped_images
from onnxzoo.quantization.layers import head_in_fp32
from onnxzoo.quantization.measure import Bench, ratio
from onnxzoo.quantization.noise import decibels
from onnxzoo.quantization.static import StaticQuantizer
from onnxzoo.reference.exact.engine import ExactEngine
from onnxzoo.registry import find
from onnxzoo.results import Array
from onnxzoo.weights.checkpoint import read_checkpoint, spec_of

HERE = Path(__file__).parent
RESULTS = HERE / "results"
CHECKPOINTS = HERE.parent / "training" / "checkpoints"
MODELS = ("swinv2_nano_fashion", "pvt_v2_nano_fashion")
ENGINES = ("onnxruntime", "openvino")
PRECISIONS = ("fp32", "int8", "fp16")
BATCH = 50
EXACT_IMAGES = 100


def main() -> None:
    """Measure, write the results, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--seeded", action="append", default=[], metavar="NAME")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the artifacts of --seeded in this folder")
    parser.add_argument("--no-layers", action="store_true", help="--seeded without the noise of single layers")
    options = parser.parse_args()
    target = RESULTS / "quantization.json"
    document: dict[str, Any] = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"seeded": []}
    if options.data.exists():
        document["shipped"] = [row for name in MODELS for row in shipped(name, options.data)]
    rows = [seeded(name, options.keep, layers=not options.no_layers) for name in options.seeded]
    document["seeded"] = [row for row in document["seeded"] if row["model"] not in options.seeded] + rows
    document["cpu"] = str(cpu())
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    text = "\n".join(page(document)) + "\n"
    (RESULTS / "quantization.md").write_text(text, encoding="utf-8")
    print(text)


def shipped(name: str, data: Path) -> Iterator[dict[str, Any]]:
    """A row for each precision and engine of a shipped model."""
    artifact = read_artifact(SHIPPED_DIR / name)
    test = open_dataset(data, "val")
    count = len(test)
    images = np.concatenate(
        [
            preprocess_batch([test.image(i) for i in range(start, min(start + 500, count))], artifact.preprocess)
            for start in range(0, count, 500)
        ]
    )
    exact = exact_logits(artifact, images[:: count // EXACT_IMAGES])
    found = {(p, e): logits(artifact, p, e, images) for p in PRECISIONS for e in ENGINES}
    for precision in PRECISIONS:
        sizes = [artifact.required_model(one).bytes for one in (precision, "fp32")]
        for engine in ENGINES:
            values, before = found[precision, engine], found["fp32", engine]
            drop = paired_drop(before.argmax(1) == test.labels, values.argmax(1) == test.labels)
            yield {
                "model": name, "precision": precision, "engine": engine, "images": count, "share": sizes[0] / sizes[1],
                "top1": drop.after, "drop": drop.drop, "interval_95": list(drop.interval),
                "changed": drop.lost + drop.won,
                "plain_db": plain(before, values), "snr_db": finite(ratio(before, values)),
                "between_engines_db": finite(ratio(found[precision, ENGINES[0]], found[precision, ENGINES[1]])),
                "exact_db": ratio(exact, values[:: count // EXACT_IMAGES].astype(np.float64)),
            }  # fmt: skip


def seeded(name: str, keep: Path | None, *, layers: bool) -> dict[str, Any]:
    """An int8 file of a model with seeded weights: all layers quantised but a small head, with `layers` each one alone.

    The artifact with both files is `keep`/NAME, if `keep` is given.

    `onnxzoo quantize` would refuse it, as the noise of random weights is beyond the limit of a validation.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home = keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        artifact = read_artifact(assembled(name, home))
        images = shipped_images(artifact)
        bench = Bench(artifact, images.held_out)
        fp32, int8 = artifact.model_file(), artifact.folder / MODEL_FILES["int8"]
        everything = np.concatenate([images.calibration, bench.vectors.images])
        quantizer = StaticQuantizer(fp32, everything, 7, Path(folder))
        kept = head_in_fp32(quantizer.layers)
        quantizer.write(int8, kept, images.origin)
        add_model(artifact.folder, "int8", weights_bits=7)
        single = Path(folder) / "single.onnx"
        quantizer.write(single, ())
        grafts = quantizer.grafts(single)
        alone = []
        for layer in quantizer.layers if layers else ():
            single.write_bytes(grafts.alone(layer))
            alone.append([layer.name, layer.parameters, decibels(bench.noise(single, "int8")[0])])
        files = {"fp32": fp32, "int8": int8}
        outputs = {(p, e): run(e, files[p], images.held_out) for p in files for e in ENGINES}
        return {
            "model": name,
            "share": int8.stat().st_size / fp32.stat().st_size,
            "plain_db": {e: plain(outputs["fp32", e], outputs["int8", e]) for e in ENGINES},
            "snr_db": {e: ratio(outputs["fp32", e], outputs["int8", e]) for e in ENGINES},
            "between_engines_db": ratio(outputs["int8", ENGINES[0]], outputs["int8", ENGINES[1]]),
            "between_engines_plain_db": plain(outputs["int8", ENGINES[0]], outputs["int8", ENGINES[1]]),
            "calibration": images.origin,
            "quantized": len(quantizer.layers) - len(kept),
            "layers": sorted(alone, key=lambda layer: layer[2]),
        }


def run(engine: str, file: Path, images: Array) -> Array:
    """The logits that an engine gives for an ONNX file, float32 [N, classes]."""
    running = create_engine(engine, file)
    found = [running.run({INPUT_NAME: images[i : i + 1]})["logits"] for i in range(len(images))]
    running.close()
    return np.concatenate(found)


def logits(artifact: Artifact, precision: str, engine: str, images: Array) -> Array:
    """The logits of all images, float32 [N, classes]."""
    with load(artifact.folder, engine=engine, precision=precision, batch_size=BATCH) as model:
        return np.concatenate([model.logits(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])


def exact_logits(artifact: Artifact, images: Array) -> Any:
    """The checkpoint's logits in NumPy and float64."""
    checkpoint = read_checkpoint(CHECKPOINTS / f"{artifact.name}.pdparams", find(artifact.name))
    engine = ExactEngine.open(spec_of(artifact, checkpoint), checkpoint.state)
    return engine.run_float64({next(iter(engine.inputs)): images})["logits"]


def plain(expected: Array, actual: Array) -> float | None:
    """10 log10 of the sum of squares of the logits over that of the differences; None if there are none."""
    wanted, error = expected.astype(np.float64), actual.astype(np.float64) - expected
    return finite(float(10 * np.log10((wanted**2).sum() / (error**2).sum()))) if error.any() else None


def finite(value: float) -> float | None:
    """The value, or None for infinity, which JSON lacks."""
    return value if np.isfinite(value) else None


def page(document: dict[str, Any]) -> Iterator[str]:
    """The results as Markdown."""
    yield "# What int8 and fp16 files cost in accuracy"
    yield ""
    yield f"CPU: {document['cpu']}. Made by `benchmarks/quantization.py`, which says what the columns are."
    yield ""
    yield (
        "| model | precision | engine | Top-1, % | drop, points (95 %) | changed sides | size | to fp32, dB | "
        "between engines, dB | to the exact reference, dB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in document.get("shipped", ()):
        low, high = row["interval_95"]
        yield (
            f"| {row['model']} | {row['precision']} | {row['engine']} | {100 * row['top1']:.2f} | "
            f"{100 * row['drop']:.2f} ({100 * low:.2f} to {100 * high:.2f}) | {row['changed']} of {row['images']} | "
            f"{row['share']:.3f} | {shown(row['plain_db'])} ({shown(row['snr_db'])}) | "
            f"{shown(row['between_engines_db'])} | {row['exact_db']:.1f} |"
        )
    yield ""
    yield "The first ratio is of the logits as they are, the one in brackets of how they differ between images."
    if document["seeded"]:
        yield ""
        yield "Seeded weights, ImageNet's size, all layers in int8 but small heads, calibrated on the photos that ship:"
        yield ""
        yield (
            "| model | size | ONNX Runtime, dB | OpenVINO, dB | between engines, dB | layers | "
            "noisiest layers alone, dB |"
        )
        yield "|---|---|---|---|---|---|---|"
    for row in document["seeded"]:
        engines = " | ".join(f"{row['plain_db'][e]:.1f} ({row['snr_db'][e]:.1f})" for e in ENGINES)
        layers = ", ".join(f"`{name}` {db:.1f}" for name, _, db in row["layers"][:3]) or "not measured"
        yield (
            f"| {row['model']} | {row['share']:.3f} | {engines} | {row['between_engines_plain_db']:.1f} "
            f"({row['between_engines_db']:.1f}) | {row['quantized']} | {layers} |"
        )


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
