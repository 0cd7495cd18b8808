"""The list of single changes is tried as it says, on a copy: what is noticed, what is not, what no longer applies."""

from __future__ import annotations

from pathlib import Path

import mutants
import pytest

PROJECT = """
[tool.setuptools]
package-dir = { toyzoo = "toyzoo", "toyzoo.parts" = "parts", "toyzoo.parts.inner" = "parts/inner" }
"""
TESTS = """
from toyzoo import double
from toyzoo.parts.inner.bound import LIMIT

def test_double():
    assert double(3) == 6

def test_limit():
    assert LIMIT == 10

def test_nothing():
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package that lies in two folders, and its tests."""
    root = tmp_path / "project"
    for folder in ("toyzoo", "parts/inner", "tests"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (root / "toyzoo/__init__.py").write_text("def double(x):\n    return x * 2\n", encoding="utf-8")
    (root / "parts/inner/bound.py").write_text("LIMIT = 10\nOTHER = 10\n", encoding="utf-8")
    (root / "tests/test_toy.py").write_text(TESTS, encoding="utf-8")
    return root


def change(what: str, file: str, old: str, new: str, test: str) -> mutants.Mutant:
    return mutants.Mutant(what, file, old, new, (f"tests/test_toy.py::{test}",))


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


NOTICED = change("doubles wrongly", "toyzoo/__init__.py", "x * 2", "x * 3", "test_double")
NOTICED_TOO = change("another limit", "parts/inner/bound.py", "LIMIT = 10", "LIMIT = 11", "test_limit")
UNNOTICED = change("nobody looks", "toyzoo/__init__.py", "x * 2", "x * 4", "test_nothing")
GONE = change("text gone", "toyzoo/__init__.py", "x / 2", "x", "test_double")
TWICE = change("text twice", "parts/inner/bound.py", "= 10", "= 11", "test_limit")
NO_FILE = change("file gone", "toyzoo/other.py", "x", "y", "test_limit")
ELSEWHERE = change("no source", "tests/test_toy.py", "3", "4", "test_double")


@pytest.mark.slow
def test_a_detected_mutant_passes_and_the_project_is_unchanged(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(project)
    assert mutants.run([NOTICED, NOTICED_TOO], project, jobs=2, minutes=2) == 0
    printed = capsys.readouterr().out
    assert "killed             toyzoo/__init__.py: doubles wrongly\n" in printed
    assert "2 killed of 2 changes" in printed
    assert files_of(project) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "outcome"),
    [
        (UNNOTICED, mutants.SURVIVED),
        (GONE, mutants.STALE),
        (TWICE, mutants.STALE),
        (NO_FILE, mutants.STALE),
        (ELSEWHERE, mutants.STALE),
    ],
    ids=lambda value: getattr(value, "what", ""),
)
def test_an_undetected_mutant_fails(
    project: Path, capsys: pytest.CaptureFixture[str], one: mutants.Mutant, outcome: str
) -> None:
    assert mutants.run([NOTICED, one], project, jobs=1, minutes=2) == 1
    printed = capsys.readouterr().out
    assert f"{outcome:17}  {one.file}: {one.what} (" in printed
    assert "killed             toyzoo/__init__.py: doubles wrongly\n" in printed


@pytest.mark.slow
def test_tests_that_fail_without_a_change_or_are_gone_say_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "toyzoo/__init__.py").write_text("def double(x):\n    return x * 5\n", encoding="utf-8")
    assert mutants.run([NOTICED], project, jobs=1, minutes=2) == 1
    assert "without any change, the tests do not pass" in capsys.readouterr().out
    gone = change("test gone", "toyzoo/__init__.py", "x * 5", "x * 2", "test_that_was_renamed")
    assert mutants.run([gone], project, jobs=1, minutes=2) == 1


def test_a_mutant_that_times_out_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutants.Tree, "run", lambda *_: (0, ""))
        assert mutants.run([NOTICED], project, jobs=1, minutes=0) == 1
    assert "NOT REACHED        toyzoo/__init__.py: doubles wrongly (within 0 minutes)" in capsys.readouterr().out


def test_the_list_can_be_read_and_names_files_that_are_there() -> None:
    found = mutants.read_mutants(mutants.LIST)
    assert len(found) >= 60
    for one in found:
        assert (mutants.ROOT / one.file).is_file(), one
        for test in one.tests:
            assert (mutants.ROOT / test.partition("::")[0]).is_file(), one


@pytest.mark.parametrize(("old", "new"), [("a", "a"), ("a", "b")])
def test_a_list_with_a_change_that_is_none_or_there_twice_is_refused(tmp_path: Path, old: str, new: str) -> None:
    entry = f'[[mutant]]\nwhat = "w"\nfile = "f"\nold = "{old}"\nnew = "{new}"\ntests = ["t"]\n'
    file = tmp_path / "list.toml"
    file.write_text(entry * 2, encoding="utf-8")
    with pytest.raises(ValueError, match=r"changes nothing, or names no tests|there are two of"):
        mutants.read_mutants(file)


def test_every_change_of_the_list_still_applies() -> None:
    """`make mutants` takes minutes, so what no longer applies has to show here: the text is once in its file."""
    root = Path(mutants.__file__).parents[1]
    gone = []
    for one in mutants.read_mutants(root / "tests" / "mutants.toml"):
        file, tests = root / one.file, {root / test.partition("::")[0] for test in one.tests}
        if (
            not file.is_file()
            or one.applied(file.read_text(encoding="utf-8")) is None
            or not all(map(Path.is_file, tests))
        ):
            gone.append(one.what)
    assert gone == []
