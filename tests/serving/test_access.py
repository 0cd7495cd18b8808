"""Who may use a server: addresses, TLS, the token."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import ssl
from pathlib import Path

import grpc
import pytest
from oip import ask

from onnxzoo.errors import InputError
from onnxzoo.inference_protocol import GRPC_SERVICE
from onnxzoo.serving.logs import FIELDS
from onnxzoo.serving.server import Server
from onnxzoo.serving.settings import Settings

TOKEN = "correct-horse-battery-staple"  # noqa: S105


@pytest.fixture(scope="module")
def token_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, PEM."""
    cryptography = pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    assert cryptography
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "onnxzoo test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls_and_the_token_guard_both_protocols(start, served_folders, certificate, token_file, caplog):
    caplog.set_level(logging.DEBUG)
    trust = ssl.create_default_context(cafile=certificate[0])
    credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    metadata = f"/{GRPC_SERVICE}/ServerMetadata"
    with (
        start(served_folders[0], tls=certificate, token_file=token_file) as address,
        grpc.secure_channel(address.grpc, credentials) as channel,
    ):
        assert address.http.startswith("https://")

        def over_http(path: str, authorization: str | None) -> int:
            headers = {} if authorization is None else {"Authorization": authorization}
            return ask(address.http, path, headers=headers, trust=trust).status

        def over_grpc(method: str, authorization: str | None) -> grpc.StatusCode:
            given = [] if authorization is None else [("authorization", authorization)]
            try:
                channel.unary_unary(method)(b"", timeout=20, metadata=given)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        for wrong in (
            None,
            "",
            "Bearer",
            "Bearer ",
            "Bearer " + TOKEN[:-1],
            f"Bearer {TOKEN}x",
            f"Basic {TOKEN}",
            TOKEN,
        ):
            for path in ("/v2", "/v2/models", "/v2/models/tiny", "/metrics", "/nowhere"):
                assert over_http(path, wrong) == 401
            assert over_grpc(metadata, wrong) is grpc.StatusCode.UNAUTHENTICATED
        assert over_http("/v2", "Bearer \xff\xfe") == 401
        assert over_http("/v2", f"bearer {TOKEN}") == over_http("/metrics", f"Bearer {TOKEN}") == 200
        assert over_grpc(metadata, f"Bearer {TOKEN}") is grpc.StatusCode.OK
        misplaced = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": TOKEN}
        assert ask(address.http, f"/v2/models/{TOKEN}", headers=misplaced, trust=trust).status == 404
        # Probes have no token, and learn nothing.
        assert over_http("/v2/health/ready", None) == over_http("/v2/health/live", None) == 200
        assert over_grpc(f"/{GRPC_SERVICE}/ServerReady", None) is grpc.StatusCode.OK
        with pytest.raises(OSError):  # noqa: PT011 - without TLS the connection ends in one of several ways
            ask(address.http.replace("https", "http"), "/v2/health/live")
        assert ask(address.http, "/v2/health/live", trust=trust).status == 200
    assert "request refused" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN[:-1] not in caplog.text
    fields = [str(getattr(record, FIELDS, "")) for record in caplog.records]
    assert any("***" in one for one in fields)
    assert not any(TOKEN in one for one in fields)


def test_two_ports_are_two():
    with pytest.raises(InputError, match="HTTP and gRPC need two ports, got 8080 for both"):
        Settings(("tiny",), http_port=8080, grpc_port=8080).check()
    Settings(("tiny",), http_port=0, grpc_port=0).check()


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff\xfe", b"x" * 5000, b"a\x00b"])
def test_a_token_file_without_a_token_is_refused(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(InputError, match="the token file"):
        Settings(("tiny",), token_file=file).token()
    with pytest.raises(InputError, match="cannot be read"):
        Settings(("tiny",), token_file=tmp_path).token()


def test_a_certificate_that_cannot_be_used_is_refused(tmp_path, certificate):
    other = tmp_path / "other.pem"
    other.write_text("no certificate")
    for pair in ((other, certificate[1]), (certificate[0], other), (certificate[1], certificate[0])):
        with pytest.raises(InputError, match=r"cannot be used: .*; expected PEM files"):
            Server(Settings(("tiny",), tls=pair))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_needs_no_warning(host):
    assert Settings(("tiny",), host=host).exposure() is None


def test_opening_a_server_says_what_that_means(certificate, token_file):
    open_to_all = Settings(("tiny",), host="0.0.0.0").exposure()  # noqa: S104 - that is what it is about
    assert "anyone, as there is no --token-file," in open_to_all
    assert "without --tls-cert" in open_to_all
    closed = Settings(("tiny",), host="::", token_file=token_file, tls=certificate).exposure()
    assert closed == "listening on ::: from every machine that reaches it whoever has the token can use this server"
