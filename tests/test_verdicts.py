"""Verdicts in the cache folder: a form of their own, read strictly and written whole."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from quantizing import write_colours

from onnxzoo import load
from onnxzoo.files import sha256_of
from onnxzoo.verdicts import Verdict, keep_verdict, kept_verdict, verdict_fault, verdicts_dir

KEY = {"model_sha256": "ab" * 32, "version": "1", "capability": [8, 9], "limit": None}
VERDICT = Verdict("2026-11-26T07:00:00+00:00", 6, (1, 6), 4.1e-6, 6)


def path_of(key: dict[str, Any] = KEY) -> Path:
    keep_verdict(key, VERDICT)
    (path,) = verdicts_dir().glob("*/*.json")
    return path


def test_a_verdict_is_found_under_its_whole_key_and_no_other() -> None:
    assert kept_verdict(KEY) is None
    keep_verdict(KEY, VERDICT)
    assert kept_verdict(dict(reversed(KEY.items()))) == VERDICT
    for name in KEY:
        assert kept_verdict({**KEY, name: "another"}) is None
    assert kept_verdict({**KEY, "driver": "1"}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": -1}, "its counts whole numbers"),
        ({"vectors": True}, "its counts whole numbers"),
        ({"batch_sizes": 1}, "its counts whole numbers"),
        ({"batch_sizes": ["1"]}, "its counts whole numbers"),
        ({"top1": 1.0}, "its counts whole numbers"),
        ({"date": 5}, "its date must be a text"),
        ({"max_abs": "0"}, "its largest difference must be a number"),
        ({"max_abs": -1.0}, "its largest difference must be a number"),
        ({"more": 1}, "expected batch_sizes, date, max_abs, top1, vectors"),
        ({"key": {**KEY, "version": "2"}}, "its key is not the one that the file is named by"),
        ({"key": 1}, "expected an object with a key"),
    ],
)
def test_another_form_is_ignored_and_named(change: dict[str, Any], message: str) -> None:
    path = path_of()
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert kept_verdict(KEY) is None
    assert message in str(verdict_fault(path))


def test_what_is_no_file_is_ignored() -> None:
    path = path_of()
    path.unlink()
    path.mkdir()
    assert kept_verdict(KEY) is None


def test_many_write_at_once_and_all_read_a_whole_one() -> None:
    def write(number: int) -> Verdict | None:
        keep_verdict(KEY, Verdict(VERDICT.date, number, (1,), 0.0, number))
        return kept_verdict(KEY)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(write, range(40)))
    assert all(one is not None and one.vectors == one.top1 for one in found)
    assert [path.name for path in verdicts_dir().rglob("*") if path.is_file()] == [path_of().name]


def test_the_cache_commands_know_verdicts_by_model(tmp_path: Path, cache: Path) -> None:
    model = write_colours(cache / "models" / "pvt_v2_b2")
    keep_verdict({**KEY, "model_sha256": sha256_of(model / "onnx/model.onnx")}, VERDICT)
    keep_verdict(KEY, VERDICT)

    def listed() -> list[str]:
        found = json.loads(run("cache", "list", "--json").stdout)["entries"]
        return [row["name"] for row in found if row["kind"] == "verdicts"]

    assert sorted(listed()) == ["ab" * 8, "pvt_v2_b2"]
    assert run("cache", "verify").exit_code == 0
    (path,) = verdicts_dir().glob(f"{'ab' * 8}/*")
    path.write_text("{")
    result = run("cache", "verify", "verdicts")
    assert (result.exit_code, str(path) in result.stdout) == (1, True)
    assert run("cache", "remove", "verdicts/pvt_v2_b2", "--yes").exit_code == 0
    assert listed() == ["ab" * 8]
    assert (model / "config.json").is_file()
    assert run("cache", "remove", "verdicts", "--yes").exit_code == 0
    assert listed() == []
    keep_verdict({**KEY, "model_sha256": sha256_of(model / "onnx/model.onnx")}, VERDICT)
    assert run("cache", "remove", "pvt_v2_b2", "--yes").exit_code == 0, "with the verdicts on its engines"
    assert listed() == []


def test_info_shows_what_was_verified_here(cache: Path) -> None:
    model = write_colours(cache / "models" / "pvt_v2_b2")
    assert "verified here" not in run("info", model).stdout
    with load(model, engine="openvino") as loaded:
        info = loaded.engine
    line = next(line for line in run("info", model).stdout.splitlines() if "verified here" in line)
    assert f"openvino {info.version} on CPU, fp32: max " in line
    assert "top-1 2 of 2 recorded inputs at batch 1, 2, 20" in line
    (found,) = json.loads(run("info", model, "--json").stdout)["artifact"]["verified"]
    assert (found["engine"], found["runs_on"], found["computes_in"], found["vectors"]) == ("openvino", "CPU", "fp32", 2)
    (path,) = verdicts_dir().glob("*/*.json")
    path.write_text("{")
    assert "verified here" not in run("info", model).stdout
