"""The address of a model on a server of the Open Inference Protocol, and the token that it asks for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ..errors import InputError
from ..files import readable
from ..network import without_login
from ..text import beginning

TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "ONNXZOO_OIP_TOKEN", "ONNXZOO_OIP_TOKEN_FILE"
"""A bearer token, or the file that holds it; one of the two, or none."""
MAX_TOKEN_BYTES = 2**14

HTTP, HTTPS, GRPC, GRPCS = "http", "https", "grpc", "grpcs"
DEFAULT_PORTS = {HTTP: 80, HTTPS: 443, GRPCS: 443}
FORM = "oip:http://HOST:PORT/MODEL, https, grpc or grpcs, with /versions/VERSION at the end for one version"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is served: `prefix` is what stands before /v2 in the paths of its server; `version` may be ""."""

    scheme: str
    host: str
    port: int
    prefix: str
    model: str
    version: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}/{self.model_path}"

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in (HTTPS, GRPCS)

    @property
    def is_grpc(self) -> bool:
        """Whether the server is asked by gRPC, not HTTP."""
        return self.scheme in (GRPC, GRPCS)

    @property
    def model_path(self) -> str:
        """The path of the model below the prefix, escaped."""
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"v2/models/{quote(self.model, safe='')}{version}"


def parse_address(text: str) -> Address:
    """The address in `http://HOST:PORT/MODEL` (https, grpc, grpcs), also as the protocol's own path, /v2/models/MODEL.

    Raises InputError for another form, and for a login in it, which would be printed: see `bearer_token`.
    """
    if not text:
        raise InputError(f"the engine oip needs the address of a model on a server; expected {FORM}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError as error:
        raise _malformed(text, str(error)) from None
    if parts.scheme not in (HTTP, HTTPS, GRPC, GRPCS):
        raise _malformed(text, "it has no such scheme")
    if "@" in parts.netloc:
        raise _malformed(text, f"logins do not belong there, set {TOKEN_VARIABLE} to a token")
    if not host or port is None or any(character.isspace() or not character.isprintable() for character in text):
        raise _malformed(text, "the host or the port is missing" if not host or port is None else "it has spaces")
    if parts.query or parts.fragment:
        raise _malformed(text, "it has a query or a fragment")
    prefix, names = _split(parts.path)
    model, version = names[0], names[2] if len(names) == 3 else ""
    if not model or len(names) not in (1, 3) or (len(names) == 3 and names[1] != "versions"):
        raise _malformed(text, "the model is missing")
    if prefix and parts.scheme in (GRPC, GRPCS):
        raise _malformed(text, "gRPC has no paths, only the name of the model")
    return Address(parts.scheme, host, port, prefix, model, version)


def bearer_token() -> str | None:
    """The bearer token from the environment; None if there is none.

    Raises InputError if both variables are set, the file cannot be read, or the token cannot be part of a header.
    """
    value, file = os.environ.get(TOKEN_VARIABLE), os.environ.get(TOKEN_FILE_VARIABLE)
    if value and file:
        raise InputError(f"{TOKEN_VARIABLE} and {TOKEN_FILE_VARIABLE} are both set; unset one of them")
    name = TOKEN_VARIABLE
    if file:
        name = f"the file of {TOKEN_FILE_VARIABLE}"
        with readable(Path(file), InputError), Path(file).open("rb") as stream:
            value = stream.read(MAX_TOKEN_BYTES + 1).decode("latin-1").strip()
    if not value:
        return None
    if len(value) > MAX_TOKEN_BYTES or not value.isascii() or not value.isprintable() or " " in value:
        raise InputError(f"the token in {name} has spaces, or characters that a header cannot have; give another one")
    return value


def _split(path: str) -> tuple[str, list[str]]:
    """The prefix, and [MODEL] or [MODEL, "versions", VERSION] or, for no valid path, something else."""
    names = path.strip("/").split("/")
    if names[-3:-1] == ["v2", "models"]:
        prefix, rest = names[:-3], names[-1:]
    elif names[-5:-3] == ["v2", "models"]:
        prefix, rest = names[:-5], names[-3:]
    elif names[-2:-1] == ["versions"] and len(names) > 2:
        prefix, rest = names[:-3], names[-3:]
    else:
        prefix, rest = names[:-1], names[-1:]
    return "".join(f"/{name}" for name in prefix), [unquote(name) for name in rest]


def _malformed(text: str, why: str) -> InputError:
    return InputError(f"{beginning(without_login(text))!r} is not the address of a model: {why}; expected {FORM}")
