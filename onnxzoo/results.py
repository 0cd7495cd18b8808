"""Inputs and results of models, as frozen dataclasses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import PIL.Image

Array = npt.NDArray[np.float32]

PICTURE_PIXELS = 112
"""Longest side of a picture in a notebook."""


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


class _Pictured:
    """The place for a picture that is no field: it takes no part in comparisons, pickles and `dataclasses.asdict`."""

    __slots__ = ("_picture",)


@dataclass(frozen=True, slots=True)
class Prediction(_Pictured):
    """The best classes of one image, best first; `top` is never empty.

    In a notebook it is shown as bars, beside what the model saw if `Model.predict` was called with this image alone.
    """

    top: tuple[ClassScore, ...]

    @property
    def picture(self) -> npt.NDArray[np.uint8] | None:
        """What the model saw: the crop of the image, reduced by a whole factor. uint8 [S, S, 3] in RGB order.

        None for images that were predicted together, whose pictures would take 40 kB each.
        """
        return getattr(self, "_picture", None)

    def with_picture(self, pixels: npt.NDArray[np.uint8]) -> Prediction:
        """The same classes with a picture, uint8 [S, S, 3] in RGB order."""
        copy = replace(self)
        object.__setattr__(copy, "_picture", pixels)
        return copy

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

    def _repr_html_(self) -> str:
        """What notebooks show. No file is read: the picture was kept when the image was."""
        return self.html()

    def html(self, name: str = "", picture: PIL.Image.Image | None = None) -> str:
        """The classes as bars, in HTML for any page: under a name, and beside a picture, by default its own."""
        import PIL.Image

        from .web_page import BEST_BAR, OTHER_BAR, fitted_picture, html_bars, html_image, html_prediction

        if picture is None and self.picture is not None:
            picture = PIL.Image.fromarray(self.picture)
        bars = html_bars((one.label, one.score, OTHER_BAR if rank else BEST_BAR) for rank, one in enumerate(self.top))
        shown = "" if picture is None else html_image(fitted_picture(picture, PICTURE_PIXELS), "JPEG")
        return html_prediction(name, shown, bars)


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
