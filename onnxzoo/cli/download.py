"""`onnxzoo download`: downloads models for use offline."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import click

from .. import hub, registry
from ..artifact.folder import CONFIG_FILE, CONFORMANCE_FILE, MODEL_FILES
from ..errors import ModelNotFoundError, OnnxzooError
from ..hub.lookup import Place
from ..precisions import FP32
from ..registry import ModelEntry
from ..source import Source, source_at
from .completion import model_names
from .output import print_json, say


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one download; true if it succeeded.

    `source`: the model's origin: shipped, exported, folder, or USER/NAME on the Hub, with its `commit`.
    `bytes`: size of config.json, the ONNX file and the conformance vectors; `missing`: the part of it to be downloaded
    (with --dry-run).
    `error`: one line, with its exit code.
    """

    name: str
    source: str | None = None
    commit: str | None = None
    folder: str | None = None
    bytes: int | None = None
    missing: int | None = None
    error: str = ""
    exit_code: int = 0

    def __bool__(self) -> bool:
        return not self.error


@click.command("download", short_help="Download models from the Hugging Face Hub.")
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=model_names)
@click.option("--all", "every", is_flag=True, help="Every model of the registry.")
@click.option("--precision", type=click.Choice(list(MODEL_FILES)), default=FP32, show_default=True)
@click.option("--revision", help="Branch, tag or commit on the Hub, also for models that are on this machine.")
@click.option(
    "--source",
    type=click.Choice(["timm", "paddleclas"]),
    help="Assemble models of the registry from these official weights, even if they are here.  [default: timm, if "
    "a model is not here]",
)
@click.option("--dry-run", is_flag=True, help="Show what would be downloaded.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    every: bool,
    precision: str,
    revision: str | None,
    source: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Download models to this machine and verify them, so that they run offline.

    NAME is a name that 'onnxzoo list' shows, whose official weights are downloaded and assembled in the cache folder,
    or USER/NAME[@REVISION] on the Hugging Face Hub, whose files are downloaded to huggingface_hub's cache. Models that
    ship with onnxzoo, or were exported or assembled before, need no download. The command continues after a failure
    and ends with a table. The exit code is that of the failures: 1 if a file was rejected, 2 for a precision that a
    model does not have, 3 if only the network, the Hub or a model was missing.
    """
    if every == bool(names):
        raise click.UsageError("give names of models, or --all")
    chosen = list(dict.fromkeys(registry.list_models() if every else names))
    if source is not None and (revision is not None or dry_run or precision != FP32):
        raise click.UsageError(f"--source assembles in {FP32}: it goes with no --revision, --dry-run or --precision")
    # All names are checked before anything is downloaded.
    if source is not None:
        entries = {name: registry.find(name) for name in chosen}
        results = [_assembled(name, entry, source) for name, entry in entries.items()]
    else:
        places = {name: _located(name, revision) for name in chosen}
        bring = _planned if dry_run else _downloaded
        results = [
            place if isinstance(place, Result) else bring(name, place, precision) for name, place in places.items()
        ]
    if as_json:
        print_json({"dry_run": dry_run, "models": [dataclasses.asdict(one) for one in results]})
    else:
        _print(results, dry_run)
    codes = {one.exit_code for one in results if not one}
    context.exit(min(codes, default=0))


def _located(name: str, revision: str | None) -> Place | Result:
    try:
        return hub.locate(name, revision)
    except ModelNotFoundError as error:
        return Result(name, error=str(error), exit_code=error.exit_code)


def _downloaded(name: str, place: Place, precision: str) -> Result:
    try:
        return _here(name, source_at(place, precision=precision, files=[CONFORMANCE_FILE]), precision)
    except OnnxzooError as error:
        return Result(name, error=str(error), exit_code=error.exit_code)


def _assembled(name: str, entry: ModelEntry, weights: str) -> Result:
    from ..official import official_artifact

    try:
        folder = official_artifact(entry, source=weights, again=True)
        return _here(name, source_at(folder), FP32)
    except OnnxzooError as error:
        return Result(name, error=str(error), exit_code=error.exit_code)


def _here(name: str, source: Source, precision: str) -> Result:
    model, folder = source.open(precision), source.artifact.folder
    used = [folder / CONFIG_FILE, model.path, folder / CONFORMANCE_FILE]
    size = sum(path.stat().st_size for path in used if path.is_file())
    return Result(name, source.origin, source.commit, str(folder), size)


def _planned(name: str, place: Place, precision: str) -> Result:
    if isinstance(place, Path):
        return dataclasses.replace(_downloaded(name, place, precision), missing=0)
    from ..hub.snapshot import is_offline, plan

    if isinstance(place, ModelEntry):
        return _planned_weights(name, place)
    try:
        if is_offline(None):
            raise ModelNotFoundError(f"{place}: HF_HUB_OFFLINE is set, so nothing can be downloaded; unset it")
        commit, files = plan(place, precision)
    except OnnxzooError as error:
        return Result(name, error=str(error), exit_code=error.exit_code)
    missing = sum(file.bytes for file in files if not file.cached)
    return Result(name, place.repo_id, commit, bytes=sum(file.bytes for file in files), missing=missing)


def _planned_weights(name: str, entry: ModelEntry) -> Result:
    from ..hub.official import announced_weights, is_cached
    from ..hub.snapshot import is_offline

    try:
        if is_offline(None):
            raise ModelNotFoundError(f"{name}: HF_HUB_OFFLINE is set, so nothing can be downloaded; unset it")
        found = announced_weights(entry)
    except OnnxzooError as error:
        return Result(name, error=str(error), exit_code=error.exit_code)
    missing = 0 if is_cached(entry, found.commit) else found.size
    return Result(name, entry.source.timm_repo, found.commit, bytes=found.size, missing=missing)


def _print(results: list[Result], dry_run: bool) -> None:
    width = max(len(one.name) for one in results) + 2
    column = "to get MB" if dry_run else "MB"
    say(f"{'model':<{width}}{column:>9}  {'from':<32}{'' if dry_run else 'folder'}".rstrip())
    for one in results:
        size = one.missing if dry_run else one.bytes
        megabytes = "-" if size is None else f"{size / 1e6:.1f}"
        source = f"{one.source}@{one.commit[:7]}" if one.commit else one.source or ""
        line = f"{one.name:<{width}}{megabytes:>9}  "
        say((line + (f"FAILED: {one.error}" if one.error else f"{source:<32}{one.folder or ''}")).rstrip())
    failed = sum(not one for one in results)
    if dry_run:
        total = sum(one.missing or 0 for one in results)
        say(f"{total / 1e6:.1f} MB to download" + (f", {failed} FAILED" if failed else ""))
    else:
        say(f"{len(results) - failed} of {len(results)} here" + (f", {failed} FAILED" if failed else ""))
