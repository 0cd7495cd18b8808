"""Inputs and results of models, as frozen dataclasses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a model; `shape` has None for a dynamic size, as in (None, 3, 224, 224).

    For an output, a size may also be None, and the whole shape (), if the engine's library does not report it.
    """

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of a prediction.

    `class_id`: index of the logit, from 0. `label`: its name in the model's label set.
    `score`: softmax probability in [0, 1].
    """

    class_id: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best classes of one image, best first; `top` is never empty."""

    top: tuple[ClassScore, ...]

    @property
    def class_id(self) -> int:
        """Index of the best class."""
        return self.top[0].class_id

    @property
    def label(self) -> str:
        """Name of the best class."""
        return self.top[0].label

    @property
    def score(self) -> float:
        """Softmax probability of the best class, in [0, 1]."""
        return self.top[0].score

    def to_dict(self) -> dict[str, list[dict[str, int | str | float]]]:
        """As JSON values: `{"top": [{"class_id": ..., "label": ..., "score": ...}, ...]}`, best first."""
        return {"top": [asdict(one) for one in self.top]}

    def to_json(self, indent: int | None = None) -> str:
        """The JSON document of `to_dict`, in ASCII; on one line, or indented by so many spaces a level."""
        return json.dumps(self.to_dict(), indent=indent)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Which engine runs a model, and how; `dataclasses.asdict` of it can be written as JSON.

    `name`: `openvino`, `onnxruntime`, `cuda`, ... `device`: what it runs on, such as `CPU`.
    `precision`: arithmetic in use, such as `fp32`. `version`: of the engine's library.
    `reason`: why this engine was chosen, in a sentence.
    `nodes`: nodes of the graph per provider, as the library assigned them; empty if it does not report them.
    `considered`: (engine, why it was skipped) for those that `auto` would have preferred.
    `verified`: whether it reproduced the recorded outputs of the artifact's conformance vectors on this machine, now or
    on an earlier load; None for the references, and before `load` has checked. `verification`: the figures, or why it
    was not verified.
    """

    name: str
    device: str
    precision: str
    version: str
    reason: str
    nodes: Mapping[str, int] = field(default_factory=dict, hash=False)
    considered: tuple[tuple[str, str], ...] = ()
    verified: bool | None = None
    verification: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """The verification of an engine's results; the fields are those of EngineInfo."""

    verified: bool | None
    verification: str

    def of(self, info: EngineInfo) -> EngineInfo:
        """The engine's description with this verification."""
        return replace(info, verified=self.verified, verification=self.verification)
