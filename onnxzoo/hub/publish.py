"""Publishes an artifact to a Hub repo, in one commit with the files that differ."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from ..artifact.folder import CONFIG_FILE, MAX_CONFIG_BYTES, Artifact, read_artifact
from ..errors import ArtifactError, HubError, InputError, ModelNotFoundError, one_line
from ..files import git_blob_id
from . import answers, client, names
from .card_metadata import EVAL_RESULTS_PREFIX
from .package import Content, Package, changed_meanwhile, pack, replaceable

log = logging.getLogger("onnxzoo")

HTTP_PRECONDITION_FAILED = 412


@dataclass(frozen=True, slots=True)
class Publication:
    """The result of publishing, or with `dry_run` the result that it would have.

    `commit`: the new commit, or the branch's if nothing differs, or None if there is none yet. `url`: the URL of the
    commit, the pull request, or the repo. `uploaded` and `removed` are paths, `bytes` is the size of the uploaded
    files, `unchanged` the number of files that were already there. `left_out`, `other_card`, `unvalidated`: see
    `Package`.
    """

    name: str
    repo_id: str
    revision: str
    commit: str | None
    url: str
    created: bool
    dry_run: bool
    uploaded: tuple[str, ...]
    removed: tuple[str, ...]
    bytes: int
    unchanged: int
    left_out: tuple[str, ...]
    other_card: bool
    unvalidated: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether there is a commit, or with `dry_run` would be."""
        return bool(self.uploaded or self.removed)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self) | {"changed": self.changed}


def publish(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    dry_run: bool = False,
    message: str | None = None,
    allow_unvalidated: bool = False,
    replace: bool = False,
    package: Package | None = None,
) -> Publication:
    """Publish the artifact in `folder` as the model repo `repo_id`, which is created if it does not exist.

    The commit goes to the branch `revision` (main), or into a pull request against main. Files that the repo already
    has are not sent; if nothing differs there is no commit. With `dry_run` nothing is changed. If the repo does not
    contain this model's artifact, its files are overwritten only with `replace`. Only files of an artifact are removed.
    `package`: the result of `checked` for the same folder and options, if it was called before.

    Raises ArtifactError as `pack` does, InputError for an invalid combination of options and for a repo with other
    content, ModelNotFoundError for a branch that does not exist, HubError if the Hub refuses or cannot be reached.
    """
    if package is None:
        package = checked(
            folder,
            repo_id,
            private=private,
            revision=revision,
            create_pr=create_pr,
            dry_run=dry_run,
            allow_unvalidated=allow_unvalidated,
        )
    branch = revision or names.DEFAULT_REVISION
    with _quietly(), _explained(repo_id, branch):
        there = _look(repo_id, branch, is_branch_known=revision is None)
        created = there is None
        if there is not None and private and not there.private:
            raise InputError(
                f"{repo_id} exists and is public, which --private does not change; "
                f"make it private in its settings on {client.web_address(repo_id)}, or leave --private out"
            )
        if there is None and (create_pr or revision not in (None, names.DEFAULT_REVISION)):
            what = "a pull request" if create_pr else f"the branch {branch!r}"
            raise ModelNotFoundError(
                f"{repo_id} is not on the Hub yet, so {what} cannot be made; publish to main first"
            )
        if there is None and not dry_run:
            client.api().create_repo(repo_id, private=private, exist_ok=True)
            there = answers.state(repo_id, branch)
        remote = {one.rfilename: one for one in (there.siblings or [] if there else [])}
        uploads = {path: file for path, file in package.files.items() if not _is_there(remote.get(path), file)}
        before = _published_before(repo_id, branch, there, remote.get(CONFIG_FILE), package)
        if not replace:
            _require_same(repo_id, package, before, remote, uploads)
        listed = () if before is None else before.files
        removed = tuple(
            path
            for path in remote
            if path not in package.files
            and replaceable(path)
            and (path in listed or path.startswith(EVAL_RESULTS_PREFIX))
        )
        commit, url = None if there is None else there.sha, client.web_address(repo_id)
        if (uploads or removed) and not dry_run and there is not None:
            made = _commit(repo_id, package, uploads, removed, branch, there, message, create_pr=create_pr)
            commit, url = made.oid, made.pr_url or made.commit_url
    return Publication(
        name=package.artifact.name,
        repo_id=repo_id,
        revision=branch,
        commit=commit,
        url=url,
        created=created,
        dry_run=dry_run,
        uploaded=tuple(uploads),
        removed=removed,
        bytes=sum(file.size for file in uploads.values()),
        unchanged=len(package.files) - len(uploads),
        left_out=package.left_out,
        other_card=package.other_card,
        unvalidated=tuple(package.unvalidated),
    )


def checked(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    dry_run: bool = False,
    allow_unvalidated: bool = False,
) -> Package:
    """The files to upload, after all checks of `publish` that need no request. Raises as `publish` does.

    With `dry_run` a missing access token is a warning.
    """
    _require_possible(repo_id, revision, private=private, create_pr=create_pr)
    package = pack(folder, repo_id, allow_unvalidated=allow_unvalidated)
    if not huggingface_hub.get_token():
        missing = f"{repo_id}: publishing needs an access token that may write; hf auth login, or set HF_TOKEN"
        if not dry_run:
            raise HubError(missing)
        log.warning("%s", missing)
    return package


