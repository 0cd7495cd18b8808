"""The environment variables for network access (proxies, certificates), and which of them is wrong."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .text import one_line

if TYPE_CHECKING:
    from urllib.request import BaseHandler, OpenerDirector

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
"""In lower or upper case; the last one applies to every scheme without its own variable."""
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Read by huggingface_hub, which uses the second one if the first is not set."""


def without_login(text: str) -> str:
    """The text with user name and password removed from every URL in it."""
    return re.sub(r"(\w+://)[^/\s'\"]*@", r"\1", text)


def offline_variable() -> str | None:
    """The variable that forbids requests, as huggingface_hub reads it; None if they are allowed."""
    name = next((one for one in OFFLINE_VARIABLES if os.environ.get(one)), None)
    return name if name and os.environ[name].upper() in ("1", "ON", "YES", "TRUE") else None


def opener(*handlers: BaseHandler | type[BaseHandler]) -> OpenerDirector:
    """A urllib opener that also supports ALL_PROXY, as huggingface_hub's client and curl do."""
    from urllib.request import ProxyHandler, build_opener, getproxies

    proxies = getproxies()
    every = proxies.pop("all", None)
    if every is not None:
        proxies = {"http": every, "https": every} | proxies
    return build_opener(ProxyHandler(proxies), *handlers)


def through_proxy(url: str) -> str:
    """` through the proxy ADDRESS (VARIABLE)` for messages about a request to `url`; empty if no proxy is used."""
    named = next(_proxies_for(url, (urlsplit(url).scheme,)), None)
    return "" if named is None else f" through the proxy {without_login(named[1])} ({named[0]})"


def environment_fault(error: BaseException, *, url: str | None = None) -> str | None:
    """What is wrong with a network variable and how to fix it, if that may be why a request failed.

    `error`: what the request raised. `url`: the URL requested with urllib, for which only its own variables count and
    SOCKS proxies are not supported; None for huggingface_hub's client, which reads all variables and supports SOCKS5
    proxies by the package socksio. Returns None if the variables are valid or the error has another cause.
    """
    reason = getattr(error, "reason", error)
    if isinstance(reason, OSError) and reason.filename is not None:
        return None  # about a file on this machine
    return _proxy_fault(url) or (_certificate_fault(reason) if _may_be_certificates(reason) else None)


def _may_be_certificates(reason: object) -> bool:
    return isinstance(reason, ssl.SSLError | FileNotFoundError | PermissionError) or "CERTIFICATE" in str(reason)


def _proxy_fault(url: str | None) -> str | None:
    if url is None:
        named = _set(variable for one in PROXY_VARIABLES for variable in _cases(one))
    else:
        # An http server may redirect to https, but not the other way round.
        named = _proxies_for(url, ("http", "https") if urlsplit(url).scheme == "http" else ("https",))
    for variable, value in named:
        wrong = _what_is_wrong(value, socks=url is None)
        if wrong:
            return f"{variable} is {without_login(value)!r}, {wrong}, or unset {variable}"
    return None


def _proxies_for(url: str, schemes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Variable and proxy for requests to the host of `url`, for each of these schemes."""
    from urllib.request import proxy_bypass

    host = urlsplit(url).netloc.rpartition("@")[2]
    if not host or proxy_bypass(host):
        return
    for scheme in schemes:
        named = _set(variable for one in (f"{scheme}_proxy", "all_proxy") for variable in _cases(one))
        yield from [*named][:1]


def _set(variables: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those that are set, with their values."""
    values = ((variable, os.environ.get(variable, "").strip()) for variable in variables)
    return (one for one in values if one[1])


def _cases(variable: str) -> tuple[str, str]:
    return variable, variable.upper()


def _what_is_wrong(proxy: str, *, socks: bool) -> str | None:
    address = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", address)
    except ValueError:
        usable = False
    if not usable:
        return "which is not a valid URL; set it to one like http://HOST:PORT"
    if parts.scheme in ("http", "https"):
        return None
    if not socks:
        return f"but {parts.scheme} proxies are not supported for this; set it to one like http://HOST:PORT"
    if parts.scheme not in ("socks5", "socks5h"):
        return f"but {parts.scheme} proxies are not supported; set it to one of http, https, socks5 or socks5h"
    if importlib.util.find_spec("socksio") is None:
        return "which needs a package that is not installed; pip install socksio"
    return None


def _certificate_fault(reason: object) -> str | None:
    if file := os.environ.get("SSL_CERT_FILE"):
        if not Path(file).is_file():
            return f"SSL_CERT_FILE is {file!r}, which is not a file; set it to a file of certificates, or unset it"
        try:
            ssl.create_default_context(cafile=file)
        except OSError:
            return f"SSL_CERT_FILE is {file!r}, which holds no certificates; set it to a file that does, or unset it"
    if (folder := os.environ.get("SSL_CERT_DIR")) and not any(map(os.path.isdir, folder.split(os.pathsep))):
        return f"SSL_CERT_DIR is {folder!r}, which is not a folder; set it to a folder of certificates, or unset it"
    if "CERTIFICATE_VERIFY_FAILED" not in str(reason):
        return None
    now = f" (now {file!r})" if file else ""
    why = getattr(reason, "verify_message", None) or one_line(reason)
    return (
        f"the certificate of the server or a proxy is not trusted ({why}); "
        f"if it is your network's own, set SSL_CERT_FILE{now} to a file with its certificate authority"
    )
