"""URLs, in buckets, on the Hub and elsewhere, as fsspec reaches them.

fsspec comes with huggingface_hub and knows which package each kind of URL needs. Its own variables and files hold the
options of these packages, such as FSSPEC_S3='{"anon": true}'; credentials are found where each package looks for them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DownloadError, InputError, MissingDependencyError, one_line, raise_if_interrupted
from ..network import without_login

PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp requests"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    "smb": "smbprotocol",
    "oss": "ossfs",
    "webdav": "webdav4",
}
"""What to install for a kind of URL, where it is not obvious."""

WEB = ("http", "https")

CREDENTIALS = {
    **dict.fromkeys(
        ("s3", "s3a"),
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or for a public bucket "
        "FSSPEC_S3='{\"anon\": true}'",
    ),
    **dict.fromkeys(
        ("gs", "gcs"),
        'run `gcloud auth application-default login`, or for a public bucket set FSSPEC_GS=\'{"token": "anon"}\'',
    ),
    "hf": "set HF_TOKEN, or run `hf auth login`",
}
OTHER_CREDENTIALS = "set what its package reads for credentials"

CHECKSUMS = ("ETag", "etag", "md5Hash", "blob_id", "checksum")
"""Where the listings of file systems say what changes with the content of a file."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")
_REFUSED_STATUS = (401, 403)


def is_url(argument: str) -> bool:
    """Whether an argument is a URL, or several chained by `::`, as fsspec understands them."""
    return "://" in argument and _URL.match(argument) is not None


def has_pattern(url: str) -> bool:
    """Whether a URL is a pattern. A question mark begins the query of a web address, with its signature."""
    return bool(re.search(r"[*\[]" if protocol_of(url) in WEB else r"[*?\[]", url))


def protocol_of(url: str) -> str:
    """The kind of a URL: `s3`."""
    return re.split(r"://|::", url, maxsplit=1)[0].lower()


@dataclass(frozen=True, slots=True)
class Place:
    """A URL, `url`, in the file system that fsspec has for it, where it is called `path`."""

    url: str
    files: Any
    path: str

    @property
    def name(self) -> str:
        """The URL without the password that may be in it."""
        return without_login(self.url)

    def child(self, path: str, root: Place) -> Place:
        """The place of something that the file system listed; its URL continues that of `root`."""
        below = path.removeprefix(root.path.rstrip("/")).lstrip("/")
        before, chained, after = root.url.partition("::")
        return Place(f"{before}{'' if before.endswith('/') else '/'}{below}{chained}{after}", self.files, path)


def place_of(url: str) -> Place:
    """Where a URL is; nothing is requested.

    Raises MissingDependencyError with the package to install, InputError for a URL of an unknown kind, DownloadError.
    """
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(url)
    except ImportError as error:
        raise_if_interrupted(error)
        kind = protocol_of(url)
        package = PACKAGES.get(kind, f"'fsspec[{kind}]'")
        raise MissingDependencyError(
            f"{kind}:// needs a package that is not installed ({without_login(one_line(error))}); pip install {package}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{without_login(url)} is not a URL that can be read: {without_login(one_line(error))}"
        ) from error
    except Exception as error:
        raise refusal(without_login(url), error) from error
    return Place(url, files, path)


def absent(place: Place) -> str:
    """The message about a file that does not exist; the Hub says the same of what the user may not see."""
    if protocol_of(place.url) == "hf":
        return f"{place.name} does not exist or is private; check the URL, or {CREDENTIALS['hf']}"
    return f"{place.name} does not exist; check the URL"


def info_of(place: Place) -> Mapping[str, Any]:
    """What the file system says about a file or folder. Raises FileNotFoundError, DownloadError."""
    try:
        info: Mapping[str, Any] = place.files.info(place.path)
    except Exception as error:
        # fsspec says this of every failure of a web server; what is behind it may be another one.
        cause = error.__cause__
        if not isinstance(error, FileNotFoundError):
            raise refusal(place.name, error) from error
        if isinstance(cause, Exception) and protocol_of(place.url) in WEB and getattr(cause, "status", 0) != 404:
            raise refusal(place.name, cause) from error
        raise
    return info


def require_access(place: Place) -> None:
    """Raise DownloadError unless the file at a URL can be asked for; it need not exist."""
    with contextlib.suppress(FileNotFoundError):
        info_of(place)


def refusal(name: str, error: Exception) -> DownloadError:
    """The error for a URL that cannot be listed or opened, with what to do about it."""
    if isinstance(error, DownloadError):
        return error
    causes = [error, error.__cause__, error.__context__]
    status = {getattr(getattr(one, "response", None), "status_code", getattr(one, "status", None)) for one in causes}
    refused = any(isinstance(one, PermissionError) or "Credentials" in type(one).__name__ for one in causes) or bool(
        status.intersection(_REFUSED_STATUS)
    )
    reason = without_login(one_line(error))
    if refused:
        hint = CREDENTIALS.get(protocol_of(name), OTHER_CREDENTIALS)
        return DownloadError(f"{name} cannot be read, as its credentials are missing or refused: {reason}; {hint}")
    return DownloadError(f"{name} cannot be read: {reason}; check the URL and the network")


def matches(pattern: Place) -> list[tuple[Place, Mapping[str, Any]]]:
    """What a pattern matches, sorted. Raises DownloadError if it cannot be listed."""
    root = fixed_part(pattern)
    try:
        found: dict[str, Mapping[str, Any]] = pattern.files.glob(pattern.path, detail=True)
    except FileNotFoundError:
        return []
    except Exception as error:
        raise refusal(pattern.name, error) from error
    return [(pattern.child(path, root), found[path]) for path in sorted(found)]


def fixed_part(pattern: Place) -> Place:
    """The folder in which a pattern begins to be one."""

    def folder(text: str) -> str:
        return "".join(re.split(r"[*?\[]", text, maxsplit=1)[0].rpartition("/")[:2])

    before, chained, after = pattern.url.partition("::")
    return Place(f"{folder(before)}{chained}{after}", pattern.files, folder(pattern.path))


def read_part(place: Place, start: int, length: int) -> bytes:
    """At most this many bytes from `start`. Raises what the package of the file system raises."""
    # A server without ranges sends everything.
    data: bytes = place.files.cat_file(place.path, start=start, end=start + length)
    return data[:length]


def content_of(info: Mapping[str, Any]) -> str:
    """What changes with the content of a file, from its listing: its size, and a checksum if there is one."""
    return f"{info.get('size')} {next((info[key] for key in CHECKSUMS if info.get(key)), '')}"
