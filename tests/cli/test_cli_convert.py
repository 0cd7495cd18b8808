"""`onnxzoo convert`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from artifacts import PVT, copy_shipped
from click.testing import CliRunner, Result

from onnxzoo.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["convert", *map(str, arguments)])


@pytest.mark.slow
def test_the_report_for_people_and_for_programs(tmp_path: Path) -> None:
    said = run(PVT, "--to", "openvino-ir", "--out", tmp_path / "one")
    assert said.exit_code == 0, said.output
    first, second, third, fourth = said.stdout.splitlines()
    assert first.startswith(f"{tmp_path / 'one' / 'model.xml'}  ")
    assert second.startswith(f"{tmp_path / 'one' / 'model.bin'}  ")
    assert third.startswith("pvt_v2_nano_fashion in fp32, by openvino 20")
    assert "(tolerance 0.0001) at batch size 1 and 6, 100% of the best classes agree" in third
    assert fourth.startswith(
        "note: load it with INFERENCE_PRECISION_HINT=f32, or the numbers differ; by default OpenVINO "
    )
    printed = run(PVT, "--to", "openvino-ir", "--out", tmp_path / "two", "--json")
    document = json.loads(printed.stdout)
    assert document.pop("folder") == str(tmp_path / "two")
    assert document == json.loads((tmp_path / "two" / "model.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([PVT, "--to", "tflite", "--out", "x"], 2, "'tflite' is not one of"),
        ([PVT, "--to", "ort"], 2, "Missing option '--out'"),
        ([PVT, "--to", "ort", "--out", "x", "--precision", "bf16"], 2, "'bf16' is not one of"),
        ([PVT, "--to", "ort", "--out", "x", "--timeout-s", "0"], 2, "expected a number greater than 0"),
        ([PVT, "--to", "ort", "--out", "x", "--timeout-s", "nan"], 2, "must be a positive number of seconds"),
        ([PVT, "--to", "ort", "--out", "taken"], 2, "is not empty and stays as it is"),
        (["pvt", "--to", "ort", "--out", "x"], 2, "unknown model 'pvt'"),
        (["./nowhere", "--to", "ort", "--out", "x"], 3, "nowhere"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    result = run(*arguments)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_refusal_is_a_no(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "model")
    result = run(folder, "--to", "openvino-ir", "--out", tmp_path / "out", "--timeout-s", "0.001")
    assert result.exit_code == 1
    assert "the converter for openvino-ir did not end within 0.001 s and was killed" in result.stderr
    assert not (tmp_path / "out").exists()
