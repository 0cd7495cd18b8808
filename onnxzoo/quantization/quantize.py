"""Adds an int8 or fp16 ONNX file to an artifact.

All work is done in a copy next to the artifact, which replaces it in one step after the new file has passed its
validation. So the artifact is always either unchanged or complete, even if the process is killed.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..artifact.folder import CARD_FILE, MODEL_FILES, Artifact, is_artifact, read_artifact
from ..artifact.writing import add_model, forget_missing
from ..cpu import cpu
from ..data.dataset import Dataset
from ..errors import (
    ArtifactError,
    EngineError,
    EngineUnavailableError,
    InputError,
    QuantizationError,
)
from ..evaluation.paired import PairedDrop, Right, paired_drop, right_answers
from ..files import atomic_folder, atomic_write, writing
from ..hub import require_own
from ..hub.card import model_card
from ..loading import load
from ..precisions import FP16, FP32, INT8
from ..temporary import scratch_folder
from ..validators.record import record
from ..validators.validate import Validation
from .fp16 import convert_to_fp16
from .images import Images
from .int8 import quantize_to_int8
from .measure import ENGINE, Bench, ratio
from .report import EngineResult, Report
from .steps import Step, silent

MIN_SNR_DB = {INT8: 30.0, FP16: 50.0}
"""Default minimum signal-to-noise ratio on held-out images, in dB, by the precision of the file."""
MAX_DROP = 0.001
"""Default maximum drop of Top-1, as a fraction: 0.1 percentage points."""
ENGINES = ("openvino", "onnxruntime")
"""The CPU engines, in which the result is measured."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for a file. `min_snr_db`: on held-out images. `max_drop`: of Top-1 on labelled images, as a fraction.

    Raises InputError for values that no file or every file would meet.
    """

    min_snr_db: float
    max_drop: float = MAX_DROP

    def __post_init__(self) -> None:
        if not 0 < self.min_snr_db <= 100:
            raise InputError(
                f"the signal-to-noise ratio must be more than 0 and at most 100 dB, got {self.min_snr_db:g}"
            )
        if not 0 <= self.max_drop < 1:
            raise InputError(f"the drop of Top-1 must be from 0 to below 100 percentage points, got {self.max_drop:%}")


def quantize(
    artifact: Artifact,
    images: Images,
    *,
    limits: Limits,
    precision: str = INT8,
    weights_bits: int = 7,
    data: Dataset | None = None,
    out: Path | None = None,
    step: Step = silent,
) -> Report:
    """Make an int8 or fp16 file from an artifact's fp32 file and add it to the artifact, or to a copy of it at `out`.

    `images`: for calibration and measuring. `weights_bits`: for int8; 8 is correct only on CPUs with VNNI, AMX or
    dot-product instructions. `data`: labelled images, on which Top-1 may drop by `limits.max_drop`. As many layers
    stay in fp32 as the limits require (`search`).

    The artifact is replaced as a whole at the end or not at all. Raises ArtifactError for one that is not the user's
    own, InputError for one that cannot be quantised and for `data` too small to show such a drop, QuantizationError if
    the limits cannot be kept, the validation fails or writing fails; MissingDependencyError without the extra.
    """
    if precision not in MIN_SNR_DB:
        raise InputError(f"files are made in {' or '.join(MIN_SNR_DB)}, got {precision!r}")
    target = _target(artifact, out)
    if FP32 not in artifact.precisions:
        raise InputError(
            f"{artifact.folder} has no fp32 ONNX file, only {', '.join(artifact.precisions)}; quantise the artifact "
            "that it was made from"
        )
    if data is not None and len(data) * limits.max_drop < 1:
        raise InputError(
            f"{len(data)} labelled images cannot show a drop of {limits.max_drop:.3%}: one image is "
            f"{1 / len(data):.3%}; give more images (--data), or allow more (--max-drop)"
        )
    file = MODEL_FILES[precision]
    bits = weights_bits if precision == INT8 else None
    refused = writing(str(target), QuantizationError, "it is as it was; make room, or name another folder (--out)")
    with refused, scratch_folder("quantize") as work, atomic_folder(target) as building:
        _copy(artifact.folder, building, link=target == artifact.folder.resolve())
        step("running the fp32 file")
        bench = Bench(artifact, images.held_out)
        accuracy = _Accuracy(data, building, precision, step)

        def accepted() -> bool:
            drop = accuracy.drop(ENGINE)
            return drop is None or drop.drop <= limits.max_drop

        def written() -> None:
            add_model(building, precision, weights_bits=bits)

        make = partial(quantize_to_int8, weights_bits=weights_bits) if precision == INT8 else convert_to_fp16
        layers, candidates = make(
            artifact.model_file(FP32),
            building / file,
            bench,
            images,
            min_snr_db=limits.min_snr_db,
            work=work,
            written=written,
            accepted=accepted,
            step=step,
        )
        step("validating")
        _validate(building, precision)
        engines, agreement = _in_engines(bench, building / file, precision, accuracy)
        _renew_card(artifact, building)
        read_artifact(building).verify()
        sizes = (building / file).stat().st_size, (building / MODEL_FILES[FP32]).stat().st_size
    return Report(
        model=artifact.name,
        precision=precision,
        folder=target,
        file=file,
        bytes=sizes[0],
        fp32_bytes=sizes[1],
        weights_bits=bits,
        calibration=images.origin,
        calibrated=len(images.calibration),
        held_out=len(images.held_out),
        layers=layers,
        candidates=candidates,
        engines=engines,
        agreement_db=agreement,
        cpu=str(cpu()),
        replaced=precision in artifact.precisions,
    )


class _Accuracy:
    """Top-1 before and after, in each requested engine; None without labelled images."""

    def __init__(self, data: Dataset | None, folder: Path, precision: str, step: Step) -> None:
        self._data, self._folder, self._precision, self._step = data, folder, precision, step
        self._before: dict[str, Right] = {}

    def drop(self, engine: str) -> PairedDrop | None:
        """The drop of the folder's present file."""
        if self._data is None:
            return None
        if engine not in self._before:
            self._before[engine] = self._right(self._data, engine, FP32)
        return paired_drop(self._before[engine], self._right(self._data, engine, self._precision))

    def _right(self, data: Dataset, engine: str, precision: str) -> Right:
        step = partial(self._step, f"classifying in {precision} on {engine}")
        step(len(data))
        # `_validate` compares more than a first use does.
        with load(self._folder, engine=engine, precision=precision, hint="throughput", verify=False) as model:
            return right_answers(model, data, progress=lambda done, total: step(total, done))


