"""The graphs of the registry's ImageNet models without their weights, made by `onnxzoo.exports`.

`NAME.onnx.gz` is the ONNX file of a normal export without the values that depend on a checkpoint
(`onnxzoo.artifact.onnx_filling`); `index.json` describes how each was made. `make graphs` writes both.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ..artifact.onnx_filling import Weightless, parse_weightless
from ..errors import ArtifactError
from ..families import ModelSpec
from ..registry import ModelEntry, labels
from ..strict_json import parse_json

INDEX_FILE = "index.json"

_SHAPED = re.compile(r"\.\d+(x\d+)+$")


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph. `sha256`: of the weightless file. `made_from`: of the code that made it (see `exports/graphs.py`).

    `opset`: its operator set. `tools`: the converters that made it, with their versions.
    """

    name: str
    sha256: str
    made_from: str
    opset: int
    tools: Mapping[str, str]

    def weightless(self) -> Weightless:
        """The graph, for filling. Raises ArtifactError if the installed file is not the one in the index."""
        try:
            content = gzip.decompress(_read(file_name(self.name)))
        except (OSError, EOFError, zlib.error):
            content = b""
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ArtifactError(
                f"the graph of {self.name} in the installed package is damaged or missing; install onnxzoo anew"
            )
        return parse_weightless(content)


def spec_of(entry: ModelEntry) -> ModelSpec:
    """The spec of a registry model's graph: its image size, and the number of classes of its label set."""
    return ModelSpec(entry.architecture, entry.image_size, len(labels(entry.labels)))


def file_name(name: str) -> str:
    """The file name of a model's graph."""
    return f"{name}.onnx.gz"


def graphs() -> dict[str, Graph]:
    """The shipped graphs by model name. Raises ArtifactError if the index is damaged."""
    try:
        index = parse_json(_read(INDEX_FILE))
        return {name: Graph(name, **values) for name, values in index.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"the index of the graphs in onnxzoo is damaged ({error}); install onnxzoo anew") from None


def constant_name(initializer: str, constants: Mapping[str, Any]) -> str | None:
    """The name in `constants` (see `onnxzoo.families.constants`) for an initializer; None if it is not among them.

    Names are equal, except that the shape is appended for indices with their own shape: `position_index.64x64`.
    """
    plain = _SHAPED.sub("", initializer)
    return next((name for name in (initializer, plain) if name in constants), None)


def _read(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()
