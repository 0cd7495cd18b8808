"""`onnxzoo validate`: options that go together and those that do not, what it prints, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from artifacts import (
    MODEL,
    PVT,
    SWIN,
    alter,
    announce,
    copy_shipped,
    exported,
    exported_folder,
    rename_producer,
    scale_initializer,
)
from click.testing import CliRunner, Result
from onnxzoo.validators import engine_checks, many, validate
from onnxzoo.validators import report as report_module

from onnxzoo import image_reading
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cli import main
from onnxzoo.engines import create_engine, nvidia
from onnxzoo.errors import EngineUnavailableError
from onnxzoo.hub import lookup

pytest.importorskip("onnxruntime", reason="needs the cpu extra")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["validate", *(str(one) for one in arguments)])


@pytest.fixture(autouse=True)
def shipped_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models that ship are there in fp32 only: what is checked of an engine is then one file."""
    for name in (PVT, SWIN):
        exported(name)
    monkeypatch.setattr(lookup, "SHIPPED_DIR", exported_folder())


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    folder = copy_shipped(tmp_path / "broken")
    alter(folder, scale_initializer([96, 10], 1.01))
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name a model or an artifact folder, or give --all or --preprocess"),
        (["--all", PVT], 2, f"--all validates every model; leave out {PVT}"),
        (["--all", "--record", "--report", "x.html"], 2, "leave out --report, --record"),
        (["--preprocess", "--record"], 2, "--record need a model"),
        ([PVT, "--layers"], 2, "--layers needs a reference that has layers: give --weights or --against"),
        ([PVT, "--against-precision", "int8"], 2, "--against-precision needs --against"),
        ([PVT, "--images", "tests"], 2, "the folder 'tests' contains no images"),
        ([PVT, "--samples", "3"], 2, "there is nothing to compare such inputs with"),
        ([PVT, "--samples", "0", "--against", SWIN], 2, "expected a whole number from 1 to 1000, got '0'"),
        ([PVT, "--tol", "0"], 2, "expected a number greater than 0, got '0'"),
        ([PVT, "--tol", "nan"], 2, "the tolerance must be a positive number, got nan"),
        ([PVT, "--tol", "inf"], 2, "the tolerance must be a positive number, got inf"),
        ([PVT, "--batch-size", "0"], 2, "expected a whole number from 1, got '0'"),
        ([PVT, "--precision", "fp4"], 2, "no tolerance for the precision 'fp4'"),
        ([PVT, "--precision", "int8"], 2, "has no 'int8' model; available precisions: fp32"),
        ([PVT, "--engine", "onnxruntme"], 2, "did you mean 'onnxruntime'"),
        ([PVT, "--against", SWIN], 2, "has 32 pixels a side"),
        ([PVT, "--against", PVT], 1, "a model always agrees with itself"),
        ([PVT, "--weights", "nowhere.pdparams"], 2, "does not exist"),
        (["swinv2_large_w24"], 3, "is not on this machine"),
        (["./nowhere"], 3, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.slow
def test_the_table_of_a_model_that_passes() -> None:
    result = run(PVT, "--tol", "1e-4")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{PVT} in ")
    assert lines[0].endswith("tolerance 0.0001 (fp32)")
    assert lines[1].split()[:8] == ["engine", "precision", "reference", "batch", "inputs", "max", "mean", "99.9"]
    assert [line.split()[:4] for line in lines[2:6]] == [
        ["openvino", "fp32", "conformance", "1"],
        ["openvino", "fp32", "conformance", "2"],
        ["openvino", "fp32", "conformance", "3"],
        ["openvino", "fp32", "order", "3"],
    ]
    assert lines[-1] == "passed: 8 of 8 checks"


def test_a_model_that_fails_says_what_and_how_to_find_where(broken: Path) -> None:
    result = run(broken, "--engine", "onnxruntime", "--batch-size", "1")
    assert result.exit_code == 1
    assert "  FAILED: 'logits' differs by up to" in result.stdout
    assert f"to find the layer at fault: onnxzoo validate {broken} --weights CHECKPOINT" in result.stdout
    assert result.stdout.splitlines()[-1] == "FAILED: 0 of 1 checks passed"


@pytest.mark.slow
def test_against_another_revision_the_layer_is_found_without_paddle(broken: Path) -> None:
    result = run(broken, "--against", PVT, "--engine", "onnxruntime", "--batch-size", "1", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [found["part"] for found in document["bisections"]] == ["head"]
    assert {check["reference"]: check["passed"] for check in document["checks"]} == {
        "conformance": False,
        "against": False,
    }


def test_json_has_every_figure_and_no_nan(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_openvino(name: str, model_file: Path, *_: object, **__: object) -> object:
        if name == "openvino":
            raise EngineUnavailableError("openvino is not installed")
        return create_engine(name, model_file)

    monkeypatch.setattr(engine_checks, "open_engine", without_openvino)
    monkeypatch.setattr(validate, "ENGINES", {"openvino": "", "onnxruntime": ""})
    result = run(PVT, "--json", "--preprocess")
    assert result.exit_code == 0
    document = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["passed"] is True
    assert document["unavailable"] == {"openvino in fp32": "openvino is not installed"}
    first = document["checks"][0]
    assert first["engine"]["name"] == "onnxruntime"
    assert (first["reference"], first["batch_size"], first["samples"], first["passed"]) == ("conformance", 1, 6, True)
    assert first["tolerance"] == {"value": 1e-4, "snr_db": None}
    assert first["comparison"].keys() >= {"max_abs", "mean_abs", "worst_ratio", "top1_agreement", "top5_agreement"}
    figures = first["comparison"]["outputs"]["logits"]
    assert figures["absolute"].keys() == {"max", "mean", "median", "p999"}
    assert 100 < figures["snr_db"] < 160
    assert 0.999999 < figures["cosine"] <= 1
    assert sum(figures["histogram"]) == 60
    assert all(case["passed"] for case in document["preprocess"])
    assert document["inputs"][0] == "chelsea.jpg"
    assert "CPU flags" in document["environment"]


def test_unavailable_engines_are_named_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "ENGINES", {"onnxruntime": "", "openvino:GPU.7": ""})
    result = run(PVT)
    assert result.exit_code == 0
    assert "openvino:GPU.7 in fp32: not checked: openvino finds no device GPU.7 here" in result.stdout


@pytest.mark.slow
def test_images_and_a_report(tmp_path: Path, photos: Path) -> None:
    other = copy_shipped(tmp_path / "other", SWIN)
    alter(other, rename_producer)
    report = tmp_path / "report.html"
    result = run(other, "--against", SWIN, "--images", photos, "--seed", "4", "--samples", "3", "--report", report)
    assert result.exit_code == 0
    assert f"report: {report}" in result.stdout
    text = report.read_text(encoding="utf-8")
    assert "noise 4.2" in text
    assert "green.png" in text


def test_an_image_that_cannot_be_read_is_named_and_left_out(tmp_path: Path, photos: Path) -> None:
    other = copy_shipped(tmp_path / "other", SWIN)
    alter(other, rename_producer)
    (photos / "bad.png").write_bytes(b"no image")
    result = run(other, "--against", SWIN, "--images", photos, "--samples", "9", "--engine", "onnxruntime")
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert f"{photos / 'bad.png'} is not an image" in result.stderr
    for image in photos.iterdir():
        image.write_bytes(b"no image")
    result = run(other, "--against", SWIN, "--images", photos, "--engine", "onnxruntime")
    assert result.exit_code == 2
    assert "images to validate with can be read" in result.stderr


def test_a_file_name_cannot_forge_a_line(tmp_path: Path, photos: Path) -> None:
    folder = copy_shipped(tmp_path / "x\npassed: 8 of 8 checks")
    alter(folder, scale_initializer([96, 10], 1.01))
    result = run(folder, "--engine", "onnxruntime")
    assert result.exit_code == 1
    assert "\npassed: " not in result.stdout


# --preprocess


def test_preprocessing_needs_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("--preprocess")
    assert result.exit_code == 0
    assert result.stdout.startswith("preprocessing passed: 27 of 27 images")
    monkeypatch.setattr(image_reading, "_upright", lambda picture, _orientation: picture)
    result = run("--preprocess")
    assert result.exit_code == 1
    assert "  FAILED: EXIF orientation 6: " in result.stdout
    assert "preprocessing FAILED: 20 of 27 images" in result.stdout
    document = json.loads(run("--preprocess", "--json").stdout)
    assert document["passed"] is False
    assert next(case["case"] for case in document["preprocess"] if not case["passed"]) == "EXIF orientation 2"


def test_a_pipeline_that_moves_pixels_fails_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_reading, "_upright", lambda picture, _orientation: picture)
    result = run(PVT, "--preprocess", "--engine", "onnxruntime")
    assert result.exit_code == 1
    assert "preprocessing FAILED: 23 of 30 images" in result.stdout
    assert "FAILED: 4 of 4 checks" in result.stdout


# --all


@pytest.mark.slow
def test_all_goes_on_after_failures_and_sums_up(cache: Path, broken: Path) -> None:
    models = cache / "models"
    shutil.copytree(broken, models / "broken_one")
    copy_shipped(models / "good_one", SWIN)
    altered = copy_shipped(models / "altered_one")
    (altered / "conformance.npz").write_bytes(b"nonsense")
    (models / "a_mess").mkdir()
    (models / "a_mess" / "config.json").write_text("{")
    result = run("--all")
    assert result.exit_code == 1
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert rows[PVT].endswith("passed")
    assert "package" in rows[SWIN]
    assert rows["good_one"].split()[1:4] == ["cache", "8", "0"]
    assert "FAILED: openvino, conformance, batch 1: 'logits' differs by up to" in rows["broken_one"]
    assert "conformance.npz has 8 bytes, expected" in rows["altered_one"]
    assert "cannot be read" in rows["a_mess"]
    assert result.stdout.splitlines()[-1] == "FAILED: 3 of 6 models"
    assert "broken_one (3 of 6)" not in result.stdout


def test_a_ratio_that_is_wider_than_its_column_stays_apart_from_its_neighbour() -> None:
    result = run(PVT, "--engine", "openvino", "--tol", "1e-12")
    assert result.exit_code == 1
    cells = next(line.split() for line in result.output.splitlines() if line.startswith("openvino"))
    assert len(cells) == 12
    assert float(cells[8].rstrip("%")) > 1e6


def test_all_takes_the_choices_of_engine_and_tolerance(cache: Path) -> None:
    result = run("--all", "--engine", "onnxruntime", "--batch-size", "2", "--json", "--preprocess")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["passed"] is True
    assert [(model["model"], model["checks"], model["passed"]) for model in document["models"]] == [
        (PVT, 2, True),
        (SWIN, 2, True),
    ]
    assert len(document["preprocess"]) == 27
    result = run("--all", "--engine", "openvino:GPU.7")
    assert result.exit_code == 3
    assert "openvino finds no device GPU.7 here" in result.stderr
    result = run("--all", "--engine", "onnxruntime", "--tol", "1e-9")
    assert result.exit_code == 1
    assert "FAILED: 0 of 2 models" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "onnxruntme"], "did you mean 'onnxruntime'"),
        (["--precision", "fp4"], "no tolerance for the precision 'fp4'"),
        (["--tol", "nan"], "the tolerance must be a positive number, got nan"),
    ],
)
def test_a_usage_error_is_not_a_failure_of_the_models(cache: Path, arguments: list[str], message: str) -> None:
    result = run("--all", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.slow
def test_all_says_what_it_skipped_and_what_it_could_not_check(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = copy_shipped(cache / "models" / "both")
    shutil.copyfile(both / MODEL, both / "onnx" / "model_int8.onnx")
    announce(both, "onnx/model_int8.onnx", precision="int8")
    result = run("--all", "--precision", "int8", "--engine", "onnxruntime")
    assert result.exit_code == 3
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "skipped: pvt_v2_nano_fashion has no 'int8' model; available precisions: fp32" in rows[PVT]
    assert rows["both"].endswith("  passed")
    assert result.stdout.splitlines()[-1] == "incomplete: 1 of 3 models passed, 2 skipped"

    def without_openvino(name: str, model_file: Path, *_: object, **__: object) -> object:
        if name == "openvino":
            raise EngineUnavailableError("openvino is not installed")
        return create_engine(name, model_file)

    monkeypatch.setattr(engine_checks, "open_engine", without_openvino)
    monkeypatch.setattr(validate, "ENGINES", {"openvino": "", "onnxruntime": ""})
    result = run("--all", "--precision", "fp32")
    assert result.exit_code == 0
    assert result.stdout.count("openvino in fp32: not checked: openvino is not installed\n") == 1
    document = json.loads(run("--all", "--precision", "fp32", "--json").stdout)
    assert document["models"][0]["unavailable"] == {"openvino in fp32": "openvino is not installed"}
    # A model that fails is the answer, whatever could not be checked.
    alter(both, scale_initializer([96, 10], 1.01))
    assert run("--all", "--precision", "fp32", "--engine", "openvino", "--engine", "onnxruntime").exit_code == 3
    assert run("--all", "--precision", "fp32", "--engine", "onnxruntime", "--engine", "openvino").exit_code == 1


@pytest.mark.slow
def test_json_names_everything_that_decides(broken: Path, tmp_path: Path) -> None:
    result = run(broken, "--against", PVT, "--engine", "onnxruntime", "--batch-size", "1", "--seed", "5", "--json")
    document = json.loads(result.stdout)
    assert document["seed"] == 5
    assert document["tolerances"] == {"fp32": {"value": 1e-4, "snr_db": None}}
    against = read_artifact(exported(PVT)).files[MODEL]
    reference = document["references"]["against"]
    assert (reference["precision"], reference["sha256"]) == ("fp32", against.sha256)
    assert Path(reference["path"]) == exported(PVT) / MODEL
    assert document["references"]["conformance"]["path"] == "conformance.npz"


def test_a_tolerance_that_is_not_the_one_above_the_table_is_said(broken: Path) -> None:
    lines = run(PVT, "--engine", "onnxruntime", "--tol", "1e-3").stdout.splitlines()
    assert "tolerance 0.001 (fp32)" in lines[0]
    assert [line.endswith("  tolerance 0.0001") for line in lines[2:6]] == [False, False, False, True]


def test_a_report_that_cannot_be_written_is_said_before_and_never_costs_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "report.html", tmp_path / "file" / "deeper" / "report.html"):
        result = run(PVT, "--report", place)
        assert result.exit_code == 2
        assert f"the report cannot be written to {place}" in result.stderr
        assert result.stdout == ""

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report_module, "atomic_write", full)
    result = run(PVT, "--engine", "onnxruntime", "--report", tmp_path / "report.html", "--json")
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert json.loads(result.stdout)["passed"] is True


def test_all_of_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "SHIPPED_DIR", tmp_path / "none")
    assert many.cached_models() == []
    result = run("--all")
    assert result.exit_code == 3
    assert "there is no model on this machine to validate" in result.stderr
    assert "onnxzoo export NAME" in result.stderr


def test_a_refused_validation_creates_no_folder_for_its_report(tmp_path):
    result = run(PVT, "--engine", "nonsense", "--report", tmp_path / "new" / "deep" / "report.html")
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_an_engine_that_cannot_run_leaves_no_head_of_a_table(monkeypatch):
    monkeypatch.setattr(nvidia, "driver_fault", lambda: "there is no NVIDIA driver")
    result = run(PVT, "--engine", "cuda")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "driver" in result.stderr