def _target(artifact: Artifact, out: Path | None) -> Path:
    """The folder to write; raises an error if it must not be written."""
    if out is None or out.resolve() == artifact.folder.resolve():
        require_own(artifact.folder)
        folder = artifact.folder.resolve()
    else:
        folder = out.resolve()
        require_own(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; --out must name a folder")
        if folder.is_dir() and any(folder.iterdir()) and not is_artifact(folder):
            raise InputError(
                f"{folder} is neither empty nor an artifact, and will not be replaced; name another folder"
            )
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    for place in {existing, folder.parent if folder.exists() else existing}:
        if not os.access(place, os.W_OK):
            raise ArtifactError(f"{place} cannot be written to; name another folder (--out), or change its permissions")
    return folder


def _copy(source: Path, target: Path, *, link: bool) -> None:
    """Copy an artifact's folder into an empty one. `link`: use hard links, as the first folder will be deleted.

    Linking is safe because existing files are replaced, never written into.
    """

    def linked(first: str, second: str) -> object:
        try:
            os.link(Path(first).resolve(), second)
        except OSError:
            return shutil.copyfile(first, second)
        return second

    shutil.copytree(source, target, copy_function=linked if link else shutil.copyfile, dirs_exist_ok=True)
    if not link:
        forget_missing(target)


def _validate(folder: Path, precision: str) -> None:
    """Validate the new file on every engine that works here, and record it. Raises QuantizationError if it fails."""
    validation = Validation(read_artifact(folder), precisions=[precision], engines=_available(precision, folder))
    failed = [check for check in validation.run() if not check]
    if failed:
        first = failed[0]
        raise QuantizationError(
            f"the {precision} file fails its validation on {first.engine.name} ({first.reference}): "
            f"{first.comparison.problems[0]}; ask for more (--min-snr), or calibrate on other images (--images)"
        )
    record(validation)


def _available(precision: str, folder: Path) -> list[str]:
    """The CPU engines that can run this precision here; ENGINE is always included."""
    found = []
    for name in ENGINES:
        try:
            load(folder, engine=name, precision=precision, verify=False).close()
        except (EngineUnavailableError, EngineError, InputError):
            if name == ENGINE:
                raise
            continue
        found.append(name)
    return found


def _in_engines(
    bench: Bench, file: Path, precision: str, accuracy: _Accuracy
) -> tuple[tuple[EngineResult, ...], float | None]:
    results, logits = [], []
    for name in ENGINES:
        try:
            held_out, recorded, found, info = bench.ratios(file, precision, name)
        except EngineUnavailableError:
            continue
        results.append(EngineResult(info, held_out, recorded, accuracy.drop(name)))
        logits.append(found)
    return tuple(results), ratio(logits[0], logits[1]) if len(logits) > 1 else None


def _renew_card(before: Artifact, folder: Path) -> None:
    """Regenerate the model card, unless its user has edited it."""
    card = folder / CARD_FILE
    if card.is_file() and card.read_text(encoding="utf-8") != model_card(before):
        return
    with atomic_write(card) as stream:
        stream.write(model_card(read_artifact(folder)).encode())
