"""Progress: a line on a terminal's stderr whatever stdout is, and nothing anywhere else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onnxzoo.cli.progress import progress

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
termios = pytest.importorskip("termios", reason="needs pseudo-terminals")


def all_of(terminal: int) -> bytes:
    """What was written to a terminal until nobody has it open; closes our end."""
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how Linux ends a terminal that nobody has open
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    return shown


def on_a_terminal(*arguments: str | Path, stdout_too: bool = False) -> tuple[str, str]:
    """Run `onnxzoo ARGUMENTS` with stderr, perhaps stdout, on a terminal: what stdout got, and the terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 120))
    command = [sys.executable, "-P", "-m", "onnxzoo", *map(str, arguments)]
    stdout = theirs if stdout_too else subprocess.PIPE
    with subprocess.Popen(command, stdout=stdout, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = all_of(ours)
        printed = process.stdout.read() if process.stdout is not None else b""
    assert process.returncode == 0, shown
    return printed.decode(), shown.decode()


@pytest.fixture
def image() -> Path:
    return Path(__file__).parents[1] / "data" / "fashion_mnist_sample" / "Sneaker" / "0009.png"


@pytest.fixture(params=["predict", "eval", "validate"])
def arguments(request: pytest.FixtureRequest, tiny: Path, image: Path) -> list[str | Path]:
    if request.param == "predict":
        return ["predict", tiny, image]
    if request.param == "eval":
        return ["eval", "pvt_v2_nano_fashion", "--data", image.parent.parent, "--limit", "10"]
    return ["validate", "pvt_v2_nano_fashion", "--engine", "openvino", "--batch-size", "1"]


@pytest.mark.slow
def test_progress_is_on_a_terminals_stderr_unless_quiet(arguments):
    printed, shown = on_a_terminal(*arguments)
    assert "\r" in shown
    assert {"predict": "predicting", "eval": "classifying", "validate": "validating"}[str(arguments[0])] in shown
    assert "\r" not in printed
    quiet, shown = on_a_terminal(*arguments, "-q")
    assert shown == ""
    assert len(quiet.splitlines()) == len(printed.splitlines())


@pytest.mark.slow
def test_off_a_terminal_there_is_none(arguments):
    command = [sys.executable, "-P", "-m", "onnxzoo", *map(str, arguments)]
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_results_on_the_same_terminal_stay_whole(tiny, image, options):
    printed, _ = on_a_terminal("predict", tiny, image, image, *options)
    _, shown = on_a_terminal("predict", tiny, image, image, *options, stdout_too=True)
    screen: list[str] = []
    for line in shown.split("\n"):
        # What a terminal shows of a line is what comes after it was last begun anew, cleared by spaces.
        parts = [part for part in line.replace("\x1b[A", "").split("\r") if part.strip()]
        screen += parts[-1:]
    for line in filter(None, printed.splitlines()):
        assert line in screen
    if options:
        assert len(json.loads(printed)["results"]) == 2


def test_quiet_needs_no_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with progress("reading", "images", quiet=True) as line:
        line.begin("predicting", 3)
        line.advance(1, 2)
    with pytest.raises(ImportError), progress_on_a_terminal(monkeypatch):
        pass


def progress_on_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    return progress("reading", "images", quiet=False)


@pytest.mark.parametrize("columns", [0, 120], ids=["no size stated", "120 columns"])
def test_the_line_and_its_count_are_shown_on_a_terminal_of_any_width(monkeypatch, columns):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30 if columns else 0, columns))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with progress("loading", "candidates", quiet=False) as line:
            line.step("measuring each layer alone", 44, 0)
            began = line._bar.start_t
            line.step("measuring each layer alone", 44, 7)
            line._bar.refresh()  # which a thread does every half second
            assert line._bar.start_t == began, "its time goes on, and does not begin anew with every layer"
            line.step("validating")
    shown = all_of(ours).decode()
    for words in ("loading", "measuring each layer alone", "7/44", "validating"):
        assert words in shown


def test_a_run_shows_what_is_done_of_how_many_how_fast_what_is_left_and_errors(monkeypatch):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 120))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with progress("loading", "images", quiet=False) as line:
            line.begin("predicting", 5000, done=1000)
            line._bar.start_t -= 10
            line.advance(1000, 5000)
            line.advance(3000, 5000, errors=1)
            line._bar.refresh()
            line.advance(4000, 5000, errors=12)
            line._bar.refresh()
            line.begin("joining")
            line._bar.refresh()
    lines = [line.rstrip() for line in all_of(ours).decode().split("\r")]
    # 2000 in 10 s in this run, whatever an earlier one did.
    (done,) = [line for line in lines if "3000/5000" in line and "1 error" in line][-1:]
    assert re.search(r"60%.*\[00:10<00:\d\d, .* images/s, 1 error\]$", done)
    assert any("4000/5000" in line and line.endswith("12 errors]") for line in lines)
    assert not any("joining" in line and "error" in line for line in lines)
