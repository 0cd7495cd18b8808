"""Assembles weights and a weightless graph to a normal artifact, without Paddle, paddle2onnx or the package onnx.

The graph ships with the package (`onnxzoo.graphs`), and NumPy computes its initializers from the weights
(`onnxzoo.families.constants`). Its outputs in an engine are compared with the exact reference before the artifact is
written, completely or not at all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .artifact.folder import CONFORMANCE_FILE, INPUT_NAME, MODEL_FILES, Artifact, read_artifact
from .artifact.onnx_filling import fill
from .artifact.writing import TOOLS, tool_versions, write_descriptions
from .comparison.tolerances import DEFAULT_TOLERANCE
from .conformance import NOISE, PHOTOS, record_conformance
from .engines import AUTO, create_engine
from .engines.protocol import ModelFile
from .errors import ArtifactError, CheckpointError, InputError
from .families import FAMILIES, ModelSpec, constants
from .families.family import State
from .files import atomic_folder, writing
from .graphs import Graph, constant_name, graphs, spec_of
from .heap import give_back_memory
from .hub.card import model_card
from .precisions import FP32
from .reference.exact.engine import ExactEngine, exact_model
from .registry import ModelEntry, labels, models
from .results import Array
from .weights.checkpoint import Checkpoint, read_checkpoint

STEPS = ("read the weights", "fill the graph", "run the exact reference", "compare with it")

INPUTS = (PHOTOS[0], NOISE)
"""Inputs of the conformance vectors; the exact reference takes seconds for each."""

ROOM = "free space, or set ONNXZOO_CACHE to a folder with room for it"
"""The fix in errors about artifacts that cannot be written."""

StepProgress = Callable[[int, int, str], None]
"""Called when a step begins, with its number from 1, the number of steps, and its title."""


def can_assemble(entry: ModelEntry) -> bool:
    """Whether there is a graph for this model."""
    return entry.name in graphs()


def assemble(
    entry: ModelEntry,
    weights: Path,
    folder: Path,
    *,
    origin: Mapping[str, Any] | None = None,
    license_id: str | None = None,
    progress: StepProgress = lambda _number, _total, _title: None,
) -> Artifact:
    """Make the artifact of a registry model from its weights; `folder` is replaced as a whole at the end.

    `weights`: `.safetensors` or `.pdparams`, in any naming that `read_checkpoint` reads. `origin`: of the file, for
    config.json: `url`, or `repo` and `commit`. `license_id`: of the weights, an identifier of the Hub.

    Raises CheckpointError for weights that are unreadable, damaged or of another model (which it names), InputError if
    the number of classes or the image size differs from the graph's, ArtifactError if the folder cannot be written or
    an engine's outputs differ from the exact reference's, EngineUnavailableError if there is no engine to compare.
    """

    def begin(title: str) -> None:
        progress(STEPS.index(title) + 1, len(STEPS), title)

    begin(STEPS[0])
    graph = _graph(entry)
    spec = spec_of(entry)
    checkpoint = _fitting_checkpoint(entry, spec, weights)
    source = {"url": None, **(origin or {}), **_described(checkpoint), "graph_sha256": graph.sha256}
    with writing(f"the artifact {folder}", ArtifactError, ROOM), atomic_folder(folder) as building:
        begin(STEPS[1])
        model_file = building / MODEL_FILES[FP32]
        model_file.parent.mkdir()
        tools = tools_of(graph)
        digest = fill_graph(graph, spec, checkpoint.state, _metadata(entry, checkpoint.sha256, tools), model_file)
        begin(STEPS[2])
        reference = ExactEngine.open(spec, checkpoint.state)
        expected = record_conformance(reference, entry.preprocess, building / CONFORMANCE_FILE, INPUTS)
        reference.close()
        del checkpoint  # free the memory for the engine
        give_back_memory()
        begin(STEPS[3])
        write_descriptions(
            building,
            entry=entry,
            spec=spec,
            preprocess=entry.preprocess,
            id2label=labels(entry.labels),
            source=source,
            tools=tools,
            opset=graph.opset,
            card=model_card,
            more={} if license_id is None else {"license": license_id},
        )
        _require_written(read_artifact(building), digest)
        _require_equal(building / MODEL_FILES[FP32], digest, expected)
    return read_artifact(folder)


def fill_graph(graph: Graph, spec: ModelSpec, state: State, metadata: Mapping[str, str], target: Path) -> str:
    """Write the ONNX file of `graph` with the values computed from the parameters `state`; returns its SHA-256.

    `metadata`: for the file's metadata. Initializers are written one by one, so that additional memory is needed only
    for those that differ from the parameters.
    """
    known = constants(spec, state)
    with target.open("wb") as file:
        digest = fill(
            graph.weightless(),
            lambda hole: known[constant_name(hole.name, known) or hole.name],
            file,
            producer_version=metadata.get("onnxzoo", ""),
            metadata=metadata,
        )
        file.flush()
        os.fsync(file.fileno())
    return digest


def tools_of(graph: Graph) -> dict[str, str]:
    """Versions of the tools for a filled graph: the converters that made the graph, and the packages that fill it."""
    here = {name: version for name, version in tool_versions().items() if name in ("onnxzoo", "numpy", "pillow")}
    versions = {**graph.tools, **here}
    return {name: versions[name] for name in TOOLS if name in versions}


def fitting_models(weights: Path) -> list[str]:
    """The models of the registry whose parameters have the names and shapes in a file.

    Swin Transformers that differ only in their windows have the same. Empty for a file that cannot be read.
    """
    for family in FAMILIES:
        entries = [entry for entry in models().values() if entry.family == family]
        with contextlib.suppress(CheckpointError):
            checkpoint = read_checkpoint(weights, entries[0])
            shapes = {name: array.shape for name, array in checkpoint.state.items()}
            return [
                entry.name
                for entry in entries
                if exact_model(ModelSpec(entry.architecture, entry.image_size, checkpoint.num_classes)).shapes == shapes
            ]
    return []


def _graph(entry: ModelEntry) -> Graph:
    graph = graphs().get(entry.name)
    if graph is None:
        raise InputError(f"onnxzoo has no graph of {entry.name} to fill; {_export_hint(entry.name)}")
    return graph


def _metadata(entry: ModelEntry, source_sha256: str, tools: Mapping[str, str]) -> dict[str, str]:
    return {"name": entry.name, "source_sha256": source_sha256, **tools}


def _fitting_checkpoint(entry: ModelEntry, spec: ModelSpec, weights: Path) -> Checkpoint:
    """The weights, after checking that their names and shapes are this model's."""
    try:
        checkpoint = read_checkpoint(weights, entry)
        found = ModelSpec(checkpoint.architecture, checkpoint.image_size, checkpoint.num_classes)
        ExactEngine.open(found, checkpoint.state)
    except CheckpointError as error:
        others = [name for name in fitting_models(weights) if name != entry.name]
        hint = f"; they are weights of {' or '.join(others)}" if others else ""
        raise CheckpointError(f"{error}{hint}") from None
    if found.num_classes != spec.num_classes:
        raise InputError(
            f"{weights} has {found.num_classes} classes, the graph of {entry.name} that ships has {spec.num_classes}; "
            f"{_export_hint(entry.name, weights)}"
        )
    if found != spec:
        raise InputError(
            f"{weights} is of another window or image size than {entry.name}, whose graph ships; "
            f"{_export_hint(entry.name, weights)}"
        )
    return checkpoint


