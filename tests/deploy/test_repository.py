"""Writing into a repository: models verified and whole, names that servers accept, nothing of others destroyed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from artifacts import PVT
from command_line import is_one_error_line, run
from tiny import SIZE, tiny_graph, write_artifact

from onnxzoo import files
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.deploy.chosen import choose
from onnxzoo.deploy.repository import MARK, UNCHANGED, WRITTEN, Repository
from onnxzoo.errors import ArtifactError, InputError
from onnxzoo.files import sha256_of


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "tiny artifact")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


def deployed(repo: Path, *models: str | Path, version: int = 1, link: bool = False) -> list[str]:
    return [Repository(repo, link=link).add_version(one, version) for one in choose([*map(str, models)])]


def test_a_version_is_an_artifact_with_the_chosen_file_only(repo):
    (chosen,) = choose([PVT], precision="int8")
    assert Repository(repo).add_version(chosen, 3) == WRITTEN
    found = read_artifact(repo / PVT / "3")
    found.verify()
    assert found.precisions == ("int8",)
    assert found.files["model.onnx"].weights_bits == 7
    assert found.model_file("int8") == repo / PVT / "3" / "model.onnx"
    assert sha256_of(repo / PVT / "3" / "model.onnx") == chosen.sha256
    assert found.id2label == chosen.source.artifact.id2label


def test_a_model_can_be_deployed_from_a_repository(repo, tiny, tmp_path):
    deployed(repo, tiny)
    assert deployed(tmp_path / "second", repo / "tiny" / "1") == [WRITTEN]
    one, two = repo / "tiny" / "1", tmp_path / "second" / "tiny" / "1"
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in two.iterdir()
    }


def test_the_same_again_changes_nothing(repo, tiny):
    assert deployed(repo, tiny) == [WRITTEN]
    assert deployed(repo, tiny) == [UNCHANGED]


def test_a_copy_stays_when_the_artifact_changes_and_a_link_is_the_same_file(repo, tiny, tmp_path):
    source = tiny / "onnx" / "model.onnx"
    deployed(repo, tiny)
    assert not source.samefile(repo / "tiny" / "1" / "model.onnx")
    deployed(tmp_path / "linked", tiny, link=True)
    assert source.samefile(tmp_path / "linked" / "tiny" / "1" / "model.onnx")


def test_a_link_that_is_not_possible_is_an_error_and_leaves_nothing(repo, tiny, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match=r"cannot be linked into .* leave out --link"):
        deployed(repo, tiny, link=True)
    assert [*(repo / "tiny").iterdir()] == []


def test_a_damaged_model_is_refused_and_nothing_is_left(repo, tiny):
    model = tiny / "onnx" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactError, match="was altered"):
        deployed(repo, tiny)
    assert not any(path.is_file() for path in repo.rglob("*"))


def test_a_copy_that_went_wrong_is_noticed(repo, tiny, monkeypatch):
    def truncated(source: Path, target: Path) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:-1])

    monkeypatch.setattr("onnxzoo.deploy.repository.shutil.copyfile", truncated)
    with pytest.raises(ArtifactError, match="expected"):
        deployed(repo, tiny)
    assert [*(repo / "tiny").iterdir()] == []


def test_another_model_of_this_version_stays(repo, tiny, tmp_path):
    deployed(repo, tiny)
    before = (repo / "tiny" / "1" / "config.json").read_bytes()
    graph = tiny_graph()
    graph.graph.name = "another"
    other = write_artifact(tmp_path / "other", model=graph)
    with pytest.raises(ArtifactError, match=r"1 holds something else and stays as it is; deploy .* as --version 2"):
        deployed(repo, other)
    assert (repo / "tiny" / "1" / "config.json").read_bytes() == before
    assert deployed(repo, other, version=2) == [WRITTEN]
    with pytest.raises(ArtifactError, match="--version 3"):
        deployed(repo, tiny, version=2)


def test_a_damaged_version_does_not_count_as_unchanged(repo, tiny):
    deployed(repo, tiny)
    (repo / "tiny" / "1" / "model.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="has 1 bytes, expected"):
        deployed(repo, tiny)


def test_a_file_of_somebody_else_in_a_version_stays(repo, tiny):
    (repo / "tiny" / "1").mkdir(parents=True)
    (repo / "tiny" / "1" / "model.plan").write_bytes(b"theirs")
    with pytest.raises(ArtifactError, match="holds something else"):
        deployed(repo, tiny)
    with pytest.raises(ArtifactError, match="was not written by onnxzoo"):
        Repository(repo).require_own_model(choose([tiny])[0])
    assert [path.name for path in (repo / "tiny" / "1").iterdir()] == ["model.plan"]


def test_versions_must_have_the_same_classes(repo, tiny, tmp_path):
    deployed(repo, tiny)
    labels = {str(number): f"class {number}" for number in range(4)}
    other = write_artifact(tmp_path / "other", changes={"id2label": labels})
    with pytest.raises(ArtifactError, match="has other classes or another image size"):
        Repository(repo).require_own_model(choose([other])[0])


def test_a_repository_inside_an_artifact_is_refused(tiny):
    for place in (tiny, tiny / "onnx", tiny / "new" / "repo"):
        with pytest.raises(InputError, match=r"is inside the artifact .* would then contain itself"):
            deployed(place, tiny)
    assert sorted(path.name for path in tiny.iterdir()) == ["config.json", "onnx", "preprocessor_config.json"]


def test_a_repository_that_is_a_file_or_the_package_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        Repository(tmp_path / "file")
    with pytest.raises(ArtifactError, match="is part of the installed package"):
        Repository(choose([PVT])[0].source.artifact.folder.parent)


def test_a_killed_writer_leaves_no_version(repo, tiny, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deployed(repo, tiny)
    assert [*(repo / "tiny").iterdir()] == []


def test_a_text_without_the_mark_is_theirs(repo):
    ours, theirs = Repository(repo), repo / "a.txt"
    repo.mkdir()
    theirs.write_text(f"something\n{MARK}")
    with pytest.raises(ArtifactError, match="stays as it is"):
        ours.require_mark("a.txt")
    ours.require_mark("b.txt")
    ours.write("b.txt", f"# {MARK}\n".encode())
    ours.require_mark("b.txt")


@pytest.mark.parametrize("name", ["a b", "../up", "", "é", "-a", "a.", "x" * 101, "a\nb", "a%20b"])
def test_names_that_no_server_can_have(name, tmp_path):
    folder = write_artifact(tmp_path / "a")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "name": name or "?"}))
    with pytest.raises(InputError, match="cannot be a model's name on a server"):
        choose([folder])
    assert choose([f"good={folder}"])[0].name == "good"


def test_two_models_of_one_name(tiny, tmp_path):
    other = write_artifact(tmp_path / "other")
    with pytest.raises(InputError, match=r"two models would be served as 'tiny': .* give one another name, NAME="):
        choose([tiny, other])
    with pytest.raises(InputError, match="two models would be served as 'Tiny'"):
        choose([tiny, f"Tiny={other}"])
    assert [one.name for one in choose([tiny, f"mine={other}"])] == ["tiny", "mine"]


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_artifact(tmp_path / "lr=0.1")
    assert choose(["lr=0.1"])[0].name == "tiny"
    assert choose([str(tmp_path / "lr=0.1")])[0].name == "tiny"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["./nowhere"], 3, "there is no folder nowhere"),
        (["."], 1, "is not an artifact"),
        (["pvt_v2_b9"], 2, "unknown model"),
        ([], 2, "Missing argument 'MODEL...'"),
        ([PVT, "--version", "0"], 2, "expected a whole number from 1"),
        ([PVT, "--precision", "bf16"], 2, "--precision"),
    ],
)
@pytest.mark.parametrize("server", ["triton", "ovms"])
def test_wrong_arguments_are_one_line(tmp_path, monkeypatch, server, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    done = run("deploy", server, *arguments, "--out", "repo")
    assert done.exit_code == code
    assert is_one_error_line(done.stderr)
    assert message in done.stderr
    assert not (tmp_path / "repo").exists()


def test_a_precision_that_the_model_does_not_have(tiny, repo):
    done = run("deploy", "triton", tiny, "--out", repo, "--precision", "int8")
    assert done.exit_code == 2
    assert "tiny has no 'int8' model; available precisions: fp32" in done.stderr


def test_json(repo, tiny):
    done = run("deploy", "triton", tiny, "--out", repo, "--json")
    document = json.loads(done.stdout)
    assert document["models"] == [
        {
            "name": "tiny",
            "version": 1,
            "precision": "fp32",
            "sha256": sha256_of(tiny / "onnx" / "model.onnx"),
            "result": "written",
        }
    ]
    assert document["repository"] == str(repo)
    assert read_artifact(repo / "tiny" / "1").image_size == SIZE
