"""What stands beside a converted model, so that an app can use it: model.json, labels.txt, preprocessor_config.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ..artifact.folder import INPUT_NAME
from ..artifact.writing import write_preprocessor_config
from ..comparison.compare import Comparison
from ..files import sha256_of
from ..source import Source
from ..text import escaped
from .target import Form, Target

FILE = "model.json"
LABELS_FILE = "labels.txt"
FORMAT_VERSION = 1


def write_description(
    folder: Path,
    source: Source,
    target: Target,
    precision: str,
    version: str,
    comparisons: Mapping[int, Comparison],
    inputs: int,
) -> dict[str, Any]:
    """Write model.json, labels.txt and preprocessor_config.json beside the converted files; returns the first.

    `version`: of the converter. `comparisons`: with the recorded outputs, by batch size. `inputs`: number of images
    compared.
    """
    artifact = source.artifact
    document = {
        "format_version": FORMAT_VERSION,
        "name": artifact.name,
        "format": target.name,
        "precision": precision,
        "files": {name: _described(folder / name) for name in target.files},
        "input": _interface(source, target),
        "outputs": _outputs(source, target),
        "settings": dict(target.forms[precision].settings),
        "preprocess": dataclasses.asdict(artifact.preprocess),
        "made_from": _origin(source, target.forms[precision]),
        "converter": {"library": version, "onnxzoo": metadata.version("onnxzoo")},
        "check": _check(target.forms[precision], comparisons, inputs),
        "id2label": {str(number): name for number, name in enumerate(artifact.id2label)},
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / FILE).write_text(text, encoding="utf-8")
    # A name with a line break would shift all that follow.
    (folder / LABELS_FILE).write_text("".join(f"{escaped(name)}\n" for name in artifact.id2label), encoding="utf-8")
    # The artifact's own file may not be on this machine, if the model is from the Hub.
    write_preprocessor_config(folder, artifact.preprocess)
    # As it reads back: lists instead of tuples.
    read: dict[str, Any] = json.loads(text)
    return read


def _described(file: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(file), "bytes": file.stat().st_size}


def _interface(source: Source, target: Target) -> dict[str, Any]:
    shape = [target.batch, *source.artifact.interface.inputs[INPUT_NAME][1:]]
    return {"name": target.input_name, "dtype": "float32", "shape": shape, "layout": "NCHW", "colours": "RGB"}


def _outputs(source: Source, target: Target) -> dict[str, Any]:
    return {
        name: {"name": target.output_names[name], "dtype": "float32", "shape": [target.batch, *shape[1:]]}
        for name, shape in source.artifact.interface.outputs.items()
    }


def _origin(source: Source, form: Form) -> dict[str, Any]:
    announced = source.artifact.required_model(form.source)
    return {
        "file": announced.path,
        "sha256": announced.sha256,
        "checkpoint_sha256": source.artifact.source.get("sha256"),
        "origin": source.origin,
        "commit": source.commit,
    }


def _check(form: Form, comparisons: Mapping[int, Comparison], inputs: int) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "batch_sizes": list(comparisons),
        "tolerance": form.tolerance.value,
        "snr_db": form.tolerance.snr_db,
        "max_abs": max(one.max_abs for one in comparisons.values()),
        "top1_agreement": min(one.top1_agreement for one in comparisons.values()),
    }
