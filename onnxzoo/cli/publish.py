"""`onnxzoo publish`: artifacts go to the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..artifact.folder import is_artifact, read_artifact
from ..errors import ArtifactError, InputError, OnnxzooError
from ..hub.names import NAMESPACE_VARIABLE, require_endpoint
from ..hub.names import namespace as namespace_in_use
from .output import print_json, report, say

if TYPE_CHECKING:
    from ..hub.publish import Publication

SHOWN_FILES = 5


@click.command("publish", short_help="Publish artifacts on the Hugging Face Hub.")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--repo-id",
    metavar="USER/NAME",
    help=f"The model repository; it is made where there is none.  [default: NS/NAME with {NAMESPACE_VARIABLE}=NS]",
)
@click.option("--all", "every", is_flag=True, help="Publish every artifact that lies in DIR.")
@click.option(
    "--namespace",
    metavar="NS",
    help=f"With --all: the user or organisation; each repository is NS/NAME.  [default: {NAMESPACE_VARIABLE}]",
)
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--revision", metavar="BRANCH", help="An existing branch to commit to.  [default: main]")
@click.option("--create-pr", is_flag=True, help="Open a pull request against main instead.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would go up, without changing anything.")
@click.option("--message", metavar="M", help="The commit's message.")
@click.option("--allow-unvalidated", is_flag=True, help="Publish what has not passed a validation; the card says so.")
@click.option("--replace", is_flag=True, help="Overwrite files of a repository that has something else.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    /,
    folder: Path,
    repo_id: str | None,
    every: bool,
    namespace: str | None,
    as_json: bool,
    message: str | None,
    **options: Any,
) -> None:
    """Publish the artifact in DIR: the files that config.json lists, config.json and a generated model card.

    One commit with what differs from what the repository has. An artifact that is incomplete, altered or not validated
    is refused. The access token is huggingface_hub's: 'hf auth login', or HF_TOKEN.

    With --all, goes on after a failure and ends with a table; run again, it skips what is published already.
    """
    if (every and repo_id is not None) or (namespace is not None and not every):
        raise click.UsageError("give --repo-id USER/NAME for one artifact, or --all and --namespace NS for many")
    owner = namespace or namespace_in_use()
    if repo_id is None and owner is None:
        where = "--repo-id USER/NAME for one artifact, --all and --namespace NS for many"
        raise click.UsageError(f"say where to: {where}, or {NAMESPACE_VARIABLE}=NS")
    if message is not None and not message.strip():
        raise click.UsageError("--message is empty")
    require_endpoint()
    from ..hub.publish import publish

    options["message"] = message
    if not every:
        repo_id = repo_id or f"{owner}/{read_artifact(folder).name}"
        done = publish(folder, repo_id, **options)
        if as_json:
            print_json(_as_dict(done))
        else:
            say(*_lines(done))
        return
    results = _publish_all(folder, str(owner), options)
    if as_json:
        print_json({"results": [_outcome_as_dict(one) for one in results]})
    else:
        _print_table(results)
    context.exit(0 if all(one.publication for one in results) else 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one artifact of many: `publication`, or `error`, one line."""

    folder: Path
    repo_id: str
    publication: Publication | None = None
    error: str = ""


def _publish_all(folder: Path, namespace: str, options: dict[str, Any]) -> list[Outcome]:
    """Publish each artifact in the folder as `namespace`/its name, whatever becomes of the others."""
    from ..hub.publish import checked, publish

    folders = [one for one in sorted(folder.iterdir()) if is_artifact(one) and not one.name.startswith(".")]
    if not folders:
        hint = "it is an artifact itself, leave --all out" if is_artifact(folder) else "expected a folder of artifacts"
        raise InputError(f"there is no artifact in {folder}; {hint}")
    # Whatever can be found wrong on this machine is found before the first request.
    outcomes, packages = {}, {}
    taken: dict[str, Path] = {}
    local = {name: value for name, value in options.items() if name not in ("message", "replace")}
    for one in folders:
        outcomes[one] = Outcome(one, f"{namespace}/{one.name}")
        with _noted(one, outcomes):
            repo_id = f"{namespace}/{read_artifact(one).name}"
            outcomes[one] = Outcome(one, repo_id)
            if (other := taken.setdefault(repo_id.casefold(), one)) != one:
                raise ArtifactError(f"{one.name} and {other.name} have one name, for which there is one repository")
            packages[one] = checked(one, repo_id, **local)
    for one, package in packages.items():
        repo_id = outcomes[one].repo_id
        with _noted(one, outcomes):
            outcomes[one] = Outcome(one, repo_id, publish(one, repo_id, package=package, **options))
    return list(outcomes.values())


