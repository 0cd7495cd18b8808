"""Records a passed validation in the artifact's config.json, for `info` and the model card."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence

from ..artifact.folder import CONFIG_FILE, Artifact
from ..artifact.records import ValidationRecord
from ..artifact.writing import add_records
from ..comparison.tolerances import tolerance_of
from ..engines import is_remote
from ..errors import ArtifactError, InputError, ValidationError
from ..hub import require_own
from ..precisions import FP32
from .engine_checks import Check
from .references import CONFORMANCE, LIVE
from .validate import Validation


def refuse_to_record(artifact: Artifact, tolerance: float | None = None, precisions: Sequence[str] = (FP32,)) -> None:
    """Raise an error before a validation if it could not be recorded.

    Raises InputError for a `tolerance` looser than the default of one of the `precisions` it applies to, ArtifactError
    for an artifact that must not be written.
    """
    for precision in precisions:
        if tolerance is not None and tolerance > tolerance_of(precision).value:
            raise InputError(
                f"a validation is recorded only with its precision's tolerance or a smaller one: {tolerance:g} is more "
                f"than {tolerance_of(precision).value:g} ({precision}); leave out --tol or --record"
            )
    path = artifact.folder.resolve() / CONFIG_FILE
    require_own(artifact.folder)
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise ArtifactError(f"{path} cannot be written to; copy the folder, or change its permissions")


def record(validation: Validation) -> tuple[ValidationRecord, ...]:
    """Write a finished validation to its artifact's config.json; returns the new records.

    There is one record per engine, device, precision and reference (`conformance`, `paddle` or `exact`), which replaces
    an earlier one; records of removed ONNX files are deleted. The rest of the file is kept.

    Raises ValidationError if anything failed or is unfinished, or a tolerance for a reference's outputs was looser than
    its precision's default, ArtifactError if config.json cannot be written or has changed meanwhile.
    """
    if any(is_remote(check.requested) for check in validation.checks):
        raise ValidationError("what a server answers is no property of the artifact's file, so it is not recorded")
    if not validation:
        raise ValidationError("the validation did not pass or did not finish, so it is not recorded")
    for check in filter(_is_proof, validation.checks):
        default = tolerance_of(check.precision).value
        if check.tolerance.value > default:
            raise ValidationError(
                f"the tolerance {check.tolerance.value:g} is more than {default:g}, the default for {check.precision}, "
                "so that the validation is not recorded"
            )
    artifact = validation.artifact
    refuse_to_record(artifact)
    new = tuple(_records(validation))
    add_records(artifact, new, changed="has changed during the validation; validate again")
    return new


def _records(validation: Validation) -> Iterable[ValidationRecord]:
    groups: dict[tuple[str, str, str, str], list[Check]] = {}
    for check in filter(_is_proof, validation.checks):
        key = (check.engine.name, check.engine.device, check.precision, check.reference)
        groups.setdefault(key, []).append(check)
    hashes = {file.precision: file.sha256 for file in validation.artifact.files.values() if file.precision}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for (engine, device, precision, reference), checks in groups.items():
        yield ValidationRecord(
            engine=engine,
            version=checks[0].engine.version,
            device=device,
            precision=precision,
            model_sha256=hashes[precision],
            reference=reference,
            tolerance=checks[0].tolerance.value,
            inputs=checks[0].samples,
            batch_sizes=tuple(check.batch_size for check in checks),
            max_abs=max(check.comparison.max_abs for check in checks),
            mean_abs=_mean([check.comparison.mean_abs for check in checks]),
            top1_agreement=min(check.comparison.top1_agreement for check in checks),
            date=date,
        )


def _is_proof(check: Check) -> bool:
    """Whether the check compares with a reference's outputs."""
    return check.reference in (CONFORMANCE, *LIVE)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
