"""`make eval-imagenet`: every model that is here gets its row, and a run that was interrupted goes on."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image
from tiny import COLOURS, LABELS, write_artifact

from onnxzoo import registry
from onnxzoo.artifact import folder as artifact
from onnxzoo.errors import EngineError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "eval_imagenet.py"


@pytest.fixture
def script(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with ImageNet shrunk to four colours and two models of it in the cache."""
    monkeypatch.setattr(registry, "labels", lambda _: LABELS)
    monkeypatch.setattr(artifact, "labels", lambda _: LABELS)
    for name in ("pvt_v2_b0", "pvt_v2_b1"):
        write_artifact(cache / "models" / name, name=name)
    for name, colour in COLOURS.items():
        (tmp_path / "imagenet" / "val" / name).mkdir(parents=True)
        Image.new("RGB", (48, 40), colour).save(tmp_path / "imagenet" / "val" / name / "0.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["eval_imagenet.py", "--data", "imagenet", "--out", "rows.json"])
    spec = importlib.util.spec_from_file_location("eval_imagenet", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_row_for_every_model_and_the_missing_ones_named(script, capsys):
    assert script.main() == 3
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2 + 16
    assert lines[2].startswith("| `pvt_v2_b0` | 70.52 % | 100.00 % (51.01 to 100.00) | 90.16 % | 100.00 %")
    assert lines[2].endswith("| 4 |")
    assert "| not measured |" in lines[4]
    assert err.splitlines()[-1].startswith("not on this machine (onnxzoo export NAME): pvt_v2_b2 pvt_v2_b2_linear")
    assert Path("rows.md").read_text() == out
    rows = json.loads(Path("rows.json").read_text())
    assert rows["pvt_v2_b1"]["documented"]["top1"] == 0.7869


def test_an_interrupted_run_keeps_what_is_finished(script, monkeypatch, capsys):
    measure, measured = script.measure, []

    def interrupted(name, arguments):
        if name == "pvt_v2_b1":
            raise KeyboardInterrupt
        return measure(name, arguments)

    monkeypatch.setattr(script, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        script.main()
    assert list(json.loads(Path("rows.json").read_text())) == ["pvt_v2_b0"]

    def noted(name, arguments):
        measured.append(name)
        return measure(name, arguments)

    monkeypatch.setattr(script, "measure", noted)
    assert script.main() == 3
    assert measured == ["pvt_v2_b1"]
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--limit", "2", "--models", "pvt_v2_b[01]"])
    assert script.main() == 0
    assert measured[1:] == ["pvt_v2_b0", "pvt_v2_b1"]  # other conditions
    assert "| 2 |" in capsys.readouterr().out.splitlines()[-1]


def test_a_model_that_fails_is_named_and_the_others_go_on(script, monkeypatch, capsys):
    measure = script.measure

    def failing(name, arguments):
        if name == "pvt_v2_b0":
            raise EngineError("a fault")
        return measure(name, arguments)

    monkeypatch.setattr(script, "measure", failing)
    assert script.main() == 1
    out, err = capsys.readouterr()
    assert "pvt_v2_b0: a fault" in err
    assert "not measured" in out.splitlines()[2]
    assert "100.00 %" in out.splitlines()[3]
