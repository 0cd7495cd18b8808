"""The result of a quantisation and its costs, as values; the command line and JSON show the same."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation.paired import PairedDrop
from ..results import EngineInfo


@dataclass(frozen=True, slots=True)
class LayerEffect:
    """One layer, or one kind of node. `held_out_db`, `recorded_db`: signal-to-noise ratio of the logits with only this
    one in low precision, on the held-out images and the recorded inputs; infinite without any noise.
    `precision`: its precision in the file. `parameters`: number of elements in its weight.
    """

    name: str
    operator: str
    parameters: int
    held_out_db: float
    recorded_db: float
    precision: str


@dataclass(frozen=True, slots=True)
class EngineResult:
    """The file in one engine. `held_out_db`: ratio of its logits to those of the fp32 file in the same engine;
    `recorded_db`: ratio of the noisier output to the reference's recorded one. `drop`: None without labelled images.
    """

    engine: EngineInfo
    held_out_db: float
    recorded_db: float
    drop: PairedDrop | None


@dataclass(frozen=True, slots=True)
class Report:
    """One quantisation.

    `file`: the new ONNX file in `folder`. `bytes`, `fp32_bytes`: sizes. `weights_bits`: 7 or 8 for int8, None for fp16.
    `calibration`: the source of the images; `calibrated`, `held_out`: their numbers. `layers`: noisiest first.
    `candidates`: number of files made and measured until one met the limits. `agreement_db`: signal-to-noise ratio
    between the first two engines, None with only one. `cpu`: the CPU used. `replaced`: whether the file replaced one.
    """

    model: str
    precision: str
    folder: Path
    file: str
    bytes: int
    fp32_bytes: int
    weights_bits: int | None
    calibration: str
    calibrated: int
    held_out: int
    layers: tuple[LayerEffect, ...]
    candidates: int
    engines: tuple[EngineResult, ...]
    agreement_db: float | None
    cpu: str
    replaced: bool

    @property
    def share(self) -> float:
        """Size of the file as a fraction of the fp32 file's."""
        return self.bytes / self.fp32_bytes

    @property
    def fp32_layers(self) -> tuple[str, ...]:
        """The layers that stayed in fp32."""
        return tuple(layer.name for layer in self.layers if layer.precision == "fp32")

    def as_document(self) -> dict[str, Any]:
        """The report as plain JSON values; infinite ratios are null."""
        document = dataclasses.asdict(self)
        document["folder"] = str(self.folder)
        for row, result in zip(document["engines"], self.engines, strict=True):
            if result.drop is not None:
                low, high = result.drop.interval
                row["drop"] |= {"before": result.drop.before, "after": result.drop.after, "drop": result.drop.drop}
                row["drop"]["interval_95"] = [low, high]
        plain: dict[str, Any] = _finite(document)
        return plain


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
