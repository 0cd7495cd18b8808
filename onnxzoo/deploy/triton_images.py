"""An ensemble for Triton that takes encoded images: our own preprocessing as a step in Python, then the model.

    REPO/NAME_images/             the ensemble; takes `image_bytes` as onnxzoo's own server does
    REPO/NAME_preprocess/1/model.py    its first step, in Triton's python backend

Preprocessing in the server sends a photo over the network instead of a tensor of several times its size, and keeps
clients from preprocessing differently, which is the commonest cause of lost accuracy. The step is
`onnxzoo.deploy.triton_preprocess`, to the pixel what `predict` does, so the Python of Triton's container needs onnxzoo
with numpy and Pillow (no engine). Where that is not wanted, clients preprocess by `onnxzoo.image` and call the model.

Both are written without Triton's batching, whose clients would have to send `image_bytes` of shape [N, 1], so that
requests for our server and for Triton are the same; the model behind them joins the batches of several requests.
"""

from __future__ import annotations

import dataclasses
import json

from ..artifact.folder import is_artifact
from ..errors import ArtifactError
from ..files import readable
from ..inference_protocol import BYTES, IMAGES, PIXELS, ProtocolTensor, model_outputs, pixels_of
from .chosen import Chosen
from .pbtxt import Value, Word, entries, text_format
from .repository import Repository
from .triton import CONFIG_FILE, TritonOptions, heading
from .triton_preprocess import MAX_IMAGES, PREPROCESS

ENSEMBLE, STEP = "images", "preprocess"
NEEDS = (
    "the python backend of Triton needs onnxzoo: pip install --no-deps onnxzoo, and pip install numpy pillow, in its "
    "container"
)


def write_ensemble(model: Chosen, repository: Repository, options: TritonOptions, *, place: str = "") -> None:
    """Write the ensemble NAME_images and its step NAME_preprocess beside the model NAME, which must be there.

    Raises ArtifactError if other models have these names, or a file cannot be written.
    """
    require_free(model, repository, place)
    head = heading(model)
    for kind, config, files in (
        (STEP, _step(model, options), {"model.py": _CODE}),
        (
            ENSEMBLE,
            _ensemble(model),
            {"ensemble.txt": "Triton expects a version here, which for an ensemble is empty.\n"},
        ),
    ):
        folder = _folder(model, kind, place)
        for name, text in files.items():
            repository.write(f"{folder}/1/{name}", (head + text).encode())
        repository.write(f"{folder}/{CONFIG_FILE}", (head + text_format(config)).encode())


def require_free(model: Chosen, repository: Repository, place: str = "") -> None:
    """Raise ArtifactError if the names of the ensemble or its step are those of other models."""
    for kind in (STEP, ENSEMBLE):
        folder = _folder(model, kind, place)
        repository.require_mark(f"{folder}/{CONFIG_FILE}")
        version = repository.folder / folder / "1"
        with readable(version):
            if version.is_dir() and is_artifact(version):
                raise ArtifactError(
                    f"{version} is a model, and {model.name}_{kind} is a name of {model.name}'s ensemble; give the "
                    "model another name, or leave out --images"
                )


def _folder(model: Chosen, kind: str, place: str) -> str:
    name = f"{model.name}_{kind}"
    return f"{place}/{name}" if place else name


_CODE = '''"""Encoded images to the input of the model: the preprocessing of the package onnxzoo."""

from onnxzoo.deploy.triton_preprocess import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def _step(model: Chosen, options: TritonOptions) -> dict[str, Value]:
    artifact = model.source.artifact
    parameters: dict[str, Value] = {
        PREPROCESS: {"string_value": json.dumps(dataclasses.asdict(artifact.preprocess))},
        MAX_IMAGES: {"string_value": str(options.max_batch)},
    }
    return {
        "name": f"{model.name}_{STEP}",
        "backend": "python",
        "max_batch_size": 0,
        "input": [_whole(ProtocolTensor(IMAGES, BYTES, (-1,)))],
        "output": [_whole(pixels_of(artifact.image_size))],
        "instance_group": [{"kind": Word("KIND_CPU"), "count": options.instances}],
        "parameters": entries(parameters),
    }


def _ensemble(model: Chosen) -> dict[str, Value]:
    artifact = model.source.artifact
    outputs = model_outputs(artifact.num_classes, artifact.architecture.num_features)
    latest = -1
    return {
        "name": f"{model.name}_{ENSEMBLE}",
        "platform": "ensemble",
        "max_batch_size": 0,
        "input": [_whole(ProtocolTensor(IMAGES, BYTES, (-1,)))],
        "output": [_whole(one) for one in outputs],
        "ensemble_scheduling": {
            "step": [
                {
                    "model_name": f"{model.name}_{STEP}",
                    "model_version": latest,
                    "input_map": entries({IMAGES: IMAGES}),
                    "output_map": entries({PIXELS: PIXELS}),
                },
                {
                    "model_name": model.name,
                    "model_version": latest,
                    "input_map": entries({PIXELS: PIXELS}),
                    "output_map": entries({one.name: one.name for one in outputs}),
                },
            ]
        },
    }


def _whole(tensor: ProtocolTensor) -> Value:
    """Name, type and all sizes of a tensor, for a model without Triton's batching."""
    datatype = "STRING" if tensor.datatype == BYTES else tensor.datatype
    return {"name": tensor.name, "data_type": Word(f"TYPE_{datatype}"), "dims": tensor.shape}
