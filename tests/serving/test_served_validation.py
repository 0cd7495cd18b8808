"""`validate --engine oip:` against our own server: its numbers pass, and an altered model is caught."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import PVT, SWIN, alter, copy_shipped
from command_line import run
from onnx import numpy_helper

from onnxzoo.hub import SHIPPED_DIR

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def addresses(start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server of a shipped model, and of another one whose head has a bias that is 0.001 larger."""
    altered = copy_shipped(tmp_path_factory.mktemp("altered") / "model", SWIN)

    def change(model) -> None:
        bias = next(one for one in model.graph.initializer if one.name.startswith("head.") and one.dims == [10])
        values = numpy_helper.to_array(bias).copy()
        values[3] += 1e-3
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))

    alter(altered, change)
    with start(SHIPPED_DIR / PVT, altered, load={"verify": False}) as address:
        yield {"http": address.http, "grpc": f"grpc://{address.grpc}"}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_our_server_passes_at_1e_4_and_an_altered_model_is_caught(addresses, protocol):
    pytest.importorskip("tritonclient.grpc")
    passed = run("validate", PVT, "--engine", f"oip:{addresses[protocol]}/{PVT}", "--tol", "1e-4")
    assert passed.exit_code == 0, passed.output
    assert "(onnxzoo 0." in passed.stdout
    caught = run("validate", SWIN, "--engine", f"oip:{addresses[protocol]}/{SWIN}", "--tol", "1e-4")
    assert caught.exit_code == 1, caught.output
    assert "the server does not give this model's numbers" in caught.stdout
    assert "FAILED: 3 of 6 checks" in caught.stdout  # at each batch size


def test_a_model_that_is_not_served(addresses, tmp_path: Path):
    done = run("validate", PVT, "--engine", f"oip:{addresses['http']}/pvt_v2_b0")
    assert done.exit_code == 3
    assert "has no model 'pvt_v2_b0' (status 404): unknown model 'pvt_v2_b0'; this server has" in done.stderr


def test_a_server_with_a_certificate(start, monkeypatch):
    certificate = Path(__file__).parents[1] / "data" / "loopback_certificate.pem"
    with start(SHIPPED_DIR / PVT, load={"verify": False}, tls=(certificate, certificate)) as address:
        grpc = f"grpcs://{address.grpc}"
        for url, hint in ((address.http, "is not trusted"), (grpc, "CERTIFICATE_VERIFY_FAILED")):
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
            refused = run("validate", PVT, "--engine", f"oip:{url}/{PVT}")
            assert refused.exit_code == 3
            assert hint in refused.stderr
            assert "SSL_CERT_FILE" in refused.stderr
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            assert run("validate", PVT, "--engine", f"oip:{url}/{PVT}").exit_code == 0
        plain = run("validate", PVT, "--engine", f"oip:http://{address.http.removeprefix('https://')}/{PVT}")
        assert plain.exit_code == 3
        assert "use https if it has a certificate" in plain.stderr
        monkeypatch.setenv("SSL_CERT_FILE", "./nowhere")
        lost = run("validate", PVT, "--engine", f"oip:{grpc}/{PVT}")
        assert "SSL_CERT_FILE is './nowhere', which is not a file" in lost.stderr


def test_a_server_with_a_token(start, monkeypatch, tmp_path: Path):
    (tmp_path / "token").write_text("s3cret\n")
    with start(SHIPPED_DIR / PVT, load={"verify": False}, token_file=tmp_path / "token") as address:
        for url in (address.http, f"grpc://{address.grpc}"):
            monkeypatch.delenv("ONNXZOO_OIP_TOKEN_FILE", raising=False)
            refused = run("validate", PVT, "--engine", f"oip:{url}/{PVT}")
            assert refused.exit_code == 3
            assert "refuses access" in refused.stderr
            assert "set ONNXZOO_OIP_TOKEN to its bearer token" in refused.stderr
            monkeypatch.setenv("ONNXZOO_OIP_TOKEN_FILE", str(tmp_path / "token"))
            assert run("validate", PVT, "--engine", f"oip:{url}/{PVT}").exit_code == 0
