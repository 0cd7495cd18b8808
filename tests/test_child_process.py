"""Child processes: time limit, folder and environment; how they fail is tested with the export's steps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxzoo.child_process import run_module


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a module `odd_module` with this body."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda body: (tmp_path / "odd_module.py").write_text(f"import os, sys, time\n{body}\n")


def test_a_process_gets_arguments_folder_and_environment(module, tmp_path: Path) -> None:
    module("print(sys.argv[1:], os.getcwd(), os.environ['ODD'], sys.stdin.read())")
    ended = run_module("odd_module", ["a", Path("b")], folder=tmp_path, environment={**os.environ, "ODD": "yes"})
    assert (ended.failure, ended.output) == (None, f"['a', 'b'] {tmp_path.resolve()} yes \n")


def test_a_process_that_takes_too_long_is_killed_and_its_output_kept(module) -> None:
    module("print('begun', flush=True); time.sleep(600)")
    ended = run_module("odd_module", [], timeout_s=2)
    assert (ended.failure, ended.output, ended.explained) == ("did not end within 2 s and was killed", "begun\n", False)


def test_an_exception_explains_a_failure_and_an_exit_code_does_not(module) -> None:
    module("raise ValueError('bad')")
    assert run_module("odd_module", []).explained
    module("sys.exit(4)")
    ended = run_module("odd_module", [])
    assert (ended.failure, ended.explained) == ("failed: exit code 4", False)
