"""A wrapper around huggingface_hub's client: the location of its cache, reading requests, translated errors.

Works with huggingface_hub 1 and 2, which use two HTTP libraries (httpx, httpx2) with similar exceptions.
Our messages never contain an access token, as the client's messages go through `redacted`.
"""

from __future__ import annotations

import contextlib
import errno
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import ArtifactError, HubError, InputError, ModelNotFoundError, OnnxzooError, one_line
from ..network import environment_fault, through_proxy, without_login
from .names import is_commit

T = TypeVar("T")

HttpError: type[Exception] = HfHubHTTPError.__bases__[0]
"""The base class of the HTTP library's errors: httpx.HTTPError or httpx2.HTTPError."""

TRIES = 3
"""Attempts for a request with a transient failure: a server error, a lost connection, too many requests."""
FIRST_PAUSE_S = 1.0
"""Pause before the second attempt; doubled before each further one."""
LONGEST_PAUSE_S = 60.0
"""Longest pause: if a server asks for a longer one (Retry-After), the request fails."""
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
PROXY_STATUSES = (407, 511)
"""A proxy or network requires its own login."""
AGENTS_FUNCTION = "detect_agent"
"""A function of huggingface_hub that requests a list from the Hub and caches it for a day.

It fails every time if that list is malformed.
"""
AGENTS_FILE = ".agent_harnesses.json"
"""The file in HF_HOME that caches this list."""


class NotAHubError(HubError):
    """The answer is not from a Hub, but for example from the login page of a hotel's network."""


