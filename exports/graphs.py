"""Makes the shipped graphs without weights: normal exports with seeded weights, from which the weights are removed.

    python -m onnxzoo.exports.graphs --out onnxzoo/graphs [NAME ...] [--again]

makes those whose fingerprint no longer matches the code (`make graphs`). A graph's fingerprint covers the forms, steps
and passes, the constants of its family, the versions of the converters, and the model's registry entry. The largest
models need 8 GB of memory.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import gzip
import hashlib
import io
import json
import logging
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..artifact.folder import INPUT_NAME, OUTPUT_NAMES
from ..artifact.writing import tool_versions
from ..errors import ExportError
from ..families import FAMILIES, ModelSpec, constants
from ..families.family import State
from ..files import atomic_write
from ..graphs import INDEX_FILE, Graph, constant_name, file_name, graphs, spec_of
from ..registry import ModelEntry, find, models
from ..temporary import scratch_folder
from .child import require_export_tools
from .conversion import convert
from .steps import OPSET

logger = logging.getLogger(__name__)

CONVERTERS = ("paddlepaddle", "paddlepaddle-gpu", "paddle2onnx", "onnx", "onnxsim")
SEEDS = (1, 2)
"""Seeds of the weights for making graphs; constants that are equal for both do not depend on a checkpoint."""

_OWN_MODULE = re.compile(r"^from \.[\w.]* import")

PACKAGE = Path(__file__).resolve().parent
FAMILIES_FOLDER = Path(sys.modules[ModelSpec.__module__].__file__ or "").resolve().parent


def made_from(entry: ModelEntry) -> str:
    """The fingerprint, a SHA-256, of everything that determines the graph of `entry`.

    It covers the code of source files, but not comments, docstrings, blank lines and file names.
    """
    others = {f"{family}.py" for family in FAMILIES if family != entry.family}
    sources = [
        PACKAGE / "conversion.py",
        PACKAGE / "finish.py",
        *(path for folder in ("forms", "passes", "steps") for path in (PACKAGE / folder).glob("*.py")),
        *(FAMILIES_FOLDER / entry.family / part for part in ("architecture.py", "constants.py")),
    ]
    document = {
        "sources": sorted(code_of(path.read_text(encoding="utf-8")) for path in sources if path.name not in others),
        "interface": [INPUT_NAME, *OUTPUT_NAMES],
        "tools": converter_versions(),
        "model": [entry.family, entry.architecture.to_dict(), entry.image_size, spec_of(entry).num_classes],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def code_of(source: str) -> str:
    """Python source without comments, docstrings, errors, blank lines, trailing spaces and names of our modules.

    These are cut from the text, as code printed from the syntax tree differs between versions of Python.
    """
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Raise | ast.Expr):
            continue
        if isinstance(node, ast.Raise) or isinstance(node.value, ast.Constant):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0] - 1
            lines[line] = lines[line][: token.start[1]]
    return "\n".join(_OWN_MODULE.sub("from . import", line.rstrip()) for line in lines if line.strip())


def converter_versions() -> dict[str, str]:
    """Versions of the installed converters by name."""
    return {name: version for name, version in tool_versions().items() if name in CONVERTERS}


def make_graph(entry: ModelEntry, folder: Path) -> Graph:
    """Export `entry` with seeded weights and write its weightless graph into `folder`.

    Raises ExportError with the log of a failed tool, or if the constants to be filled in cannot be separated from those
    to keep; MissingDependencyError without the export tools.
    """
    from ..reference.exact.engine import exact_model
    from ..weights.seeded import seeded_state

    require_export_tools()
    spec = spec_of(entry)
    with scratch_folder("graph") as work:
        exported = work / "model.onnx"
        shapes = exact_model(spec).shapes
        state = seeded_state(shapes, SEEDS[0])
        variable = variable_constants(spec, state, seeded_state(shapes, SEEDS[1]))
        convert(spec, state, {"name": entry.name}, exported, lambda _title: None)
        content = emptied(exported, variable, constants(spec, state))
    with atomic_write(folder / file_name(entry.name)) as file:
        file.write(gzip.compress(content, 9, mtime=0))
    digest = hashlib.sha256(content).hexdigest()
    return Graph(entry.name, digest, made_from(entry), OPSET, converter_versions())


def variable_constants(spec: ModelSpec, state: State, other: State) -> frozenset[str]:
    """The names of the graph's constants that differ between two checkpoints."""
    theirs = constants(spec, other)
    return frozenset(
        name for name, value in constants(spec, state).items() if value.tobytes() != theirs[name].tobytes()
    )


def emptied(exported: Path, variable: frozenset[str], known: Mapping[str, Any]) -> bytes:
    """The bytes of an exported file without the values of the initializers that `known` contains.

    Raises ExportError unless every constant in `variable` has its own initializer with exactly its values.
    """
    import onnx

    model = onnx.load(exported)
    found = set()
    for tensor in model.graph.initializer:
        name = constant_name(tensor.name, known)
        if name is not None:
            if tensor.raw_data != known[name].tobytes():
                raise ExportError(f"the graph's {tensor.name!r} has other numbers than the constant {name!r}")
            found.add(name)
            tensor.ClearField("raw_data")
    if lost := variable - found:
        raise ExportError(f"the graph has no initializer for {len(lost)} constants, the first {min(lost)!r}")
    # Metadata about its making is written when the graph is filled.
    model.ClearField("producer_version")
    del model.metadata_props[:]
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def stale(names: list[str]) -> Iterator[str]:
    """The models among `names` whose graph is missing or was made from different code."""
    there = graphs()
    for name in names:
        if name not in there or there[name].made_from != made_from(models()[name]):
            yield name


def write_index(folder: Path, made: Mapping[str, Graph]) -> None:
    """Write the index of the graphs in `folder`, in the registry's order, without those of unknown models."""
    index = {
        name: {key: value for key, value in dataclasses.asdict(made[name]).items() if key != "name"}
        for name in models()
        if name in made
    }
    with atomic_write(folder / INDEX_FILE) as file:
        file.write((json.dumps(index, indent=2) + "\n").encode())


def main() -> int:
    """Make the requested graphs that are not up to date, one after the other."""
    parser = argparse.ArgumentParser(prog="onnxzoo.exports.graphs", description="Make the graphs that ship.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all ImageNet models")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="in the source: onnxzoo/graphs")
    parser.add_argument("--again", action="store_true", help="also make those that are up to date")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = [find(name).name for name in options.names] or official_models()
    made = graphs()
    for name in names if options.again else list(stale(names)):
        logger.info("%s ...", name)
        made[name] = make_graph(models()[name], options.out)
        write_index(options.out, made)
    total = sum(path.stat().st_size for path in options.out.glob("*.gz"))
    logger.info("%d graphs, %d bytes", len(made), total)
    return 0


def official_models() -> list[str]:
    """The models with officially published weights, for which a graph ships."""
    return [entry.name for entry in models().values() if entry.source.timm_repo is not None]


if __name__ == "__main__":
    sys.exit(main())
