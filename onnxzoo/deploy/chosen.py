"""The models to deploy: resolved, in one precision, each under its own name on the server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..artifact.onnx_checks import KNOWN
from ..errors import InputError
from ..precisions import FP32
from ..served_names import name_and_model, served_name
from ..source import Source, resolve


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model to deploy: its `name` on the server, its source, and the `precision` of the ONNX file to serve."""

    name: str
    source: Source
    precision: str

    @property
    def sha256(self) -> str:
        """Of its ONNX file, as its config.json has it."""
        return self.source.artifact.required_model(self.precision).sha256


def choose(models: Sequence[str | os.PathLike[str]], *, precision: str = FP32, trust: str = KNOWN) -> list[Chosen]:
    """Resolve the models, before anything is written.

    `models`: as in `onnxzoo.load`; `NAME=MODEL` serves a model under another name than its artifact's.
    `precision`: of the ONNX file to serve, which each must have. `trust`: which graphs are accepted, as in `load`.

    Raises InputError without models, for a name that a server cannot have, for two models with one name, and for a
    precision that a model does not have; else as `onnxzoo.source.resolve` does.
    """
    if not models:
        raise InputError("there is nothing to deploy; name a model or its artifact folder")
    chosen: dict[str, Chosen] = {}
    for given in models:
        name, model = name_and_model(given)
        source = resolve(model, precision=precision, files=None, trust=trust)
        source.artifact.required_model(precision)
        one = Chosen(served_name(name or source.artifact.name, given), source, precision)
        # Folders that differ only in case are one folder on some file systems.
        twin = chosen.setdefault(one.name.casefold(), one)
        if twin is not one:
            raise InputError(
                f"two models would be served as {one.name!r}: {twin.source.artifact.folder} and "
                f"{source.artifact.folder}; give one another name, NAME={given}"
            )
    return list(chosen.values())
