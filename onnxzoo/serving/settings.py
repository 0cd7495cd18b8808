"""What a server serves, where it listens, and who may use it; checked before anything starts."""

from __future__ import annotations

import ipaddress
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from ..inference_protocol import GRPC_PORT, HTTP_PORT
from .limits import Limits

MAX_TOKEN_BYTES = 4096
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings:
    """A server. `models`: names or folders, as `onnxzoo.load` takes them, or NAME=MODEL to serve one under another
    name. `load`: its further options.

    `workers`: runs of engines at a time. `batch`: images of several requests in one run, 0 for none; the first waits
    `delay_ms` for others. `tls`: files of the certificate chain and of its key, PEM. `token_file`: holds the bearer
    token. Ports may be 0 for any free one.
    """

    models: tuple[str, ...]
    host: str = LOOPBACK
    http_port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT
    workers: int = 1
    batch: int = 0
    delay_ms: float = 2.0
    limits: Limits = field(default_factory=Limits)
    tls: tuple[Path, Path] | None = None
    token_file: Path | None = None
    load: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise InputError for settings that contradict each other, or a certificate that cannot be used."""
        if not self.models:
            raise InputError("a server needs at least one model; name one")
        if self.http_port == self.grpc_port != 0:
            raise InputError(f"HTTP and gRPC need two ports, got {self.http_port} for both")
        if not math.isfinite(self.limits.request_s):
            raise InputError(f"the timeout must be a finite number of seconds, got {self.limits.request_s}")
        if not math.isfinite(self.delay_ms):
            raise InputError(f"the delay must be a finite number of milliseconds, got {self.delay_ms}")
        if self.tls is not None:
            try:
                # A key with a passphrase would be asked for on the terminal.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self.tls, password=lambda: b"")
            except (OSError, ValueError) as error:
                raise InputError(
                    f"the certificate {self.tls[0]} and the key {self.tls[1]} cannot be used: {one_line(error)}; "
                    "expected PEM files that belong together, without a passphrase"
                ) from error

    def token(self) -> str | None:
        """The bearer token in `token_file`. Raises InputError, which never quotes it."""
        if self.token_file is None:
            return None
        try:
            content = self.token_file.read_bytes()[: MAX_TOKEN_BYTES + 1].decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
            raise InputError(f"the token file {self.token_file} cannot be read: {reason}") from None
        if not content or len(content) > MAX_TOKEN_BYTES or not content.isprintable() or " " in content:
            raise InputError(
                f"the token file {self.token_file} must hold one word of 1 to {MAX_TOKEN_BYTES} characters"
            )
        return content

    def exposure(self) -> str | None:
        """What listening on `host` means, in one line; None on loopback."""
        try:
            local = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            local = self.host == "localhost"
        if local:
            return None
        who = "whoever has the token" if self.token_file else "anyone, as there is no --token-file,"
        how = "" if self.tls else ", and everything, the token included, is readable on the way without --tls-cert"
        return f"listening on {self.host}: from every machine that reaches it {who} can use this server{how}"
