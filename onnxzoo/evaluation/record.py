"""Recording a measured accuracy in the artifact's config.json, from which the model card is made."""

from __future__ import annotations

import datetime

from ..artifact.folder import Artifact
from ..artifact.records import EvaluationRecord
from ..artifact.writing import add_records
from ..datasets import DATASETS, dataset_described
from ..engines import REFERENCES
from ..errors import InputError
from ..hub import require_own
from .accuracy import Evaluation

MAX_WORDS = 200


def data_in_words(data: str) -> str:
    """The model card's description of the images: that of a key of `DATASETS`, any other text unchanged.

    Raises InputError for an empty or too long text.
    """
    words = " ".join(data.split())
    if not words or len(words) > MAX_WORDS or not words.isprintable():
        raise InputError(f"describe the images in 1 to {MAX_WORDS} letters, or name one of {', '.join(DATASETS)}")
    return DATASETS[words].description if words in DATASETS else words


def record_evaluation(artifact: Artifact, result: Evaluation, precision: str, data: str) -> EvaluationRecord:
    """Write what was measured with the ONNX file of `precision` on `data` (see `data_in_words`) into config.json.

    It replaces an earlier one of the same engine, device, precision and data; those of files that the artifact no
    longer has are removed. Raises ArtifactError for an artifact that is read-only or has changed since, InputError
    for a result that does not support the record.
    """
    require_own(artifact.folder)
    words = data_in_words(data)
    file = artifact.announced_model(precision)
    if file is None or result.engine.name in REFERENCES or result.engine.precision != precision:
        raise InputError(
            f"this ran as {result.engine.precision} on {result.engine.name}, not the artifact's {precision} ONNX file; "
            "it is not recorded"
        )
    known = dataset_described(words)
    expected = result.images if known is None else known.images
    if result.unreadable or result.images != expected:
        left_out = f", {len(result.unreadable)} could not be read" if result.unreadable else ""
        raise InputError(f"{result.images:,} images were measured{left_out}, expected {expected:,}; it is not recorded")
    engine = result.engine
    new = EvaluationRecord(
        engine=engine.name,
        version=engine.version,
        device=engine.device,
        precision=precision,
        model_sha256=file.sha256,
        dataset=words,
        images=result.images,
        top1=result.top1,
        top5=result.top5,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    add_records(artifact, [new], changed="changed while this was measured; measure again")
    return new
