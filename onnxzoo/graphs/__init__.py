"""The graphs of the registry's ImageNet models without their weights, as `onnxzoo.exports` made them.

`NAME.onnx.gz` is the ONNX file of an ordinary export, emptied of all numbers that follow from a checkpoint
(`onnxzoo.artifact.onnx_filling`); `index.json` says of each what made it. `make graphs` writes both.
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
    """One graph. `sha256`: of the emptied file. `made_from`: of the code that made it (see `exports/graphs.py`).

    `opset`: its operator set. `tools`: the converters that made it, with their versions.
    """

    name: str
    sha256: str
    made_from: str
    opset: int
    tools: Mapping[str, str]

    def weightless(self) -> Weightless:
        """The graph, to be filled. Raises ArtifactError where the installed file is not the one of the index."""
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
    """What the graph of a registry's model is made for: its image size, and as many classes as its label set has."""
    return ModelSpec(entry.architecture, entry.image_size, len(labels(entry.labels)))


def file_name(name: str) -> str:
    """What the file of a model's graph is called."""
    return f"{name}.onnx.gz"


def graphs() -> dict[str, Graph]:
    """The graphs that ship, by the names of their models. Raises ArtifactError where the index is damaged."""
    try:
        index = parse_json(_read(INDEX_FILE))
        return {name: Graph(name, **values) for name, values in index.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"the index of the graphs in onnxzoo is damaged ({error}); install onnxzoo anew") from None


def constant_name(initializer: str, constants: Mapping[str, Any]) -> str | None:
    """Which of `constants` (see `onnxzoo.families.constants`) an initializer holds; None for none of them.

    The one of its name, but for indices of a shape of their own, to which names add it: `position_index.64x64`.
    """
    plain = _SHAPED.sub("", initializer)
    return next((name for name in (initializer, plain) if name in constants), None)


def _read(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()
