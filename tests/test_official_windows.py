"""SwinV2 by a name of the table, from the loopback Hub, with and without pre-trained windows.

Small models stand in the registry for the real ones, so that their graphs are made and filled in seconds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hub_server import LoopbackHub
from official_weights import official_file, seeded

pytest.importorskip("paddle", reason="needs the export extra")
pytest.importorskip("paddle2onnx", reason="needs the export extra")

from onnxzoo.exports.graphs import make_graph, write_index

import onnxzoo
from onnxzoo import graphs, registry
from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.reference.exact.engine import ExactEngine
from onnxzoo.reference.paddle.engine import PaddleEngine
from onnxzoo.registry import ModelEntry, find
from onnxzoo.weights.seeded import seeded_images

pytestmark = pytest.mark.paddle

SIZE = 64
PRETRAINED = {"swinv2_tiny_w8": (0, 0, 0, 0), "swinv2_base_w24": (3, 3, 3, 2)}


@pytest.fixture(params=PRETRAINED)
def small(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    """A small model in place of a real one of the registry, and its graph in place of those that ship."""
    name = request.param
    entry = find(name)
    architecture = dataclasses.replace(
        entry.architecture, embed_dim=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 4), window_size=4,
        pretrained_window_sizes=PRETRAINED[name],
    )  # fmt: skip
    preprocess = dataclasses.replace(entry.preprocess, resize_size=SIZE, crop_size=SIZE)
    entry = dataclasses.replace(entry, architecture=architecture, image_size=SIZE, preprocess=preprocess)
    others = {**registry.models(), name: entry}
    monkeypatch.setattr(registry, "models", lambda: others)
    folder = tmp_path / "graphs"
    folder.mkdir()
    write_index(folder, {name: make_graph(entry, folder)})
    monkeypatch.setattr(graphs, "_read", lambda file: (folder / file).read_bytes())
    return entry


def test_swinv2_comes_from_the_hub_by_name_and_equals_both_references(
    loopback: LoopbackHub, small: ModelEntry, tmp_path: Path
) -> None:
    published = tmp_path / "published"
    published.mkdir()
    official_file(small, published / "model.safetensors")
    loopback.store.add_repo(str(small.source.timm_repo), published)
    images = seeded_images(SIZE, 2, 1)
    with onnxzoo.load(small.name) as model:
        actual = model.logits(images)
    state = seeded(small)
    for reference in (ExactEngine, PaddleEngine):
        expected = reference.open(graphs.spec_of(small), state).run({INPUT_NAME: images})["logits"]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    # Coordinates of other windows would show.
    other = tuple(0 if window else 3 for window in PRETRAINED[small.name])
    architecture = dataclasses.replace(small.architecture, pretrained_window_sizes=other)
    wrong = ExactEngine.open(dataclasses.replace(graphs.spec_of(small), architecture=architecture), state)
    assert np.abs(wrong.run({INPUT_NAME: images})["logits"] - actual).max() > 1e-3