def _require_possible(repo_id: str, revision: str | None, *, private: bool, create_pr: bool) -> None:
    name = names.parse(repo_id)
    if name is None or name.revision is not None:
        raise InputError(f"{repo_id!r} is not a valid name of a Hub repository; expected USER/NAME")
    names.checked_revision(revision)
    if create_pr and (private or revision is not None):
        other = "a new private repository" if private else "another branch"
        raise InputError(f"a pull request goes to main of a repository that exists; it cannot be made for {other}")


def _look(repo_id: str, branch: str, *, is_branch_known: bool) -> ModelInfo | None:
    """The state of the repo at the branch; None if the repo does not exist or this token may not see it."""
    try:
        if not is_branch_known:
            # Commits and tags are revisions too, but nothing can be added to them.
            there = [ref.name for ref in answers.refs(repo_id) if ref.kind == answers.BRANCH]
            if branch not in there:
                raise ModelNotFoundError(f"{repo_id} has no branch {branch!r}; it has {', '.join(sorted(there))}")
        return client.patiently(lambda: answers.state(repo_id, branch))
    except RepositoryNotFoundError:
        return None


def _published_before(
    repo_id: str, branch: str, there: ModelInfo | None, config: RepoSibling | None, package: Package
) -> Artifact | None:
    """The artifact in the repo; None if there is none, or it cannot be read."""
    if there is None or config is None:
        return None
    if _is_there(config, package.files[CONFIG_FILE]):
        return package.artifact
    if config.size is None or config.size > MAX_CONFIG_BYTES:
        return None
    with tempfile.TemporaryDirectory() as folder:
        client.patiently(lambda: client.download_to(Path(folder), repo_id, CONFIG_FILE, there.sha or branch))
        try:
            return read_artifact(Path(folder))
        except ArtifactError:
            return None


def _require_same(
    repo_id: str,
    package: Package,
    before: Artifact | None,
    remote: Mapping[str, RepoSibling],
    uploads: Mapping[str, Content],
) -> None:
    """Raise InputError if files would be overwritten that are not from an earlier version of this artifact."""
    overwritten = sorted(path for path in uploads if path in remote)
    if not overwritten or (before is not None and before.name == package.artifact.name):
        return
    has = "no artifact of onnxzoo" if before is None else f"the model {before.name}"
    raise InputError(
        f"{repo_id} has {has}; publishing {package.artifact.name} would overwrite what it has: "
        f"{', '.join(overwritten)}; publish to another repository, or give --replace"
    )


def _is_there(remote: RepoSibling | None, file: Content) -> bool:
    if remote is None or remote.size != file.size:
        return False
    return remote.lfs.sha256 == file.sha256 if remote.lfs else remote.blob_id == git_blob_id(file.read())


def _commit(
    repo_id: str,
    package: Package,
    uploads: dict[str, Content],
    removed: Sequence[str],
    branch: str,
    there: ModelInfo,
    message: str | None,
    *,
    create_pr: bool,
) -> huggingface_hub.CommitInfo:
    what = ", ".join(package.artifact.precisions)
    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for path, file in uploads.items():
        added = CommitOperationAdd(path, file.source)  # computes its hash
        if (added.upload_info.size, added.upload_info.sha256.hex()) != (file.size, file.sha256):
            raise changed_meanwhile(path)
        operations.append(added)
    operations += [CommitOperationDelete(path) for path in removed]
    return client.api().create_commit(
        repo_id,
        operations,
        commit_message=message or f"{package.artifact.name} ({what}), onnxzoo {version('onnxzoo')}",
        revision=branch,
        create_pr=create_pr,
        parent_commit=None if create_pr else there.sha,
    )


@contextlib.contextmanager
def _explained(repo_id: str, branch: str) -> Iterator[None]:
    """Translate errors of writing to ours; those that `client.translated` does not know are handled here."""
    with client.translated(repo_id, revision=branch):
        try:
            yield
        except RuntimeError as error:
            # The client wraps the reason why a large upload failed in one of these.
            if error.__cause__ is None:
                raise
            raise error.__cause__ from None
        except HfHubHTTPError as error:
            if error.response.status_code != HTTP_PRECONDITION_FAILED:
                raise
            raise HubError(f"{repo_id}: somebody else changed {branch!r} at the same time; run it again") from None
        except ValueError as error:
            if type(error) is not ValueError or client.is_unreachable(error):
                raise
            # The client's error for a card or a file that the Hub does not accept.
            raise HubError(f"{repo_id}: the Hub refuses this: {client.redacted(one_line(error))}") from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Show the client's progress bars on a terminal only, and none of its warnings, as failures raise errors."""
    utils: Any = huggingface_hub.utils  # its names are not marked as exported
    bars, level = utils.are_progress_bars_disabled(), huggingface_hub.logging.get_verbosity()
    huggingface_hub.logging.set_verbosity(logging.ERROR)
    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warnings while validating metadata")  # of a card without licence
            yield
    finally:
        huggingface_hub.logging.set_verbosity(level)
        if not bars:
            utils.enable_progress_bars()
