"""The metadata that the Hub reads about a model: the card's front matter and `.eval_results/*.yaml`.

Documented and measured accuracies are kept apart everywhere, and every claim comes from config.json or the registry.
Everything in config.json is untrusted: text is cleaned here and quoted by the YAML writer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # in its API, not in its __all__

from ..artifact.folder import MODEL_FILES, Artifact, documented_entry
from ..datasets import DATASETS, KnownDataset, dataset_described
from ..errors import ArtifactError
from ..registry import ModelEntry, labels

LICENSE = "apache-2.0"
# The identifiers of https://huggingface.co/docs/hub/repositories-licenses.
LICENSES = """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
    etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 grok2-community
    h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0 other pddl
    postgresql unknown unlicense wtfpl zlib
"""
PIPELINE_TAG = "image-classification"
LIBRARY = "onnx"
EVAL_RESULTS_PREFIX = ".eval_results/onnxzoo-"
"""This prefix identifies our result files, as the same folder of a repo may contain those of other people."""

MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Accuracy:
    """An accuracy stated on the card: `top1` and `top5` in [0, 1] on `dataset`, a description.

    `known`: the data set of DATASETS that it was measured on; None for other data sets and for a part of one. `by`:
    who published or measured it. `precision` and `date` are empty for a documented accuracy.
    """

    top1: float
    top5: float
    dataset: str
    known: KnownDataset | None
    by: str
    precision: str = ""
    date: str = ""

    @property
    def measured(self) -> bool:
        return bool(self.precision)


def clean(value: object) -> str:
    """The text on one line, without unprintable characters, cut at 200 characters."""
    text = " ".join(str(value)[: 4 * MAX_TEXT].split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:MAX_TEXT]


def registered(artifact: Artifact) -> ModelEntry | None:
    """The registry's entry, if this artifact is that model, with the same classes, input and checkpoint.

    The checkpoint is identified by the URL it was downloaded from, or by its hash if it ships with the project.
    """
    entry = documented_entry(artifact)
    if entry is None or (artifact.preprocess, artifact.architecture) != (entry.preprocess, entry.architecture):
        return None
    key = "sha256" if entry.source.url is None else "url"
    return entry if artifact.source.get(key) == getattr(entry.source, key) else None


def license_of(artifact: Artifact) -> str | None:
    """The Hub's identifier of the licence: config.json's `license`, else that of the registry's weights.

    None if the weights are not the registry's and no licence is stated. Raises ArtifactError for a `license` that is
    not an identifier of the Hub.
    """
    if "license" not in artifact.config:
        return LICENSE if registered(artifact) else None
    named = artifact.config["license"]
    if not isinstance(named, str) or named.lower() not in LICENSES.split():
        raise ArtifactError(
            f"the license in {artifact.config_file} must be an identifier of the Hub (apache-2.0, mit, "
            f"cc-by-nc-4.0, other ...: https://huggingface.co/docs/hub/repositories-licenses), got {clean(named)!r}"
        )
    return named.lower()


def accuracies(artifact: Artifact) -> list[Accuracy]:
    """The documented accuracy of this checkpoint, if there is one, then those measured with the artifact's files."""
    stated = []
    if entry := registered(artifact):
        by = (
            "PaddleClas, for the checkpoint that it publishes"
            if entry.source.url
            else "the onnxzoo project, when it was trained"
        )
        stated.append(Accuracy(entry.accuracy.top1, entry.accuracy.top5, entry.dataset, DATASETS[entry.labels], by))
    for precision in MODEL_FILES:
        for one in artifact.evaluated(precision):
            dataset = clean(one.dataset)
            by = f"{clean(one.engine)} {clean(one.version)} ({clean(one.device)}), {one.images:,} images"
            known = dataset_described(dataset)
            # An accuracy on a part of the images, or with other classes, is not comparable.
            if known and (one.images, artifact.id2label) != (known.images, labels(known.name)):
                known = None
            stated.append(Accuracy(one.top1, one.top5, dataset, known, by, precision, clean(one.date)))
    return stated


def front_matter(artifact: Artifact) -> str:
    """The YAML at the top of the card, without its lines of dashes."""
    entry = registered(artifact)
    results = [result for accuracy in accuracies(artifact) for result in _eval_results(accuracy)]
    data = ModelCardData(
        license=license_of(artifact),
        library_name=LIBRARY,
        pipeline_tag=PIPELINE_TAG,
        tags=["onnx", "openvino", "paddle", artifact.family],
        datasets=None if entry is None else [DATASETS[entry.labels].hub_id],
        # timm's repo with the same weights as safetensors: the Hub shows this model as derived from it.
        base_model=None if entry is None else entry.source.timm_repo,
        metrics=["accuracy"] if results else None,
        model_name=clean(artifact.name),
        eval_results=results or None,
    )
    if not results:
        data.pop("model_name")  # used in the model-index only
    text: str = data.to_yaml()
    return text


def eval_result_files(artifact: Artifact) -> dict[str, str]:
    """Path in the repo -> YAML, one file for each accuracy on a data set that the Hub knows.

    The format is described at https://huggingface.co/docs/hub/eval-results; the values are Top-1, in [0, 1].
    """
    files: dict[str, str] = {}
    for accuracy in accuracies(artifact):
        known = accuracy.known
        if known is None:
            continue
        entry: dict[str, Any] = {
            "dataset": {"id": known.hub_id, "task_id": "default"},
            "value": accuracy.top1,
        }
        name = f"{known.name}-documented"
        if accuracy.measured:
            name = f"{known.name}-measured-{accuracy.precision}"
            entry["date"] = accuracy.date
        elif known.published_by is not None:
            publisher, address = known.published_by
            entry["source"] = {"url": address, "name": publisher}
        entry["notes"] = f"Top-1 {_kind(accuracy)}"
        path = f"{EVAL_RESULTS_PREFIX}{name}"
        number = sum(one.startswith(path) for one in files)  # one precision may have been measured on several engines
        files[f"{path}{f'-{number + 1}' if number else ''}.yaml"] = yaml_dump([entry], sort_keys=False)
    return files


def _eval_results(accuracy: Accuracy) -> Iterator[EvalResult]:
    known = accuracy.known
    if known is None:
        return
    for name, value in (("Top-1", accuracy.top1), ("Top-5", accuracy.top5)):
        # No source here: a model-index has one per data set, so documented and measured figures would share it.
        yield EvalResult(
            task_type=PIPELINE_TAG,
            task_name="Image Classification",
            dataset_type=known.hub_id,
            dataset_name=accuracy.dataset,
            dataset_split=known.split,
            metric_type="accuracy",
            metric_name=f"{name} accuracy, {_kind(accuracy)}",
            metric_value=value,
        )


def _kind(accuracy: Accuracy) -> str:
    return f"measured in {accuracy.precision} by {accuracy.by}" if accuracy.measured else f"documented by {accuracy.by}"
