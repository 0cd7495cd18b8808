"""`validate --engine oip:`: the numbers behind an address are proved, and another model's are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from artifacts import PVT, SWIN, alter, copy_shipped
from command_line import is_one_error_line, run
from oip_double import OipDouble, served
from onnx import numpy_helper
from onnxzoo.validators.record import record
from onnxzoo.validators.validate import ONE_FILE, Validation
from tiny import write_artifact

from onnxzoo.artifact.folder import INPUT_NAME, read_artifact
from onnxzoo.engines import create_engine
from onnxzoo.errors import ValidationError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.loading import load


def serving(folder: Path, precision: str = "fp32") -> OipDouble:
    """A server of this artifact's file, on a real engine."""
    artifact = read_artifact(folder)
    engine = create_engine("onnxruntime", artifact.model_file(precision))
    shapes = {name: [-1, *spec.shape[1:]] for name, spec in engine.outputs.items()}
    size = artifact.image_size
    return OipDouble(lambda images: engine.run({INPUT_NAME: images}), shapes, [-1, 3, size, size])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pvt() -> Iterator[OipDouble]:
    with served(serving(SHIPPED_DIR / PVT)) as double:
        yield double


@pytest.fixture(scope="module")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OipDouble]:
    """The same model, with one bias of its head changed by a thousandth of a unit."""
    folder = copy_shipped(tmp_path_factory.mktemp("altered") / "model")

    def change(model) -> None:
        bias = next(one for one in model.graph.initializer if one.dims == [10])
        values = numpy_helper.to_array(bias).copy()
        values[3] += 1e-3
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))

    alter(folder, change)
    with served(serving(folder)) as double:
        yield double


