"""`onnxzoo publish`: uploads artifacts to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..artifact.folder import read_artifact
from ..hub.names import NAMESPACE_VARIABLE, require_endpoint
from ..hub.names import namespace as namespace_in_use
from .output import print_json, report, say
from .parameters import FOLDER

if TYPE_CHECKING:
    from ..hub.publish import Publication
    from ..hub.publish_many import Outcome

SHOWN_FILES = 5


@click.command("publish", short_help="Publish artifacts on the Hugging Face Hub.")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "--repo-id",
    metavar="USER/NAME",
    help=f"The model repository, created if it does not exist.  [default: NS/NAME with {NAMESPACE_VARIABLE}=NS]",
)
@click.option("--all", "every", is_flag=True, help="Publish every artifact in DIR.")
@click.option(
    "--namespace",
    metavar="NS",
    help=f"With --all: the user or organisation; each repository is NS/NAME.  [default: {NAMESPACE_VARIABLE}]",
)
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--revision", metavar="BRANCH", help="An existing branch to commit to.  [default: main]")
@click.option("--create-pr", is_flag=True, help="Open a pull request against main instead.")
@click.option("--dry-run", is_flag=True, help="Check everything and show what would be uploaded; nothing is changed.")
@click.option("--message", metavar="M", help="The commit's message.")
@click.option(
    "--allow-unvalidated", is_flag=True, help="Publish files that have not passed a validation; the card says so."
)
@click.option("--replace", is_flag=True, help="Overwrite files of a repository with other content.")
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

    One commit contains all files that differ from the repository's. An artifact that is incomplete, altered or not
    validated is refused. The access token is huggingface_hub's: 'hf auth login', or HF_TOKEN.

    With --all, the command continues after a failure and ends with a table; run again, it skips published artifacts.
    """
    if (every and repo_id is not None) or (namespace is not None and not every):
        raise click.UsageError("give --repo-id USER/NAME for one artifact, or --all and --namespace NS for many")
    owner = namespace or namespace_in_use()
    if repo_id is None and owner is None:
        where = "--repo-id USER/NAME for one artifact, --all and --namespace NS for many"
        raise click.UsageError(f"no target repository; give {where}, or set {NAMESPACE_VARIABLE}=NS")
    if message is not None and not message.strip():
        raise click.UsageError("--message is empty")
    require_endpoint()
    from ..hub.publish import publish
    from ..hub.publish_many import publish_many

    options["message"] = message
    if not every:
        repo_id = repo_id or f"{owner}/{read_artifact(folder).name}"
        done = publish(folder, repo_id, **options)
        if as_json:
            print_json(done.to_dict())
        else:
            say(*_lines(done))
        return
    results = []
    for outcome in publish_many(folder, str(owner), **options):
        if not outcome:
            report(f"{outcome.folder.name}: {outcome.error}")
        results.append(outcome)
    results.sort(key=lambda one: one.folder)
    if as_json:
        print_json({"results": [one.to_dict() for one in results]})
    else:
        _print_table(results)
    context.exit(0 if all(results) else 1)


def _lines(done: Publication) -> list[str]:
    """The result as lines for people."""
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


def _count(files: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count / 1e6:,.2f} MB"
