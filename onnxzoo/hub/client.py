"""huggingface_hub's client as onnxzoo uses it: where its cache is, the calls that read, its errors as ours.

Works with huggingface_hub 1 and 2, which sit on two HTTP libraries (httpx, httpx2) whose exceptions look alike.
No message of ours holds an access token: what the client says goes through `redacted`.
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
"""What every failure of the HTTP library is: httpx.HTTPError or httpx2.HTTPError."""

TRIES = 3
"""Of a request whose failure may pass: server errors, cut connections, too many requests."""
FIRST_PAUSE_S = 1.0
"""Before the second try; doubled before each further one."""
LONGEST_PAUSE_S = 60.0
"""A server that asks for more patience (Retry-After) is not waited for."""
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
PROXY_STATUSES = (407, 511)
"""A proxy or network asks for a login of its own."""
AGENTS_FUNCTION = "detect_agent"
"""Of huggingface_hub: asks the Hub for a list, keeps what comes for a day, and fails every time if it is malformed."""
AGENTS_FILE = ".agent_harnesses.json"
"""In HF_HOME."""


class NotAHubError(HubError):
    """What answered is something else, as the login page of a hotel's network."""


def not_a_hub(why: str) -> NotAHubError:
    """The error for an answer that no Hub gives."""
    what_to_do = "check HF_ENDPOINT and the proxy, or try again later"
    return NotAHubError(f"{endpoint()} does not answer as a Hugging Face Hub ({why}); {what_to_do}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a Hub repo as the server announces it: commit, size in bytes (None: it does not say), etag.

    The etag is the SHA-256 of a large file and the git blob id (a SHA-1) of any other.
    """

    commit: str
    size: int | None
    etag: str | None


def api() -> huggingface_hub.HfApi:
    """The client for everything that has no function here; wrap its calls in `translated`."""
    return huggingface_hub.HfApi(library_name="onnxzoo", library_version=version("onnxzoo"))


def web_address(repo_id: str) -> str:
    """Where people find the repo."""
    return f"{endpoint()}/{repo_id}"


def endpoint() -> str:
    """The Hub's address for messages: without the user and password that HF_ENDPOINT may have."""
    return without_login(constants.ENDPOINT)


def cache_folder() -> Path:
    """huggingface_hub's own cache, which other tools share: HF_HUB_CACHE, or `hub` in HF_HOME."""
    return Path(constants.HF_HUB_CACHE).expanduser()


def repo_folder(repo_id: str) -> Path:
    """The folder of a model repo in the cache."""
    return cache_folder() / constants.REPO_ID_SEPARATOR.join(["models", *repo_id.split("/")])


def offline_by_environment() -> bool:
    """Whether HF_HUB_OFFLINE forbids requests."""
    return bool(constants.HF_HUB_OFFLINE)


def cached_file(repo_id: str, path: str, revision: str) -> Path | None:
    """The file in the cache at a commit, or at the commit that a branch or tag had last; None where it is not.

    Without a request.
    """
    found = huggingface_hub.try_to_load_from_cache(repo_id, path, cache_dir=cache_folder(), revision=revision)
    return Path(found) if isinstance(found, str) else None


def remote_file(repo_id: str, path: str, revision: str) -> RemoteFile:
    """What the Hub has at `path`: one request, no data. The client's errors: wrap it in `translated`."""
    url = huggingface_hub.hf_hub_url(repo_id, path, revision=revision)
    remote = api().get_hf_file_metadata(url=url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    if remote.commit_hash is None or not is_commit(remote.commit_hash):
        raise not_a_hub("it does not report the commit of the file")
    return RemoteFile(remote.commit_hash, remote.size, remote.etag)


def download_file(repo_id: str, path: str, revision: str, *, force: bool = False) -> Path:
    """The file in the cache, downloaded when it is not there or `force` is set. The client's errors, as above."""
    return Path(api().hf_hub_download(repo_id, path, revision=revision, cache_dir=cache_folder(), force_download=force))


def download_to(folder: Path, repo_id: str, path: str, revision: str) -> None:
    """Download the file into `folder`, past the cache. The client's errors, as above."""
    api().hf_hub_download(repo_id, path, revision=revision, local_dir=folder)


def patiently(call: Callable[[], T], *, tries: int = TRIES) -> T:
    """`call()`, again after a pause while it fails in a way that may pass. A retry starts the call anew."""
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
    """Whether the Hub gave no answer, or one that says nothing about the repo: a cached copy may stand in for it."""
    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        status, headers = cause.response.status_code, cause.response.headers
        # The Hub says why it refuses in a header; what refuses without is a proxy on the way.
        by_proxy = status in (401, 403) and not {"x-error-code", "x-error-message"} & {one.lower() for one in headers}
        return by_proxy or status in (*PASSING_STATUSES, *PROXY_STATUSES)
    if isinstance(cause, HttpError | OfflineModeIsEnabled | NotAHubError):
        return True
    return _fault_of_variables(cause) is not None or _stumbled_in(cause) is not None


@contextlib.contextmanager
def translated(repo_id: str, *, revision: str | None = None, path: str | None = None, hint: str = "") -> Iterator[None]:
    """Raise the client's errors as ours, each one line that says what to do.

    `hint`: what to do when there is no such repo. Raises ModelNotFoundError for a missing repo or revision,
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
        raise found from None  # the client's own message may hold the token


def as_ours(
    error: BaseException, repo_id: str, revision: str | None = None, path: str | None = None, hint: str = ""
) -> OnnxzooError | None:
    """The client's error as `translated` raises it; None for one that is not about the Hub."""
    where = web_address(repo_id)
    error = _cause(error)
    if isinstance(error, OnnxzooError):
        return error
    if (fault := _fault_of_variables(error)) is not None:
        return HubError(f"{repo_id}: the Hub cannot be asked: {fault}")
    if type(error).__name__ == "InvalidURL":  # of the HTTP library, of which there are two
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
    """What is wrong with the variables of proxies and certificates, where the client failed before it had an answer."""
    early = isinstance(error, ImportError | HttpError | OSError) or type(error) is ValueError
    if isinstance(error, HfHubHTTPError) or not (early or type(error).__name__ == "InvalidURL"):
        return None
    return environment_fault(error)


def _stumbled_in(error: BaseException) -> str | None:
    """The function of huggingface_hub that failed with an error that is none of its own; None for any other error.

    A malformed answer makes it raise KeyError, TypeError, AssertionError and more. What our own code raises is a bug
    of ours and stays what it is.
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
    # The client's message about this holds the signed address of the file.
    return HubError(f"{repo_id}: not all bytes that the Hub announced arrived; check the network and try again")


def _cause(error: BaseException) -> BaseException:
    """The failure behind the client's 'not in the cache, and could not be asked for'."""
    wrapped = isinstance(error, LocalEntryNotFoundError) or type(error) is ValueError
    if wrapped and isinstance(error.__cause__, HttpError | OfflineModeIsEnabled):
        return error.__cause__
    return error


def _pause_for(error: BaseException, pause: float) -> float | None:
    """Seconds to wait before the next try; None when there should be none."""
    if isinstance(error, HfHubHTTPError):
        if error.response.status_code not in PASSING_STATUSES:
            return None
        wait = _retry_after(error)
        return pause if wait is None else None if wait > LONGEST_PAUSE_S else wait
    # An OSError without a number is the client's 'Consistency check failed': not all bytes came.
    cut_short = type(error) is OSError and error.errno is None
    return pause if cut_short or isinstance(error, HttpError) else None


def _retry_after(error: HfHubHTTPError) -> float | None:
    text = error.response.headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdecimal() else None


def redacted(text: str) -> str:
    """The text without access tokens and passwords: the token in use, and whatever looks like one."""
    token = huggingface_hub.get_token()
    if token:
        text = text.replace(token, "***").replace(repr(token)[1:-1], "***")
    return without_login(re.sub(r"hf_\w+|Bearer [^\s'\"]+", "***", text))
