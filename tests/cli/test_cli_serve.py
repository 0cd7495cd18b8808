"""`onnxzoo serve`: its options, and what it prints. `tests/serving/` tests the server itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run

pytest.importorskip("onnxzoo.serving.sdk", exc_type=ImportError)

from onnxzoo.serving import server
from onnxzoo.serving.limits import Limits
from onnxzoo.serving.server import Address
from onnxzoo.serving.settings import Settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of servers that were started; they are ready at once and stop at once."""
    found: list[Settings] = []

    def serve(settings: Settings, ready: object) -> None:
        found.append(settings)
        ready(Address("http://127.0.0.1:1", "127.0.0.1:2"))  # type: ignore[operator]

    monkeypatch.setattr(server, "serve", serve)
    return found


def test_by_default_it_listens_on_loopback_and_does_not_batch(started):
    done = run("serve", "tiny")
    assert done.exit_code == 0
    assert done.stdout == "serving at http://127.0.0.1:1 and, for gRPC, 127.0.0.1:2\n"
    assert done.stderr == ""
    (settings,) = started
    assert (settings.host, settings.http_port, settings.grpc_port) == ("127.0.0.1", 8080, 8081)
    assert (settings.batch, settings.workers, settings.limits) == (0, 1, Limits())
    assert (settings.load["engine"], settings.load["precision"], settings.load["hint"]) == ("auto", "fp32", "latency")


def test_every_option_reaches_the_server(started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Settings, "check", lambda settings: None)  # the certificate is none
    for name in ("cert", "key", "token"):
        (tmp_path / name).write_text("x")
    files = ["--tls-cert", tmp_path / "cert", "--tls-key", tmp_path / "key", "--token-file", tmp_path / "token"]
    numbers = ["--http-port", 1, "--grpc-port", 2, "--workers", 3, "--batch", 4, "--delay-ms", 5.5, "--max-body-mib", 6]
    limits = ["--max-images", 7, "--max-queue", 8, "--max-connections", 9, "--timeout", 10.5]
    engine = ["--engine", "onnxruntime", "--precision", "int8", "--threads", 2, "--trust", "any", "--no-verify"]
    done = run("serve", "one", "two", "--host", "0.0.0.0", *map(str, [*files, *numbers, *limits, *engine]))  # noqa: S104
    assert done.exit_code == 0, done.stderr
    assert done.stderr.startswith(
        "onnxzoo: listening on 0.0.0.0: from every machine that reaches it whoever has the token"
    )
    (settings,) = started
    assert settings.models == ("one", "two")
    assert (settings.http_port, settings.grpc_port, settings.workers, settings.batch) == (1, 2, 3, 4)
    assert settings.delay_ms == 5.5
    assert settings.tls == (tmp_path / "cert", tmp_path / "key")
    assert settings.token_file == tmp_path / "token"
    assert settings.limits == Limits(body_bytes=6 * 2**20, images=7, queue=8, connections=9, request_s=10.5)
    assert settings.load == {
        "engine": "onnxruntime",
        "precision": "int8",
        "threads": 2,
        "strict": False,
        "trust": "any",
        "verify": False,
        "hint": "throughput",
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Missing argument 'MODEL...'"),
        (["tiny", "--http-port", "70000"], "expected a whole number from 0 to 65535"),
        (["tiny", "--workers", "0"], "expected a whole number from 1"),
        (["tiny", "--delay-ms", "-1"], "expected a number of at least 0"),
        (["tiny", "--timeout", "0"], "expected a number greater than 0"),
        (["tiny", "--timeout", "nan"], "the timeout must be a finite number of seconds"),
        (["tiny", "--delay-ms", "inf"], "the delay must be a finite number of milliseconds"),
        (["tiny", "--token-file", "no_such_file"], "does not exist"),
    ],
)
def test_wrong_options_are_wrong_usage(started, arguments, text):
    done = run("serve", *arguments)
    assert done.exit_code == 2
    assert text in done.stderr
    assert not started


def test_a_certificate_needs_its_key(started, tmp_path: Path):
    (tmp_path / "one").write_text("x")
    for option in ("--tls-cert", "--tls-key"):
        done = run("serve", "tiny", option, tmp_path / "one")
        assert done.exit_code == 2
        assert "--tls-cert and --tls-key belong together" in done.stderr


def test_an_unknown_model_ends_it(monkeypatch):
    done = run("serve", "no_such_model", "--http-port", "0", "--grpc-port", "0")
    assert done.exit_code == 2
    assert "unknown model 'no_such_model'" in done.stderr.splitlines()[-1]
