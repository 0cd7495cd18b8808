"""`onnxzoo info`: shows everything known about one model."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from .. import registry
from ..artifact.folder import Artifact
from ..artifact.records import ValidationRecord
from ..errors import ModelNotFoundError, UnknownModelError
from ..files import readable
from ..hub.lookup import locate
from ..hub.names import HubName
from ..registry import ModelEntry
from ..source import resolve
from ..strict_json import plain
from ..verdicts import COMPUTES_IN, ENGINE, LIBRARY, RUNS_ON, Key, Verdict, verdicts_on
from .completion import model_names
from .output import print_json, say


@click.command("info", short_help="Show what is known about a model.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@click.option(
    "--hub", "on_hub", is_flag=True, help="Show the revisions published on the Hugging Face Hub, and their contents."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(model: str, on_hub: bool, as_json: bool) -> None:
    """Show what is known about a model, and about its artifact if it is on this machine.

    The artifact's files are not read; 'onnxzoo validate' checks them. With --hub, NAME may also be USER/NAME.
    """
    if on_hub:
        from .info_hub import print_published

        print_published(model, as_json=as_json)
        return
    entry, artifact = _look_up(model)
    if as_json:
        document = {
            "model": None if entry is None else dataclasses.asdict(entry),
            "artifact": None if artifact is None else artifact_as_dict(artifact),
        }
        # Recorded figures are printed as they are in config.json.
        print_json(plain(document))
        return
    if entry is not None:
        _print_rows(entry.name, entry_rows(entry))
    if artifact is not None:
        _print_rows("artifact", artifact_rows(artifact))
    elif entry is not None:
        say("artifact")
        say(f"  not on this machine; get it: onnxzoo download {entry.name}, or make it: onnxzoo export {entry.name}")


def _look_up(model: str) -> tuple[ModelEntry | None, Artifact | None]:
    try:
        artifact = resolve(model, offline=True, precision=None, make=False).artifact
    except ModelNotFoundError:
        # A registry model that has not been exported still has an entry; a missing path has none.
        try:
            return registry.find(model), None
        except UnknownModelError:
            pass
        if isinstance(locate(model), HubName):
            raise ModelNotFoundError(
                f"{model} is not on this machine; ask the Hub about it with --hub, or get it: onnxzoo download {model}"
            ) from None
        raise
    return registry.models().get(artifact.name), artifact


def artifact_as_dict(artifact: Artifact) -> dict[str, Any]:
    """The artifact as plain JSON values, without its class names."""
    return {
        "folder": str(artifact.folder),
        "name": artifact.name,
        "image_size": artifact.image_size,
        "num_classes": artifact.num_classes,
        "precisions": list(artifact.precisions),
        "preprocess": dataclasses.asdict(artifact.preprocess),
        "source": dict(artifact.source),
        "tools": dict(artifact.tools),
        "files": {path: dataclasses.asdict(file) for path, file in artifact.files.items()},
        "validations": [
            {**dataclasses.asdict(entry), "stale": _is_stale(entry, artifact)} for entry in artifact.validations
        ],
        "verified": [
            {part: key.get(part) for part in (ENGINE, LIBRARY, RUNS_ON, COMPUTES_IN)} | dataclasses.asdict(verdict)
            for key, verdict in _verdicts(artifact)
        ],
    }


def entry_rows(entry: ModelEntry) -> list[tuple[str, str]]:
    """A registry entry as (caption, value) lines."""
    return [
        ("family", entry.family),
        *([("aliases", ", ".join(entry.aliases))] if entry.aliases else []),
        ("image size", f"{entry.image_size} x {entry.image_size}"),
        ("parameters", f"{entry.params_m:.2f} M"),
        ("multiply-adds", f"{entry.gmacs:.2f} G per image"),
        ("accuracy", f"top-1 {entry.accuracy.top1:.4f}, top-5 {entry.accuracy.top5:.4f} ({entry.dataset})"),
        ("labels", entry.labels),
        ("preprocessing", _preprocessing(entry.preprocess)),
        ("architecture", _fields(entry.architecture.to_dict())),
        ("checkpoint", entry.source.url or "ships with the project"),
        *([("same weights", f"{repo} (Hugging Face Hub, safetensors)")] if (repo := entry.source.timm_repo) else []),
    ]


def artifact_rows(artifact: Artifact) -> list[tuple[str, str]]:
    """An artifact as (caption, value) lines."""
    rows = [
        ("folder", str(artifact.folder)),
        ("model", f"{artifact.name}, {artifact.num_classes} classes, image size {artifact.image_size}"),
        ("preprocessing", _preprocessing(artifact.preprocess)),
        ("precisions", ", ".join(artifact.precisions) or "none"),
    ]
    for path, file in artifact.files.items():
        with readable(artifact.folder):
            state = "" if (artifact.folder / path).is_file() else ", missing"
        rows.append(("file", f"{path}, {file.bytes:,} bytes{state}, sha256 {file.sha256}"))
    rows += [(f"source {key}", str(value)) for key, value in artifact.source.items() if value is not None]
    rows.append(("tools", ", ".join(f"{tool} {version}" for tool, version in artifact.tools.items()) or "not recorded"))
    rows += [("validated", _validation(entry, artifact)) for entry in artifact.validations]
    if not artifact.validations:
        rows.append(("validated", "nothing recorded ('onnxzoo validate --record' does it)"))
    rows += [("verified here", _verified(key, verdict)) for key, verdict in _verdicts(artifact)]
    return rows


def _is_stale(entry: ValidationRecord, artifact: Artifact) -> bool:
    return entry not in artifact.validated(entry.precision)


def _validation(entry: ValidationRecord, artifact: Artifact) -> str:
    stale = "STALE, about an ONNX file that was replaced: " if _is_stale(entry, artifact) else ""
    batches = ", ".join(map(str, entry.batch_sizes))
    return (
        f"{stale}{entry.engine} {entry.version} on {entry.device}, {entry.precision}, against {entry.reference}: max "
        f"{entry.max_abs:.2e}, mean {entry.mean_abs:.2e}, top-1 {entry.top1_agreement:.0%} of {entry.inputs} inputs "
        f"at batch {batches}, tolerance {entry.tolerance:g}, {entry.date}"
    )


def _verdicts(artifact: Artifact) -> list[tuple[Key, Verdict]]:
    """This machine's verdicts on engines that ran the artifact's ONNX files."""
    return [one for file in artifact.files.values() if file.precision for one in verdicts_on(file.sha256)]


def _verified(key: Key, verdict: Verdict) -> str:
    batches = ", ".join(map(str, verdict.batch_sizes))
    return (
        f"{key.get(ENGINE)} {key.get(LIBRARY)} on {key.get(RUNS_ON)}, {key.get(COMPUTES_IN)}: max "
        f"{verdict.max_abs:.2e}, top-1 {verdict.top1} of {verdict.vectors} recorded inputs at batch {batches}, "
        f"{verdict.date}"
    )


def _preprocessing(spec: registry.Preprocess) -> str:
    return (
        f"short side to {spec.resize_size} ({spec.interpolation}), centre crop {spec.crop_size}, RGB / 255, "
        f"mean {list(spec.mean)}, std {list(spec.std)}"
    )


def _fields(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {list(value) if isinstance(value, tuple) else value}" for key, value in values.items())


def _print_rows(title: str, rows: list[tuple[str, str]]) -> None:
    say(title)
    for caption, value in rows:
        say(f"  {caption:<17} {value}")
