"""Verifies, on a machine with a network, that the official weights reproduce published outputs and accuracies.

    python benchmarks/verify_official.py [NAME ...] [--data DIR] [--photo FILE] [--expectations FILE] [--limit N]

Assembles every model (or those named) from its official weights, and asserts

- the first logits that transformers' own tests expect for a photo, with its preprocessing (the whole photo resized to
  the model's size), in the exact reference and every engine that works here; they may differ by 2e-4, as the
  expectations have four decimals;
- with `--data` (ImageNet, see eval_imagenet.py) the Top-1 that PaddleClas publishes, with its preprocessing, and
  timm's, with timm's crop fraction; they may differ by TOP1_POINTS, due to JPEG decoders and engines.

The expectations and the photo's URL are in official_expectations.json. Prints a line for each comparison. Exit code: 0
if all hold, 1 if one does not, 3 if something necessary is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnxzoo.artifact.folder import INPUT_NAME, Artifact, read_artifact
from onnxzoo.data.layouts import open_dataset
from onnxzoo.engines import ENGINES, create_engine
from onnxzoo.engines.protocol import Engine
from onnxzoo.errors import EngineUnavailableError, OnnxzooError
from onnxzoo.evaluation.accuracy import evaluate
from onnxzoo.hub.official import cached_weights
from onnxzoo.model import Model
from onnxzoo.official import official_artifact
from onnxzoo.reference.exact.engine import ExactEngine
from onnxzoo.registry import ModelEntry, Preprocess, find, models
from onnxzoo.weights.checkpoint import read_checkpoint, spec_of
from onnxzoo.weights.checkpoint_download import download

HERE = Path(__file__).resolve().parent
EXPECTATIONS = HERE / "official_expectations.json"
LOGIT_TOLERANCE = 2e-4
"""transformers' tests use 1e-4, and their numbers are themselves rounded to 1e-4."""
TOP1_POINTS = 0.1
"""Percentage points: 50 of the 50,000 images."""
TIMM_CROP = 0.9
"""timm's crop fraction for all models except those whose image size equals the resize size (the w24 models)."""
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One expectation, the actual value, and the permitted difference."""

    model: str
    what: str
    found: tuple[float, ...]
    expected: tuple[float, ...]
    tolerance: float

    def __bool__(self) -> bool:
        pairs = zip(self.found, self.expected, strict=True)
        return all(abs(found - expected) <= self.tolerance for found, expected in pairs)

    def __str__(self) -> str:
        found, expected = (", ".join(f"{value:.4f}" for value in values) for values in (self.found, self.expected))
        return f"{'ok' if self else 'FAILED':<7}{self.model:<18}{self.what:<34}{found} (expected {expected})"


def whole_photo(photo: bytes, size: int, interpolation: str, spec: Preprocess) -> np.ndarray:
    """The photo resized without a crop and normalised, as in transformers for these models: [1, 3, size, size]."""
    image = Image.open(io.BytesIO(photo)).convert("RGB").resize((size, size), RESAMPLING[interpolation])
    values = (np.asarray(image, np.float32) / 255 - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)


def engines_of(artifact: Artifact) -> Iterator[Engine]:
    """The exact reference, then every engine that works here."""
    checkpoint = read_checkpoint(cached_weights(artifact), find(artifact.name))
    yield ExactEngine.open(spec_of(artifact, checkpoint), checkpoint.state)
    for name in ENGINES:
        try:
            engine = create_engine(name, artifact.model_file())
        except EngineUnavailableError:
            continue
        yield engine
        engine.close()


def logits(artifact: Artifact, photo: bytes, expected: Mapping[str, Any]) -> Iterator[Comparison]:
    """Compare the first logits of the photo in every engine that runs the model."""
    image = whole_photo(photo, artifact.image_size, expected["interpolation"], artifact.preprocess)
    first = tuple(expected["first"])
    for engine in engines_of(artifact):
        found = engine.run({INPUT_NAME: image})["logits"][0, : len(first)]
        yield Comparison(artifact.name, f"logits, {engine.info.name}", tuple(map(float, found)), first, LOGIT_TOLERANCE)


def accuracies(
    artifact: Artifact, entry: ModelEntry, timm_top1: float, data: Path, limit: int | None
) -> Iterator[Comparison]:
    """Compare Top-1 in percent with either preprocessing."""
    own = artifact.preprocess
    short = own.resize_size if own.resize_size == own.crop_size else int(own.crop_size / TIMM_CROP)
    timm = dataclasses.replace(own, resize_size=short)
    for who, spec, top1 in (("PaddleClas", own, 100 * entry.accuracy.top1), ("timm", timm, timm_top1)):
        runner = create_engine("auto", artifact.model_file())
        with Model(dataclasses.replace(artifact, preprocess=spec), runner) as model:
            result = evaluate(model, open_dataset(data, "val", label_set=entry.labels), limit=limit)
        found = 100 * result.correct / result.images
        yield Comparison(artifact.name, f"Top-1 as {who}, {result.images} images", (found,), (top1,), TOP1_POINTS)


def verify(
    name: str, expectations: Mapping[str, Any], photo: bytes, options: argparse.Namespace
) -> Iterator[Comparison]:
    """Check all expectations for one model."""
    entry = find(name)
    artifact = read_artifact(
        official_artifact(entry, progress=lambda *step: print(f"{name}: {step[2]}", file=sys.stderr))
    )
    if name in expectations["logits"]:
        yield from logits(artifact, photo, expectations["logits"][name])
    if options.data is not None:
        yield from accuracies(artifact, entry, expectations["timm_top1"][name], options.data, options.limit)


def photo_of(expectations: Mapping[str, Any], given: Path | None) -> bytes:
    """The photo's file, downloaded unless it is given."""
    if given is not None:
        return given.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo"
        download(expectations["photo"], file)
        return file.read_bytes()


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; the exit code tells whether all expectations hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all with expectations")
    parser.add_argument("--data", type=Path, help="folder with ImageNet's validation images")
    parser.add_argument("--limit", type=int, help="maximum number of images, spread evenly")
    parser.add_argument("--photo", type=Path, help="the photo, if it is already here")
    parser.add_argument("--expectations", type=Path, default=EXPECTATIONS)
    options = parser.parse_args(arguments)
    expectations = json.loads(options.expectations.read_text(encoding="utf-8"))
    everything = [name for name in models() if name in expectations["logits"] or name in expectations["timm_top1"]]
    names = [find(name).name for name in options.names] or everything
    done: list[Comparison] = []
    try:
        photo = photo_of(expectations, options.photo)
        for name in names:
            for comparison in verify(name, expectations, photo, options):
                done.append(comparison)
                print(comparison, flush=True)
    except OnnxzooError as error:
        print(f"verify_official: {error}", file=sys.stderr)
        return 3
    print(f"{sum(map(bool, done))} of {len(done)} expectations hold, of {len(names)} models")
    return 0 if done and all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
