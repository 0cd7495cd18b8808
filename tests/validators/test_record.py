"""Recording a validation that passed in the artifact's config.json, and what `info` says of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from artifacts import MODEL, PVT, alter, announce, configure, copy_shipped, rename_producer, scale_initializer
from click.testing import CliRunner, Result
from onnxzoo.validators import record as record_module
from onnxzoo.validators.record import record, refuse_to_record
from onnxzoo.validators.validate import Validation

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.artifact.records import ValidationRecord
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, InputError, ValidationError
from onnxzoo.hub import SHIPPED_DIR

pytest.importorskip("onnxruntime", reason="needs the cpu extra")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copy_shipped(tmp_path / "copy")


def validated(folder: Path, **options: object) -> Validation:
    validation = Validation(read_artifact(folder), **{"engines": ["onnxruntime"], **options})
    for _ in validation.run():
        pass
    return validation


def cli(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_a_passed_validation_is_recorded_and_everything_else_stays(copy: Path) -> None:
    configure(copy, later={"ünknown": [1.5, None]})
    before = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (new,) = record(validated(copy))
    assert read_artifact(copy).validations == (new,)
    assert (new.engine, new.device, new.precision, new.reference) == ("onnxruntime", "CPU", "fp32", "conformance")
    assert (new.inputs, new.batch_sizes, new.tolerance) == (6, (1, 2, 3), 1e-4)
    assert 0 < new.mean_abs < new.max_abs < 1e-5
    assert new.top1_agreement == 1
    assert new.model_sha256 == read_artifact(copy).files[MODEL].sha256
    after = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    assert after.pop("validations") == [{**dataclasses.asdict(new), "batch_sizes": [1, 2, 3]}]
    assert after == before
    assert list(after) == list(before), "in the order in which it was"
    assert not list(copy.glob(".*"))


@pytest.mark.slow
def test_a_record_replaces_the_one_of_the_same_engine_and_keeps_the_others(copy: Path) -> None:
    record(validated(copy, engines=["onnxruntime", "openvino"]))
    record(validated(copy, batch_sizes=[4]))
    found = {entry.engine: entry.batch_sizes for entry in read_artifact(copy).validations}
    assert found == {"openvino": (1, 2, 3), "onnxruntime": (4,)}


@pytest.mark.slow
def test_records_of_a_file_that_was_replaced_are_stale_and_go(copy: Path) -> None:
    record(validated(copy, engines=["onnxruntime", "openvino"]))
    alter(copy, rename_producer)
    artifact = read_artifact(copy)
    assert len(artifact.validations) == 2
    assert artifact.validated("fp32") == ()
    info = cli("info", copy)
    assert info.stdout.count("STALE, about an ONNX file that was replaced: ") == 2
    assert [entry["stale"] for entry in json.loads(cli("info", copy, "--json").stdout)["artifact"]["validations"]] == [
        True,
        True,
    ]
    record(validated(copy))
    artifact = read_artifact(copy)
    assert [entry.engine for entry in artifact.validations] == ["onnxruntime"]
    assert artifact.validated("fp32") == artifact.validations
    assert artifact.validated("int8") == ()


@pytest.mark.slow
def test_what_failed_is_never_recorded(copy: Path) -> None:
    alter(copy, scale_initializer([96, 10], 1.01))
    before = (copy / "config.json").read_bytes()
    with pytest.raises(ValidationError, match="did not pass"):
        record(validated(copy))
    result = cli("validate", copy, "--record")
    assert result.exit_code == 1
    assert "not recorded: only a validation that passed is" in result.stdout
    assert (copy / "config.json").read_bytes() == before
    with pytest.raises(ValidationError, match="did not pass"):
        record(Validation(read_artifact(copy)))  # one that has not run at all


def test_what_did_not_come_to_its_end_is_never_recorded(copy: Path) -> None:
    validation = Validation(read_artifact(copy), engines=["onnxruntime"])
    assert next(validation.run())
    with pytest.raises(ValidationError, match="did not pass or did not finish"):
        record(validation)
    assert read_artifact(copy).validations == ()


def test_other_tolerances_beside_paddles_numbers_do_not_count(copy: Path) -> None:
    # A file that is called int8, as a reference: its tolerance is wide, that of Paddle's numbers is not.
    shutil.copyfile(copy / MODEL, copy / "onnx" / "model_int8.onnx")
    announce(copy, "onnx/model_int8.onnx", precision="int8")
    alter(copy, rename_producer)
    artifact = read_artifact(copy)
    validation = validated(copy, against=artifact, against_precision="int8", precisions=["fp32"])
    assert {check.tolerance.value for check in validation.checks} == {1e-4, 0.54}
    assert [entry.precision for entry in record(validation)] == ["fp32"]
    refuse_to_record(artifact, 0.5, ["int8"])
    with pytest.raises(InputError, match=r"0\.5 is more than 0\.0001 \(fp32\)"):
        refuse_to_record(artifact, 0.5, ["int8", "fp32"])
    (new,) = record(validated(copy, precisions=["int8"], tolerance=0.5))
    assert (new.precision, new.tolerance) == ("int8", 0.5)


def test_a_looser_tolerance_is_never_recorded(copy: Path) -> None:
    before = (copy / "config.json").read_bytes()
    with pytest.raises(ValidationError, match=r"0\.001 is more than 0\.0001, the default for fp32"):
        record(validated(copy, tolerance=1e-3))
    result = cli("validate", copy, "--record", "--tol", "1e-3")
    assert result.exit_code == 2
    assert "0.001 is more than 0.0001 (fp32); leave out --tol or --record" in result.stderr
    assert (copy / "config.json").read_bytes() == before
    (new,) = record(validated(copy, tolerance=5e-5))
    assert new.tolerance == 5e-5


def test_nothing_is_recorded_in_the_package_itself(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="is part of the installed package"):
        refuse_to_record(read_artifact(SHIPPED_DIR / PVT))
    before = (SHIPPED_DIR / PVT / "config.json").read_bytes()
    result = cli("validate", PVT, "--record")
    assert result.exit_code == 1
    assert "copy the folder and use the copy" in result.stderr
    assert (SHIPPED_DIR / PVT / "config.json").read_bytes() == before
    monkeypatch.setattr(record_module.os, "access", lambda *_: False)
    with pytest.raises(ArtifactError, match="cannot be written to; copy the folder, or change its permissions"):
        refuse_to_record(read_artifact(copy))


def test_a_write_that_fails_is_one_line_and_leaves_the_file(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validation = validated(copy)
    before = (copy / "config.json").read_bytes()

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onnxzoo.artifact.writing.atomic_write", full)
    with pytest.raises(ArtifactError, match=r"config\.json cannot be written: No space left on device"):
        record(validation)
    assert (copy / "config.json").read_bytes() == before


def test_an_artifact_that_changed_during_the_validation_is_not_recorded(copy: Path) -> None:
    validation = validated(copy)
    alter(copy, rename_producer)
    with pytest.raises(ArtifactError, match="has changed during the validation"):
        record(validation)


def test_info_shows_what_was_recorded(copy: Path) -> None:
    assert "nothing recorded" in cli("info", copy).stdout
    assert cli("validate", copy, "--record", "--engine", "onnxruntime").exit_code == 0
    shown = cli("info", copy).stdout
    (entry,) = read_artifact(copy).validations
    assert f"onnxruntime {entry.version} on CPU, fp32, against conformance: max {entry.max_abs:.2e}" in shown
    assert "of 6 inputs at batch 1, 2, 3, tolerance 0.0001" in shown
    assert "STALE" not in shown
    document = json.loads(cli("info", copy, "--json").stdout)["artifact"]["validations"]
    assert document == [{**dataclasses.asdict(entry), "batch_sizes": [1, 2, 3], "stale": False}]
    assert isinstance(entry, ValidationRecord)


def test_what_is_not_json_is_refused_and_never_shown(copy: Path) -> None:
    record(validated(copy))
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["tools"]["odd"] = float("nan")
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = cli("info", copy, "--json")
    assert result.exit_code == 1
    assert "NaN is not JSON" in result.stderr


def test_agreeing_with_another_artifact_does_not_prove_paddles_numbers(copy: Path, tmp_path: Path) -> None:
    other = copy_shipped(tmp_path / "other")
    alter(other, rename_producer)
    new = record(validated(copy, against=read_artifact(other)))
    assert [entry.reference for entry in new] == ["conformance"]
    assert isinstance(new, tuple)


def test_the_command_says_where_it_recorded(copy: Path) -> None:
    result = cli("validate", copy, "--record", "--engine", "onnxruntime", "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [entry["engine"] for entry in document["recorded"]] == ["onnxruntime"]
    with pytest.raises(InputError, match="leave out --tol or --record"):
        refuse_to_record(read_artifact(copy), 1.0)
