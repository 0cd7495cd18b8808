"""Would a test notice? Single changes to the source, each tried on a copy with the tests named for it.

`tests/mutants.toml` has the changes: of the kind that slips in (a check gone, a bound off by one, another default) and
that would hurt a user. `make mutants` tries them all and prints a table; exit code 1 when a change survives (the tests
named for it pass), no longer applies (its text is not once in the file, or a test is gone) or was not reached in time.

    python tests/mutants.py [--only TEXT] [--jobs N] [--minutes M]

The working tree is never written to: the package is laid out in a temporary folder as it is installed, and found
there first by way of PYTHONPATH. Without any change the tests must pass, else nothing is known.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")
KILLED, SURVIVED, STALE, UNREACHED = "killed", "SURVIVED", "NO LONGER APPLIES", "NOT REACHED"
SECONDS_EACH = 120.0
"""A change may make a test wait for ever; then it is noticed, too."""
TESTS_FAILED = 1
"""pytest's exit code for that; others say that the tests are not there or could not be run."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: in `file`, the text `old`, which must be there once, becomes `new`; `tests` must notice.

    `what`: what would be wrong then. `file` and `tests` (pytest's node ids) are relative to the project's folder.
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, source: str) -> str | None:
        """The changed source; None when the change no longer applies."""
        return source.replace(self.old, self.new) if source.count(self.old) == 1 else None


def read_mutants(file: Path) -> list[Mutant]:
    """The changes of a TOML file of [[mutant]] tables. ValueError for one that changes nothing or occurs twice."""
    found = [
        Mutant(one["what"], one["file"], one["old"], one["new"], tuple(one["tests"]))
        for one in tomllib.loads(file.read_text(encoding="utf-8"))["mutant"]
    ]
    for one in found:
        if one.old == one.new or not one.tests:
            raise ValueError(f"{file}: {one.what!r} changes nothing, or names no tests")
    twice = [what for what, count in Counter(one.what for one in found).items() if count > 1]
    if twice:
        raise ValueError(f"{file}: there are two of {twice}")
    return found


class Tree:
    """A copy of the project in which the package lies as it is installed: `lib/onnxzoo`, with all parts in it."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        places: dict[str, str] = project["tool"]["setuptools"]["package-dir"]
        # The longest first: exports/forms/x.py lies in onnxzoo.exports.forms.
        self._places = sorted(((Path(at), name) for name, at in places.items()), key=lambda one: -len(one[0].parts))
        skipped = shutil.ignore_patterns("__pycache__")
        for at, name in reversed(self._places):
            shutil.copytree(root / at, self._package(name), ignore=skipped, dirs_exist_ok=True)
        shutil.copytree(root / "tests", folder / "tests", ignore=skipped)
        shutil.copyfile(root / "pyproject.toml", folder / "pyproject.toml")

    def source(self, file: str) -> Path:
        """Where a file of the project lies here."""
        for at, name in self._places:
            if Path(file).is_relative_to(at):
                return self._package(name) / Path(file).relative_to(at)
        raise ValueError(f"{file} is not a file of the package")

    def run(self, tests: Sequence[str], seconds: float) -> tuple[int | None, str]:
        """pytest's exit code on these tests, None when they took longer, and what it printed."""
        # Without .pyc files: two changes of one file within a second look alike to them.
        path = {"PYTHONPATH": str(self.folder / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env={**os.environ, **path}, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return None, ""
        return done.returncode, done.stdout + done.stderr

    def _package(self, name: str) -> Path:
        return self.folder / "lib" / Path(*name.split("."))


def tried(mutant: Mutant, tree: Tree, seconds: float) -> tuple[str, str]:
    """The outcome of one change, and what to add to it."""
    try:
        file = tree.source(mutant.file)
        source = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return STALE, str(error)
    changed = mutant.applied(source)
    if changed is None:
        return STALE, f"the text is {source.count(mutant.old)} times in {mutant.file}"
    file.write_text(changed, encoding="utf-8")
    try:
        code, printed = tree.run(mutant.tests, seconds)
    finally:
        file.write_text(source, encoding="utf-8")
    if code is None:
        return KILLED, f"no end after {seconds:.0f} s"
    if code == TESTS_FAILED:
        return KILLED, ""
    if code == 0:
        # A test that was skipped has noticed nothing either.
        return SURVIVED, " ".join(mutant.tests)
    return STALE, f"pytest could not run the tests: {printed.strip().splitlines()[-1]}"


def run(mutants: Sequence[Mutant], root: Path, *, jobs: int, minutes: float) -> int:
    """Try all changes, print the table; 0 when every one was noticed."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="onnxzoo-mutants-") as folder:
        trees = [Tree(root, Path(folder, str(number))) for number in range(jobs)]
        tests = sorted({test for one in mutants for test in one.tests})
        code, printed = trees[0].run(tests, minutes * 60)
        if code != 0:
            print(printed)
            print("without any change, the tests do not pass: nothing is known of the changes")
            return 1
        free: queue.Queue[Tree] = queue.Queue()
        for tree in trees:
            free.put(tree)

        def one(mutant: Mutant) -> tuple[str, str]:
            left = started + minutes * 60 - time.monotonic()
            if left <= 0:
                return UNREACHED, f"within {minutes:g} minutes"
            tree = free.get()
            try:
                return tried(mutant, tree, min(SECONDS_EACH, left))
            finally:
                free.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            outcomes = list(pool.map(one, mutants))
    for mutant, (outcome, more) in zip(mutants, outcomes, strict=True):
        print(f"{outcome:17}  {mutant.file}: {mutant.what}" + (f" ({more})" if more else ""))
    counts = Counter(outcome for outcome, _ in outcomes)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()), end="")
    print(f" of {len(mutants)} changes in {time.monotonic() - started:.0f} s")
    return int(counts[KILLED] < len(mutants))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Try single changes to the source: would a test notice?")
    parser.add_argument("--only", default="", help="those whose file or description has this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="changes tried at a time")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no other one is begun")
    asked = parser.parse_args(arguments)
    mutants = [one for one in read_mutants(LIST) if asked.only in one.file or asked.only in one.what]
    if not mutants:
        parser.error(f"no change in {LIST.name} has {asked.only!r} in its file or description")
    return run(mutants, ROOT, jobs=max(1, min(asked.jobs, len(mutants))), minutes=asked.minutes)


if __name__ == "__main__":
    sys.exit(main())
