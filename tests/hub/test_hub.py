"""Looking models up on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from found import find_artifact
from tiny import write_artifact

from onnxzoo import registry
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, InputError, ModelNotFoundError, UnknownModelError
from onnxzoo.hub import cached_models, lookup, shipped_models


def test_a_name_or_alias_finds_the_exported_model(cache):
    folder = write_artifact(cache / "models" / "pvt_v2_b2_linear", name="pvt_v2_b2_linear")
    for name in ("pvt_v2_b2_linear", "PVT_V2_B2_Linear", "pvt_v2_b2_li", "PVT_v2_b2_LI"):
        assert find_artifact(name) == folder


def test_a_known_model_that_is_not_exported_says_how_to_get_it():
    with pytest.raises(ModelNotFoundError, match=r"pip install 'onnxzoo\[export\]', then onnxzoo export pvt_v2_b0$"):
        find_artifact("PVT_V2_B0")


def test_an_unknown_name_lists_the_closest():
    with pytest.raises(UnknownModelError, match="unknown model 'pvt_v2_b9'; did you mean pvt_v2_b"):
        find_artifact("pvt_v2_b9")
    with pytest.raises(UnknownModelError):
        find_artifact("")


def test_a_folder_is_found_by_str_and_by_path(tiny, monkeypatch):
    assert find_artifact(str(tiny)) == tiny
    assert find_artifact(tiny) == tiny
    monkeypatch.chdir(tiny.parent)
    assert find_artifact("tiny") == Path("tiny")
    assert find_artifact("./tiny") == Path("tiny")


def test_a_home_folder_is_expanded(tiny, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny.parent))
    assert find_artifact("~/tiny") == tiny


def test_a_registry_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    folder = write_artifact(tmp_path / "pvt_v2_b0")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelNotFoundError, match=r"onnxzoo export pvt_v2_b0; to use the local folder .* write \./pvt_v2_b0$"
    ):
        find_artifact("pvt_v2_b0")
    assert find_artifact("./pvt_v2_b0").samefile(folder)
    assert find_artifact(Path("pvt_v2_b0")).samefile(folder)


def test_a_path_where_nothing_is(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"there is no folder .*nowhere"):
        find_artifact(tmp_path / "nowhere")
    with pytest.raises(ModelNotFoundError, match=r"there is no folder someone/model; .* or USER/NAME"):
        find_artifact("./someone/model")
    with pytest.raises(ModelNotFoundError, match="there is no folder some/one/model"):
        find_artifact("some/one/model")


def test_a_path_that_is_not_an_artifact_is_refused(tmp_path, tiny):
    with pytest.raises(ArtifactError, match=r"is not an artifact: it has no config\.json"):
        find_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="is a file; give the artifact's folder"):
        find_artifact(tiny / "config.json")


@pytest.mark.parametrize("name", ["x" * 300, "./" + "x" * 300, "~nouser/x", "a\0b", "./a\0b"])
def test_names_that_no_file_system_takes(name):
    with pytest.raises((InputError, UnknownModelError, ModelNotFoundError)) as caught:
        find_artifact(name)
    assert len(str(caught.value)) < 300
    result = CliRunner().invoke(main, ["info", name], prog_name="onnxzoo")
    assert result.exit_code == caught.value.exit_code
    assert result.stderr.count("\n") == 1
    assert "bug" not in result.stderr
    if len(name) >= 300 or name.startswith("~"):
        assert result.exit_code == 2


def test_a_model_that_is_not_a_name_is_refused():
    with pytest.raises(InputError, match="a name or the path of a folder, got int"):
        find_artifact(3)  # type: ignore[arg-type]


def test_a_shipped_model_is_found_before_an_export_of_it(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "SHIPPED_DIR", tmp_path / "shipped")
    exported = write_artifact(cache / "models" / "pvt_v2_b0", name="pvt_v2_b0")
    assert shipped_models() == []
    assert find_artifact("pvt_v2_b0") == exported
    shipped = write_artifact(tmp_path / "shipped" / "pvt_v2_b0", name="pvt_v2_b0")
    assert shipped_models() == [shipped]
    assert find_artifact("PVT_V2_B0") == shipped
    assert find_artifact(exported) == exported


def test_what_ships_is_whole_and_named_as_in_the_registry():
    for folder in shipped_models():
        artifact = read_artifact(folder)
        artifact.verify()
        assert artifact.name == folder.name
        assert artifact.id2label == registry.labels(registry.find(artifact.name).labels)


def test_cached_models_are_the_whole_ones(cache):
    assert cached_models() == []
    models = cache / "models"
    second = write_artifact(models / "second")
    first = write_artifact(models / "first")
    write_artifact(models / ".third.0123.tmp")
    (models / "empty").mkdir()
    assert cached_models() == [first, second]
