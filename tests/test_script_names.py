"""Scripts that no test runs (benchmarks, the oracle, examples) use only what the package has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Folders of the checkout that are installed as parts of the package.
SIBLINGS = ("exports", "training", "validators")
SCRIPTS = sorted(
    path
    for folder in ("benchmarks", "docs", "examples", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.startswith("test_")
)


def source_of(module: str) -> Path | None:
    """The file of a module of the package; None if there is none."""
    parts = module.split(".")[1:]
    base = ROOT if parts and parts[0] in SIBLINGS else ROOT / "onnxzoo"
    path = base.joinpath(*parts)
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache
def names_of(module: str) -> frozenset[str]:
    """What can be imported from a module, but for its submodules; with `*` where that is decided at run time."""
    file = source_of(module)
    assert file is not None
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {(alias.asname or alias.name).partition(".")[0] for alias in names}
    return frozenset(found | {"*"} if "__getattr__" in found else found)


def missing(source: str) -> Iterator[str]:
    """The names of the package that a script uses and that are not there."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "onnxzoo"):
            continue
        if source_of(node.module) is None:
            yield node.module
            continue
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if source_of(full) is not None:
                modules[alias.asname or alias.name] = full
            elif not names_of(node.module) & {alias.name, "*"}:
                yield full
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in modules:
                module = modules[name]
                if not names_of(module) & {attribute, "*"} and source_of(f"{module}.{attribute}") is None:
                    yield f"{module}.{attribute}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_uses_only_names_that_the_package_has(script: Path) -> None:
    assert sorted(set(missing(script.read_text(encoding="utf-8")))) == []


def test_names_that_are_gone_are_found() -> None:
    lines = ("from onnxzoo import registry", "from onnxzoo.nowhere import a", "from onnxzoo.registry import find, lost")
    assert list(missing("\n".join((*lines, "registry.gone()")))) == [
        "onnxzoo.nowhere",
        "onnxzoo.registry.lost",
        "onnxzoo.registry.gone",
    ]
