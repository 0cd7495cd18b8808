"""The environment variables for network access (proxies, certificates), and which of them is wrong."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
"""In lower or upper case; the last one applies to every scheme without its own variable."""


def without_login(text: str) -> str:
    """The text with user name and password removed from every URL in it."""
    return re.sub(r"(\w+://)[^/\s'\"]*@", r"\1", text)


def environment_fault(error: BaseException, *, socks: bool = False) -> str | None:
    """What is wrong with a network variable and how to fix it, if that may be why a request failed.

    `error`: what the request raised. `socks`: whether the client supports SOCKS5 proxies (by the package socksio) and
    ALL_PROXY. None if the variables are valid or the error has another cause.
    """
    reason = getattr(error, "reason", error)
    if isinstance(reason, OSError) and reason.filename is not None:
        return None  # about a file on this machine
    return _proxy_fault(socks) or (_certificate_fault() if _may_be_certificates(reason) else None)


def _may_be_certificates(reason: object) -> bool:
    return isinstance(reason, ssl.SSLError | FileNotFoundError | PermissionError) or "CERTIFICATE" in str(reason)


def _proxy_fault(socks: bool) -> str | None:
    for name in PROXY_VARIABLES if socks else PROXY_VARIABLES[:2]:
        for variable in (name, name.upper()):
            value = os.environ.get(variable, "").strip()
            wrong = _what_is_wrong(value, socks) if value else None
            if wrong:
                return f"{variable} is {without_login(value)!r}, {wrong}, or unset {variable}"
    return None


def _what_is_wrong(proxy: str, socks: bool) -> str | None:
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


def _certificate_fault() -> str | None:
    if file := os.environ.get("SSL_CERT_FILE"):
        if not Path(file).is_file():
            return f"SSL_CERT_FILE is {file!r}, which is not a file; set it to a file of certificates, or unset it"
        try:
            ssl.create_default_context(cafile=file)
        except OSError:
            return f"SSL_CERT_FILE is {file!r}, which holds no certificates; set it to a file that does, or unset it"
    if (folder := os.environ.get("SSL_CERT_DIR")) and not any(map(os.path.isdir, folder.split(os.pathsep))):
        return f"SSL_CERT_DIR is {folder!r}, which is not a folder; set it to a folder of certificates, or unset it"
    return None