def _export_hint(name: str, weights: Path | None = None) -> str:
    given = "" if weights is None else f" --weights {weights}"
    return f"this needs the export: pip install 'onnxzoo[export]', then onnxzoo export {name}{given}"


def _described(checkpoint: Checkpoint) -> dict[str, str | int]:
    return {
        "file": checkpoint.path.name,
        "sha256": checkpoint.sha256,
        "bytes": checkpoint.bytes,
        "framework": checkpoint.naming,
    }


def _require_written(artifact: Artifact, digest: str) -> None:
    """Check that the file on disk has the written bytes, and that the artifact is valid."""
    artifact.verify()
    announced = artifact.required_model(FP32)
    if announced.sha256 != digest:
        raise ArtifactError(
            f"{artifact.folder / announced.path} was altered while it was written: its sha256 is {announced.sha256}, "
            f"expected {digest}; check the disk and try again"
        )


def _require_equal(model_file: Path, digest: str, expected: Mapping[str, Array]) -> None:
    """Run the recorded inputs and raise ArtifactError unless the outputs equal the reference's."""
    engine = create_engine(AUTO, ModelFile(model_file, digest, FP32))
    try:
        for index, image in enumerate(expected[INPUT_NAME]):
            outputs = engine.run({INPUT_NAME: image[None]})
            for name, values in outputs.items():
                wanted = expected[name][index]
                worst = float(np.max(np.abs(values[0] - wanted) / (1 + np.abs(wanted))))
                if not worst <= DEFAULT_TOLERANCE:
                    raise ArtifactError(
                        f"the assembled model is not used: on the input {INPUTS[index]!r}, {engine.info.name} gives "
                        f"other {name} than the exact reference (by {worst:.1e}, expected up to "
                        f"{DEFAULT_TOLERANCE:g}); report it with the output of 'onnxzoo doctor'"
                    )
    finally:
        engine.close()
        give_back_memory()