def not_a_hub(why: str) -> NotAHubError:
    """The error for an answer that cannot be from a Hub."""
    what_to_do = "check HF_ENDPOINT and the proxy, or try again later"
    return NotAHubError(f"{endpoint()} does not answer as a Hugging Face Hub ({why}); {what_to_do}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """The server's metadata of a file in a Hub repo: commit, size in bytes (None if not stated), etag.

    The etag is the SHA-256 of a large file and the git blob id (a SHA-1) of any other.
    """

    commit: str
    size: int | None
    etag: str | None


def api() -> huggingface_hub.HfApi:
    """The client, for requests without a function in this module; wrap its calls in `translated`."""
    return huggingface_hub.HfApi(library_name="onnxzoo", library_version=version("onnxzoo"))


def web_address(repo_id: str) -> str:
    """The URL of the repo's web page."""
    return f"{endpoint()}/{repo_id}"


def endpoint() -> str:
    """The Hub's URL for messages, without the user and password that HF_ENDPOINT may contain."""
    return without_login(constants.ENDPOINT)


def cache_folder() -> Path:
    """huggingface_hub's cache, which other tools share: HF_HUB_CACHE, or `hub` in HF_HOME."""
    return Path(constants.HF_HUB_CACHE).expanduser()


def repo_folder(repo_id: str) -> Path:
    """The folder of a model repo in the cache."""
    return cache_folder() / constants.REPO_ID_SEPARATOR.join(["models", *repo_id.split("/")])


def offline_by_environment() -> bool:
    """Whether HF_HUB_OFFLINE forbids requests."""
    return bool(constants.HF_HUB_OFFLINE)


def cached_file(repo_id: str, path: str, revision: str) -> Path | None:
    """The cached file at a commit, or at the last known commit of a branch or tag; None if it is not in the cache.

    Makes no request.
    """
    found = huggingface_hub.try_to_load_from_cache(repo_id, path, cache_dir=cache_folder(), revision=revision)
    return Path(found) if isinstance(found, str) else None


def remote_file(repo_id: str, path: str, revision: str) -> RemoteFile:
    """The metadata of the file at `path`, in one request. Raises the client's errors: wrap it in `translated`."""
    url = huggingface_hub.hf_hub_url(repo_id, path, revision=revision)
    remote = api().get_hf_file_metadata(url=url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    if remote.commit_hash is None or not is_commit(remote.commit_hash):
        raise not_a_hub("it does not report the commit of the file")
    return RemoteFile(remote.commit_hash, remote.size, remote.etag)


def download_file(repo_id: str, path: str, revision: str, *, force: bool = False) -> Path:
    """The file in the cache, downloaded if it is missing or `force` is set. Raises the client's errors, as above."""
    return Path(api().hf_hub_download(repo_id, path, revision=revision, cache_dir=cache_folder(), force_download=force))


def download_to(folder: Path, repo_id: str, path: str, revision: str) -> None:
    """Download the file into `folder`, bypassing the cache. Raises the client's errors, as above."""
    api().hf_hub_download(repo_id, path, revision=revision, local_dir=folder)


def patiently(call: Callable[[], T], *, tries: int = TRIES) -> T:
    """Return `call()`; after a transient failure pause and call it again, at most `tries` times in total."""
    pause = FIRST_PAUSE_S
    for left in range(tries - 1, -1, -1):
        try:
            return call()
        except Exception as error:
            wait = _pause_for(_cause(error), pause)
            if not left or wait is None:
                raise
        time.sleep(wait)
        pause *= 2
    raise AssertionError("tries is at least 1")


def is_unreachable(error: BaseException) -> bool:
    """Whether there was no answer from the Hub about the repo, so that a cached copy may be used instead."""
    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        status, headers = cause.response.status_code, cause.response.headers
        # The Hub gives its reason for a refusal in a header; a refusal without one is a proxy's.
        by_proxy = status in (401, 403) and not {"x-error-code", "x-error-message"} & {one.lower() for one in headers}
        return by_proxy or status in (*PASSING_STATUSES, *PROXY_STATUSES)
    if isinstance(cause, HttpError | OfflineModeIsEnabled | NotAHubError):
        return True
    return _fault_of_variables(cause) is not None or _stumbled_in(cause) is not None


@contextlib.contextmanager
def translated(repo_id: str, *, revision: str | None = None, path: str | None = None, hint: str = "") -> Iterator[None]:
    """Translate the client's errors to ours, each with one line that says what to do.

    `hint`: what to do if the repo does not exist. Raises ModelNotFoundError for a missing repo or revision,
    ArtifactError for a missing file, InputError for an invalid name of a repo, HubError for anything else.
    """
    try:
        yield
    except OnnxzooError:
        raise
    except Exception as error:
        found = as_ours(error, repo_id, revision, path, hint)
        if found is None:
            raise
        raise found from None  # the client's message may contain the token


def as_ours(
    error: BaseException, repo_id: str, revision: str | None = None, path: str | None = None, hint: str = ""
) -> OnnxzooError | None:
    """The error that `translated` raises for this one; None for an error that is not about the Hub."""
    where = web_address(repo_id)
    error = _cause(error)
    if isinstance(error, OnnxzooError):
        return error
    if (fault := _fault_of_variables(error)) is not None:
        return HubError(f"{repo_id}: the Hub cannot be asked: {fault}")
    if type(error).__name__ == "InvalidURL":  # compared by name, as it may be of either HTTP library
        return InputError(f"HF_ENDPOINT is {endpoint()!r}, which is not a valid URL; expected one like https://HOST")
    if isinstance(error, HFValidationError):
        return InputError(f"{repo_id!r} is not a valid name of a Hub repository; expected USER/NAME")
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"{repo_id}: HF_HUB_OFFLINE is set, so the Hub is not asked; unset it")
    if isinstance(error, GatedRepoError):
        return HubError(f"{repo_id} is open to those who agreed to its conditions: {where}, then hf auth login")
    if isinstance(error, RepositoryNotFoundError):
        fix = hint or "check the name; for a private one, log in: hf auth login"
        return ModelNotFoundError(f"{repo_id} is not on the Hub ({where}), or is private; {fix}")
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFoundError(f"{repo_id} has no revision {revision!r}; 'onnxzoo info {repo_id} --hub' lists them")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return ArtifactError(f"{repo_id} has no file {path!r}{f' at {revision}' if revision else ''}: {where}")
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, repo_id)
    if isinstance(error, HttpError):
        return HubError(
            f"{repo_id}: the Hub at {endpoint()} cannot be reached{_through_proxy()}, or the connection was lost "
            f"({redacted(one_line(error))[:200]}); check the network and try again"
        )
    if isinstance(error, UnicodeEncodeError):
        return HubError("the access token cannot be sent, as it is not ASCII text; check HF_TOKEN, or hf auth login")
    if isinstance(error, OSError):
        return _trouble_on_disk(error, repo_id)
    function = _stumbled_in(error)
    if function == AGENTS_FUNCTION:
        return NotAHubError(
            f"{repo_id}: huggingface_hub keeps a list of agents that it cannot read; "
            f"delete {Path(constants.HF_HOME) / AGENTS_FILE}, or set HF_HUB_DISABLE_TELEMETRY=1"
        )
    if function is not None:
        return not_a_hub(f"huggingface_hub's {function} ends in {type(error).__name__}")
    return None