@contextlib.contextmanager
def _noted(folder: Path, outcomes: dict[Path, Outcome]) -> Iterator[None]:
    """Report an error of one artifact and note it, so that the others go on."""
    try:
        yield
    except (OnnxzooError, OSError) as error:
        report(f"{folder.name}: {error}")
        outcomes[folder] = dataclasses.replace(outcomes[folder], error=str(error))


def _lines(done: Publication) -> list[str]:
    """What was done, for people."""
    goes = f"{_count(len(done.uploaded))}, {_size(done.bytes)}" + (
        f"; {len(done.removed)} removed" if done.removed else ""
    )
    if not done.changed:
        lines = [f"{done.repo_id} has all of this already; no commit", f"  commit   {done.commit}"]
    elif done.dry_run:
        made = " (which would be made)" if done.created else ""
        lines = [f"would publish {done.repo_id}{made}, {done.revision}: {goes}; nothing was changed"]
    else:
        made = "made and published" if done.created else "published"
        lines = [f"{made} {done.repo_id}, {done.revision}: {goes}", f"  commit   {done.commit}"]
    lines += [f"  url      {done.url}", f"  there    {_count(done.unchanged)} that did not change"]
    sent, removed = ("to send", "to remove") if done.dry_run else ("sent", "removed")
    lines += [f"  {sent:<8} {path}" for path in done.uploaded] + [f"  {removed:<8} {path}" for path in done.removed]
    if done.left_out:
        more = f" and {len(done.left_out) - SHOWN_FILES} more" if len(done.left_out) > SHOWN_FILES else ""
        lines.append(f"  left out {', '.join(done.left_out[:SHOWN_FILES])}{more}: not of the artifact")
    if done.other_card:
        lines.append("  card     generated; the README.md in the folder is an older one or your own and stays as it is")
    return lines + [f"  NOT VALIDATED: {path}; the card says so" for path in done.unvalidated]


def _print_table(outcomes: Sequence[Outcome]) -> None:
    width = max(len(one.repo_id) for one in outcomes) + 2
    say(f"{'repository':<{width}}{'sent':>12}  {'commit':<9}result")
    for one in outcomes:
        done = one.publication
        sent = "-" if done is None else _size(done.bytes)
        commit = "-" if done is None or done.commit is None else done.commit[:7]
        say(f"{one.repo_id:<{width}}{sent:>12}  {commit:<9}{one.error or _result(done)}")
    failed = sum(one.publication is None for one in outcomes)
    say(f"{len(outcomes) - failed} of {len(outcomes)} done" + (f", {failed} FAILED" if failed else ""))


def _result(done: Publication | None) -> str:
    if done is None:
        return ""
    result = "published" if done.changed else "there already"
    if done.changed and done.dry_run:
        result = "would be published"
    return f"{result}, NOT VALIDATED" if done.unvalidated else result


def _as_dict(done: Publication) -> dict[str, Any]:
    return dataclasses.asdict(done) | {"changed": done.changed}


def _outcome_as_dict(one: Outcome) -> dict[str, Any]:
    publication = None if one.publication is None else _as_dict(one.publication)
    return {"folder": str(one.folder), "repo_id": one.repo_id, "error": one.error or None, "publication": publication}


def _count(files: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count / 1e6:,.2f} MB"
