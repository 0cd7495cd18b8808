"""Steps in child processes: whatever a tool does, the caller gets one line and the log."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from onnxzoo.exports import child
from onnxzoo.exports.child import require_export_tools, run_step

from onnxzoo.errors import ExportError, MissingDependencyError


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a step whose module has this body; the step must write `product`."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(body: str, product: Path = tmp_path / "product") -> None:
        (tmp_path / "odd_step.py").write_text(f"import os, sys, signal\nproduct = sys.argv[1]\n{body}\n")
        run_step("odd_step", "convert", [product], product)

    return run


def test_a_step_that_writes_its_product_is_silent(step, capfd: pytest.CaptureFixture[str]) -> None:
    step("print('noise'); print('more', file=sys.stderr); open(product, 'w').write('x')")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('noise'); sys.exit(-1)", "export step 'convert' failed: exit code 255"),
        ("print('noise'); os.kill(os.getpid(), signal.SIGSEGV)", "export step 'convert' was killed by SIGSEGV"),
        ("print('noise'); os.abort()", "export step 'convert' was killed by SIGABRT"),
        ("print('noise'); raise ValueError('bad op')", "export step 'convert' failed: ValueError: bad op"),
        (
            "print('noise'); raise ValueError('bad op:\\nname: Conv.0\\n is odd')",
            "export step 'convert' failed: ValueError: bad op: name: Conv.0 is odd",
        ),
        ("print('noise')", "export step 'convert' ended without writing product"),
        ("print('noise'); open(product, 'w')", "export step 'convert' ended without writing product"),
    ],
)
def test_every_way_to_fail_is_one_line_with_the_log(step, body: str, message: str) -> None:
    with pytest.raises(ExportError) as caught:
        step(body)
    assert str(caught.value) == message
    assert "noise" in caught.value.log


def test_the_working_directory_is_not_imported_from(step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "onnx.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(elsewhere)
    step("assert '' not in sys.path and os.getcwd() not in sys.path, sys.path; open(product, 'w').write('x')")


def test_missing_tools_are_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "TOOLS", ("numpy", "no_such_tool"))
    if sys.version_info < (3, 13):
        with pytest.raises(MissingDependencyError, match=r"needs no_such_tool, .* pip install 'onnxzoo\[export\]'"):
            require_export_tools()
    monkeypatch.setattr(child, "sys", types.SimpleNamespace(version_info=(3, 14)))
    with pytest.raises(MissingDependencyError, match=r"wheels for Python 3\.11 and 3\.12 only, this is 3\.14"):
        require_export_tools()
