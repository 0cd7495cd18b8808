"""The rows of a table of results, the same in every format and on one machine or many.

    predict   path, class_id_1, label_1, score_1, class_id_2, ... score_K, error
    embed     path, embedding, error

A row has either results or an error; the other columns are null. `path` is `Entry.path`, `label_I` the model's label
of the I-th best class, `score_I` its softmax probability. K is the smaller of `top_k` and the number of classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from ..model import Model
from ..stream import Result
from ..strict_json import plain

Task = Literal["predict", "embed"]
Kind = Literal["text", "int32", "float32", "vector"]
Row = tuple[Any, ...]
"""A value for each column: str, int, float (with the digits of a float32), float32 [width], or None for null."""

DESCRIPTION_KEY = "onnxzoo"
"""Key of the description of the run in the metadata of a Parquet file; its value is JSON."""

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `width`: the number of float32 values of a vector, 0 for other kinds."""

    name: str
    kind: Kind
    width: int = 0


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table: those of `top_k` classes, or of an embedding of `width` values."""

    task: Task
    top_k: int = 0
    width: int = 0

    @classmethod
    def of(cls, model: Model, task: Task, top_k: int = 5) -> Schema:
        """The columns of a model's results; a `top_k` beyond the number of classes means all of them."""
        if task == "embed":
            return cls(task, width=model.artifact.architecture.num_features)
        return cls(task, top_k=min(top_k, len(model.labels)))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns in their order."""
        if self.task == "embed":
            return Column("path", "text"), Column("embedding", "vector", self.width), Column("error", "text")
        classes = [
            Column(f"{name}_{place}", kind) for place in range(1, self.top_k + 1) for name, kind in _OF_A_CLASS.items()
        ]
        return Column("path", "text"), *classes, Column("error", "text")

    def row(self, path: str, result: Result) -> Row:
        """The row of an image. `result`: of `Model.stream` with this `top_k`, or with `embed=True`."""
        name = unicode_path(path)
        if result.prediction is None:
            return name, *[None] * (len(self.columns) - 2), str(result.error)
        if self.task == "embed":
            return name, result.embedding, None
        values: list[Any] = []
        for one in result.prediction.top:
            values += (one.class_id, one.label, float32_digits(one.score))
        return name, *values, None


_OF_A_CLASS: Mapping[str, Kind] = {"class_id": "int32", "label": "text", "score": "float32"}


def describe_run(model: Model, schema: Schema, source: Any) -> dict[str, Any]:
    """Everything that the rows depend on, as JSON values. `source`: the JSON identity of the source of images."""
    engine = model.engine
    options = {"top_k": schema.top_k} if schema.task == "predict" else {"width": schema.width}
    description = {
        "schema_version": SCHEMA_VERSION,
        "onnxzoo": version("onnxzoo"),
        "task": schema.task,
        **options,
        "model": {
            "name": model.name,
            "sha256": model.sha256,
            "labels_sha256": hashlib.sha256(json.dumps(model.labels).encode()).hexdigest(),
            "preprocess": plain(model.artifact.preprocess),
        },
        "engine": {
            "name": engine.name,
            "device": engine.device,
            "precision": engine.precision,
            "version": engine.version,
        },
        "max_pixels": model.max_pixels,
        "source": source,
    }
    found: dict[str, Any] = _as_unicode(json.loads(json.dumps(description)))
    return found


def float32_digits(value: float) -> float:
    """The number whose shortest decimal form is that of the nearest float32: 0.1, not 0.10000000149011612."""
    return float(str(np.float32(value)))


def unicode_path(path: str) -> str:
    r"""A path as Unicode text: bytes of a file name that are not UTF-8 as `\xe9`, as a shell's `$'...'` reads them."""
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair that stands for no byte
        return path.encode("utf-8", "backslashreplace").decode()


def _as_unicode(value: Any) -> Any:
    """A JSON value whose texts, such as paths, are Unicode (`unicode_path`)."""
    if isinstance(value, dict):
        return {unicode_path(key): _as_unicode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_unicode(item) for item in value]
    return unicode_path(value) if isinstance(value, str) else value
