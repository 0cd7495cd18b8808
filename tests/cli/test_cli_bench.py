"""`onnxzoo bench`: refusals before anything is measured, the table, the JSON document, and being interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import is_one_error_line, run
from timed import SteadyGate, made_up_group

from onnxzoo.bench import run as running
from onnxzoo.bench.result import Group
from onnxzoo.cli.bench_text import group_lines

SHIPPED = "pvt_v2_nano_fashion"


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring would be a failure of the test."""

    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("something was measured")

    monkeypatch.setattr(running, "measure", never)


@pytest.fixture
def quick(short_samples: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is always healthy, and short samples."""
    monkeypatch.setattr(running, "Gate", lambda: SteadyGate(0.02))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--engine", "openvno"], 2, "did you mean 'openvino'"),
        (["--precision", "int4"], 2, "'int4' is not a precision (there are fp32, auto, fp16, bf16, int8)"),
        (["--batch-size", "0"], 2, "expected a whole number from 1"),
        (["--batch-size", "1000000"], 2, "batch_size must be at most"),
        (["--threads", "two"], 2, "expected a whole number from 1, got 'two'"),
        (["--samples", "0"], 2, "expected a whole number from 1"),
        (["--plot", "p.jpg"], 2, "name it p.png"),
        (["--plot", "nowhere/p.png"], 2, "there is no folder nowhere"),
        (["--images", "nowhere"], 2, "'nowhere' does not exist"),
        (["--peer", "tensorflow"], 2, "'tensorflow' is not a peer"),
        (["--peer", "torch", "--peer-python", "/nowhere/python"], 2, "does not run as a Python interpreter"),
        (["--peer-python", "/nowhere/python"], 2, "--peer-python and --weights are for --peer"),
        (["--peer", "paddle", "--weights", "nowhere"], 2, "'nowhere' does not exist"),
    ],
)
def test_bad_options_are_one_line_and_nothing_is_measured(
    nothing_runs: None, options: list[str], code: int, message: str
) -> None:
    result = run("bench", SHIPPED, *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert is_one_error_line(result.stderr)
    assert message in result.stderr


def test_a_model_that_is_not_there(nothing_runs: None, tmp_path: Path) -> None:
    for name, code in (("pvt_v2_b9", 2), (str(tmp_path / "nothing"), 3)):
        result = run("bench", SHIPPED, name)
        assert result.exit_code == code
        assert is_one_error_line(result.stderr)


def test_a_precision_that_the_model_lacks_names_those_it_has(nothing_runs: None, tiny: Path) -> None:
    result = run("bench", tiny, "--precision", "int8")
    assert result.exit_code == 2
    assert is_one_error_line(result.stderr)
    assert f"it has fp32; make one: onnxzoo quantize {tiny} --precision int8" in result.stderr


def test_a_folder_without_images_is_refused(nothing_runs: None, tmp_path: Path) -> None:
    result = run("bench", SHIPPED, "--images", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path} holds no images" in result.stderr


def test_without_matplotlib_nothing_is_measured(
    nothing_runs: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("bench", SHIPPED, "--plot", tmp_path / "p.png")
    assert result.exit_code == 3
    assert is_one_error_line(result.stderr)


def test_the_table_says_what_failed_what_was_busy_and_what_is_unknown() -> None:
    title, head, ours, low, peer, failed, limit, note = group_lines(made_up_group())
    assert title == "pvt_v2_b0, batch size 1"
    words = [" ".join(line.split()) for line in (head, ours, low)]
    assert words == [
        "contender prec. min p50 p95 p99 ms images/s GFLOP/s of limit load first s MiB SNR dB top-1 healthy",
        "openvino fp32 9.50 10.00 11.00 12.50 100.0 106 53% 0.50 0.012 126 125.6 91.83% 9/10",
        "openvino int8 4.50 5.00* 6.00 7.00 200.0 - - 0.70 0.010 140 31.5 - 0/20",
    ]
    assert peer.startswith("paddle2onnx (onnxruntime)")
    assert failed.split(maxsplit=2) == ["torch-compile", "fp32", "failed: no C++ compiler"]
    assert limit == "limit: a matrix product reaches, GFLOP/s: 200 in fp32 on openvino"
    assert note.startswith("* the machine was busy")
    # All columns end where their heads do.
    assert {len(line) for line in (head, ours, low, peer)} == {len(head)}


@pytest.mark.slow
def test_a_run_prints_the_table_and_draws(quick: None, tmp_path: Path) -> None:
    result = run("bench", SHIPPED, "--engine", "onnxruntime", "--samples", "1", "--plot", tmp_path / "p.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{SHIPPED}, batch size 1\n")
    assert "91.83%" in result.stdout
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_peer_that_is_not_installed_is_one_line_and_the_rest_is_measured(quick: None) -> None:
    result = run("bench", SHIPPED, "--engine", "onnxruntime", "--samples", "1", "--peer", "torch")
    assert result.exit_code == 0
    assert result.stderr == (
        f"onnxzoo: torch is left out: {sys.executable} has no torch, timm; install: pip install torch timm\n"
    )
    assert "91.83%" in result.stdout


@pytest.mark.slow
def test_one_json_document_from_image_files(quick: None, tiny: Path, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    result = run(
        "bench", tiny, "--engine", "onnxruntime", "--samples", "1", "--batch-size", "2", "--images", photos, "--json"
    )
    # An image that cannot be read is told, and left out.
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    document = json.loads(result.stdout)
    assert document["complete"] is True
    assert document["settings"] | {"threads": 0} == {"threads": 0, "samples": 1, "from": "image files", "images": 4}
    (row,) = document["results"]
    assert (row["model"], row["batch_size"], row["speed"]["samples"]) == ("tiny", 2, 1)
    assert "CPU flags" in document["machine"]


def interrupted(*_arguments: Any, **_options: Any) -> Iterator[Group]:
    yield made_up_group()
    raise KeyboardInterrupt


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interruption_leaves_what_was_measured(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    monkeypatch.setattr(running, "measure", interrupted)
    result = run("bench", SHIPPED, *(["--json"] if as_json else []))
    assert result.exit_code == 130
    if as_json:
        document = json.loads(result.stdout)
        assert document["complete"] is False
        assert [row["contender"] for row in document["results"]] == [row.contender for row in made_up_group().rows]
    else:
        assert "openvino" in result.stdout
        assert "stopped; what is above was measured" in result.stderr


def test_a_row_that_failed_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "measure", lambda *arguments, **options: (group for group in [made_up_group()]))
    assert run("bench", SHIPPED).exit_code == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_and_leaves_no_file(tiny: Path, number: signal.Signals, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import sys, os, signal\n"
        "from onnxzoo.bench import run\n"
        "from onnxzoo.cli import main\n"
        "real = run._timed\n"
        f"run._timed = lambda *given: (os.kill(os.getpid(), {int(number)}), real(*given))\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-P", "-c", code, "bench", str(tiny), "--engine", "onnxruntime", "--json"]
    child = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "TMPDIR": str(scratch)}
    )
    assert child.returncode == (130 if number == signal.SIGINT else 143)
    assert child.stdout == ""
    assert list(scratch.iterdir()) == []
    assert str(scratch) not in _commands()


def _commands() -> str:
    """The command lines of all processes; those that measure name their jobs in it, by path."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            found.append((process / "cmdline").read_bytes().decode(errors="replace"))
    return "\n".join(found)