def _fault_of_variables(error: BaseException) -> str | None:
    """What is wrong with the variables for proxies and certificates, if they made the client fail before any answer."""
    early = isinstance(error, ImportError | HttpError | OSError) or type(error) is ValueError
    if isinstance(error, HfHubHTTPError) or not (early or type(error).__name__ == "InvalidURL"):
        return None
    return environment_fault(error)


def _stumbled_in(error: BaseException) -> str | None:
    """The function of huggingface_hub in which an unexpected error was raised; None for any other error.

    A malformed answer makes it raise KeyError, TypeError, AssertionError and others. An error raised by our own code
    is a bug and is not translated.
    """
    if isinstance(error, HttpError | OSError | UnicodeEncodeError | MemoryError | OnnxzooError):
        return None
    if not isinstance(error, Exception) or type(error).__module__.startswith("huggingface_hub"):
        return None
    owned = [
        (owner, frame.f_code.co_name)
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if (owner := str(frame.f_globals.get("__name__")).partition(".")[0]) in ("onnxzoo", "huggingface_hub")
    ]
    return owned[-1][1] if owned and owned[-1][0] == "huggingface_hub" else None


def _through_proxy() -> str:
    return through_proxy(constants.ENDPOINT)


def _refusal(error: HfHubHTTPError, repo_id: str) -> HubError:
    status = error.response.status_code
    said = redacted(one_line(error.server_message))[:200] if error.server_message else ""
    answer = f"{repo_id}: the Hub answers {status}{_through_proxy()}" + (f" ({said})" if said else "")
    if status in PROXY_STATUSES:
        return HubError(f"{answer}: a proxy or this network asks for a login of its own; check HTTPS_PROXY")
    if status in (401, 403) and not huggingface_hub.get_token():
        return HubError(f"{answer}: the Hub or a proxy does not permit this; log in: hf auth login, or check the proxy")
    if status == 401:
        return HubError(f"{answer}: it does not accept the access token; check HF_TOKEN, or log in: hf auth login")
    if status == 403:
        return HubError(f"{answer}: the access token does not permit this; use one that does: hf auth login")
    if status == 429:
        wait = _retry_after(error)
        when = "later" if wait is None else f"in {wait:.0f} s"
        return HubError(f"{answer}: too many requests from here; try again {when}, or log in: hf auth login")
    if status in PASSING_STATUSES:
        return HubError(f"{answer}: it has a problem of its own; try again later")
    return HubError(answer)


def _trouble_on_disk(error: OSError, repo_id: str) -> HubError:
    cache = cache_folder()
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return HubError(f"{repo_id} does not fit in {cache}: the disk is full; free space or set HF_HOME elsewhere")
    if error.errno is not None:
        return HubError(
            f"{repo_id} cannot be kept in {cache}: {error.strerror}; make it writable or set HF_HOME elsewhere"
        )
    # The client's message about this contains the signed URL of the file.
    return HubError(f"{repo_id}: not all bytes that the Hub announced arrived; check the network and try again")


def _cause(error: BaseException) -> BaseException:
    """The cause of the client's LocalEntryNotFoundError; any other error itself."""
    wrapped = isinstance(error, LocalEntryNotFoundError) or type(error) is ValueError
    if wrapped and isinstance(error.__cause__, HttpError | OfflineModeIsEnabled):
        return error.__cause__
    return error


def _pause_for(error: BaseException, pause: float) -> float | None:
    """Seconds to wait before the next attempt; None if the request should not be repeated."""
    if isinstance(error, HfHubHTTPError):
        if error.response.status_code not in PASSING_STATUSES:
            return None
        wait = _retry_after(error)
        return pause if wait is None else None if wait > LONGEST_PAUSE_S else wait
    # An OSError without errno is the client's 'Consistency check failed': the download is incomplete.
    cut_short = type(error) is OSError and error.errno is None
    return pause if cut_short or isinstance(error, HttpError) else None


def _retry_after(error: HfHubHTTPError) -> float | None:
    text = error.response.headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdecimal() else None


def redacted(text: str) -> str:
    """The text without passwords, the token in use, and anything that looks like a token."""
    token = huggingface_hub.get_token()
    if token:
        text = text.replace(token, "***").replace(repr(token)[1:-1], "***")
    return without_login(re.sub(r"hf_\w+|Bearer [^\s'\"]+", "***", text))
