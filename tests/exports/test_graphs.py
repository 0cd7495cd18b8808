"""The weightless graphs that ship: all there, small, made from the code that there is, and no weights in them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

pytest.importorskip("paddle", reason="needs the export extra")
pytest.importorskip("onnx", reason="needs the export extra")

from onnxzoo.exports import graphs as making
from onnxzoo.exports.graphs import code_of, made_from, official_models, stale

from onnxzoo.errors import ExportError
from onnxzoo.families import constants
from onnxzoo.graphs import file_name, graphs, spec_of
from onnxzoo.reference.exact.engine import exact_model
from onnxzoo.registry import find, models
from onnxzoo.weights.seeded import seeded_state

FOLDER = Path(__file__).parents[2] / "onnxzoo" / "graphs"
MOST_BYTES = 1_000_000


def test_every_imagenet_model_has_a_graph_and_all_together_are_small() -> None:
    assert official_models() == list(graphs()) == [name for name in models() if not name.endswith("_fashion")]
    files = sorted(path.name for path in FOLDER.glob("*.gz"))
    assert files == sorted(file_name(name) for name in official_models())
    assert sum((FOLDER / name).stat().st_size for name in files) < MOST_BYTES


@pytest.mark.slow
def test_graphs_are_made_anew_when_what_makes_them_changes() -> None:
    """Fails when a form, a step, a pass, a constant or a converter has changed: run `make graphs`, with 8 GB free."""
    assert list(stale(official_models())) == []


@pytest.mark.parametrize("name", official_models())
def test_a_graph_takes_every_number_that_a_checkpoint_decides(name: str) -> None:
    entry = find(name)
    spec = spec_of(entry)
    holes = {hole.name for hole in graphs()[name].weightless().holes}
    shapes = exact_model(dataclasses.replace(spec, num_classes=1000)).shapes
    # What no parameter decides may be kept once for several blocks, under the name of the first.
    computed = {"qk_scale", "position_bias"}
    decided = {
        name for name in shapes if not name.endswith(("logit_scale", "q_bias", "v_bias")) and "cpb_mlp" not in name
    }
    assert decided <= holes
    if entry.family == "swinv2":
        blocks = sum(entry.architecture.depths)
        assert sum(hole.rpartition(".")[2] in computed for hole in holes) == 2 * blocks


def small_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code that graphs are made from, which the fingerprint is taken of."""
    shutil.copytree(making.PACKAGE, tmp_path / "exports")
    shutil.copytree(making.FAMILIES_FOLDER, tmp_path / "families")
    monkeypatch.setattr(making, "PACKAGE", tmp_path / "exports")
    monkeypatch.setattr(making, "FAMILIES_FOLDER", tmp_path / "families")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    ["exports/forms/form_layers.py", "exports/passes/l2_norm.py", "exports/steps/simplify.py", "exports/finish.py"],
)
def test_a_changed_form_step_or_pass_makes_every_graph_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    source = small_source(tmp_path, monkeypatch)
    assert list(stale(official_models())) == []
    (source / path).write_text((source / path).read_text() + "\nCHANGED = True\n")
    assert list(stale(official_models())) == official_models()


@pytest.mark.slow
def test_a_file_that_is_only_called_otherwise_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small_source(tmp_path, monkeypatch)
    (source / "exports/forms/form_layers.py").rename(source / "exports/forms/pieces.py")
    form = source / "exports/forms/swinv2.py"
    form.write_text(form.read_text().replace("from .form_layers import", "from .pieces import"))
    assert list(stale(official_models())) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", ["exports/forms/swinv2.py", "families/swinv2/constants.py"])
def test_a_changed_family_makes_its_own_graphs_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    source = small_source(tmp_path, monkeypatch)
    (source / path).write_text((source / path).read_text().replace("F.gelu", "F.relu").replace("16.0", "8.0"))
    assert list(stale(official_models())) == [name for name in official_models() if name.startswith("swinv2")]


def test_another_converter_or_model_has_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = find("pvt_v2_b0")
    before = made_from(entry)
    shallower = dataclasses.replace(entry.architecture, depths=(1, 1, 1, 1))
    assert made_from(dataclasses.replace(entry, architecture=shallower)) != before
    monkeypatch.setattr(making, "converter_versions", lambda: {"onnxsim": "0.0"})
    assert made_from(entry) != before


def test_the_fingerprint_sees_code_and_neither_comments_nor_docstrings() -> None:
    plain = 'X = "#"\ndef f(a):\n    return a  \n'
    docstring = '    """What it does.\n\n    At length."""\n'
    commented = f'"""What it is."""\n\nX = "#"  # a comment\n\n\ndef f(a):\n{docstring}    return a\n'
    assert code_of(plain) == code_of(commented)
    assert code_of(plain) != code_of(plain.replace("return a", "return a + 1"))
    assert code_of("X = 1\n'About X.'\n") == code_of("X = 1\n")
    assert code_of("if X:\n    raise E('a')\n") == code_of("if X:\n    raise E('b')\n")
    assert code_of("from .a.b import f") == code_of("from ..c import f") != code_of("from ..c import g")
    assert code_of(plain) != code_of(plain.replace('"#"', '"# a"'))


def test_a_graph_that_lost_or_changed_a_weight_is_not_made(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    entry = find("pvt_v2_b0")
    spec = spec_of(entry)
    known = constants(spec, seeded_state(exact_model(spec).shapes, 1))
    few = {name: known[name] for name in ("head.weight", "head.bias")}
    graph = onnx.GraphProto(initializer=[numpy_helper.from_array(value, name) for name, value in few.items()])
    onnx.save(onnx.ModelProto(graph=graph), tmp_path / "model.onnx")
    assert len(making.emptied(tmp_path / "model.onnx", frozenset(few), few)) < 200
    with pytest.raises(ExportError, match="no initializer for 1 constants, the first 'norm1"):
        making.emptied(tmp_path / "model.onnx", frozenset({*few, "norm1.weight"}), known)
    with pytest.raises(ExportError, match="bias' has other numbers"):
        making.emptied(tmp_path / "model.onnx", frozenset(few), {**few, "head.bias": few["head.bias"] + 1})