def test_a_server_of_the_model_passes_at_1e_4(pvt):
    done = run("validate", PVT, "--engine", f"oip:{pvt.url}", "--tol", "1e-4", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    asked = [check for check in result["checks"] if check["engine"]["name"] == "oip"]
    assert {check["precision"] for check in asked} == {"fp32"}
    assert {(check["batch_size"], check["reference"]) for check in asked} == {
        (1, "conformance"),
        (2, "conformance"),
        (3, "conformance"),
        (3, "order"),
    }
    assert {check["engine"]["version"] for check in asked} == {"double 1.2"}
    assert sum(path.endswith("/infer") for path, _, _ in pvt.requests) > 6


def test_an_altered_model_is_caught(altered):
    done = run("validate", PVT, "--engine", f"oip:{altered.url}", "--tol", "1e-4")
    assert done.exit_code == 1
    assert "FAILED: " in done.stdout
    assert "the server does not give this model's numbers" in done.stdout
    # An address does not fit into its column: it stands above its checks, once.
    assert [line for line in done.stdout.splitlines() if "oip:" in line and "not checked" not in line] == [
        f"oip:{altered.url} (double 1.2)"
    ]


def test_a_server_of_another_model_is_caught(pvt, tmp_path):
    done = run("validate", SWIN, "--engine", f"oip:{pvt.url}")
    assert done.exit_code == 1
    assert (
        "takes other inputs: input 'pixel_values' must have shape (any, 3, 32, 32), got (1, 3, 48, 48)" in done.stdout
    )
    labels = {str(number): f"class {number}" for number in range(5)}
    other = copy_shipped(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    assert len(labels) < len(config["id2label"])
    with served(OipDouble(pvt.compute, {**pvt.shapes, "logits": [-1, 5]}, pvt.input_shape)) as double:
        done = run("validate", other, "--engine", f"oip:{double.url}")
    assert done.exit_code == 1
    assert "has shape (3, 10), its metadata says (None, 5)" in done.stdout


@pytest.mark.slow
def test_other_precisions_only_if_they_are_named(pvt):
    validation = Validation(read_artifact(SHIPPED_DIR / PVT), engines=[f"oip:{pvt.url}"])
    assert {check.precision for check in validation.run() if check.engine.name == "oip"} == {"fp32"}
    assert validation.unavailable[f"oip:{pvt.url} in int8"] == ONE_FILE
    with served(serving(SHIPPED_DIR / PVT, "int8")) as double:
        named = Validation(read_artifact(SHIPPED_DIR / PVT), engines=[f"oip:{double.url}"], precisions=["int8"])
        assert all(named.run())
        assert not all(Validation(read_artifact(SHIPPED_DIR / PVT), engines=[f"oip:{double.url}"]).run())


def test_a_server_that_is_gone_is_an_error_even_beside_others():
    """It was asked for, so that the engines that work must not make up for it."""
    done = run("validate", PVT, "--engine", "oip:http://127.0.0.1:1/m", "--engine", "onnxruntime")
    assert done.exit_code == 3
    assert done.stderr.startswith(
        "onnxzoo: error: http://127.0.0.1:1/v2/models/m cannot be reached: Connection refused"
    )


@pytest.mark.slow
def test_another_artifact_is_not_run_by_the_server_itself(altered, tmp_path):
    """`--against` runs both in one engine; a server would be compared with itself, and agree whatever it serves."""
    other = copy_shipped(tmp_path / "other")
    alter(other, lambda model: setattr(model, "doc_string", "the same numbers in another file"))
    validation = Validation(
        read_artifact(SHIPPED_DIR / PVT), engines=[f"oip:{altered.url}"], against=read_artifact(other), samples=1
    )
    checks = [check for check in validation.run() if check.reference == "against" and check.precision == "fp32"]
    assert checks
    assert not any(checks)


@pytest.mark.slow
def test_layers_of_a_server_are_not_looked_for(altered, tmp_path):
    other = copy_shipped(tmp_path / "other")
    alter(other, lambda model: setattr(model, "doc_string", "the same numbers in another file"))
    done = run("validate", PVT, "--engine", f"oip:{altered.url}", "--against", other)
    assert done.exit_code == 1
    assert "a server does not give the values of layers" in done.stdout


def test_a_server_is_not_recorded(pvt, tmp_path):
    folder = copy_shipped(tmp_path / "copy")
    done = run("validate", folder, "--engine", f"oip:{pvt.url}", "--record")
    assert done.exit_code == 2
    assert is_one_error_line(done.stderr)
    assert "--record is for engines that run the artifact's file" in done.stderr
    validation = Validation(read_artifact(folder), engines=[f"oip:{pvt.url}"])
    assert all(validation.run())
    with pytest.raises(ValidationError, match="it is not recorded"):
        record(validation)
    assert read_artifact(folder).validations == ()


@pytest.mark.parametrize(
    ("engine", "code", "message"),
    [
        ("oip", 2, "needs the address of a model on a server"),
        ("oip:", 2, "needs the address of a model on a server"),
        ("oip:http://127.0.0.1:1", 2, "the model is missing"),
        ("oip:http://u:secret@127.0.0.1:1/m", 2, "logins do not belong there"),
        ("oip:http://127.0.0.1:1/m", 3, "cannot be reached: Connection refused"),
        ("oyp:http://127.0.0.1:1/m", 2, "did you mean 'oip'?"),
    ],
)
def test_servers_that_are_none_are_one_line(engine, code, message):
    done = run("validate", PVT, "--engine", engine)
    assert done.exit_code == code
    assert is_one_error_line(done.stderr)
    assert message in done.stderr
    assert "secret" not in done.output


def test_a_model_on_a_server_predicts_and_is_verified_every_time(pvt, tmp_path, cache):
    image = np.zeros((32, 32, 3), np.uint8)
    for _ in range(2):
        with load(PVT, engine=f"oip:{pvt.url}") as model, load(PVT, engine="onnxruntime") as own:
            assert model.predict(image).label == own.predict(image).label
            assert model.engine.verified is True
            assert "verified now" in model.engine.verification
    kept = [path.read_text() for path in cache.rglob("*.json")]
    assert not any('"oip"' in text for text in kept)
    with pytest.raises(Exception, match="must be float32"):
        load(write_artifact(tmp_path / "a"), engine=f"oip:{pvt.url}")
