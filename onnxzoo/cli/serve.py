"""`onnxzoo serve`: models as a server of the Open Inference Protocol."""

from __future__ import annotations

from pathlib import Path

import click

from ..inference_protocol import GRPC_PORT, HTTP_PORT
from .completion import model_names
from .engine_options import engine_options, max_pixels_option
from .output import say
from .parameters import FILE, Number, Whole

PORTS = Whole(0, 65535)


@click.command("serve", short_help="Serve models over HTTP and gRPC.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=model_names)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--http-port", default=HTTP_PORT, show_default=True, type=PORTS, help="0 for any free port.")
@click.option("--grpc-port", default=GRPC_PORT, show_default=True, type=PORTS, help="0 for any free port.")
@engine_options
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=Whole(1, 256),
    help="Runs of the engine at a time; more serve many clients faster, and a single one slower.",
)
@click.option("--batch", default=0, type=Whole(0, 1024), help="Join requests into runs of up to this many images.")
@click.option("--delay-ms", default=2.0, show_default=True, type=Number(0.0), help="How long a batch waits to be full.")
@click.option("--tls-cert", type=FILE, help="Certificate chain, PEM; with --tls-key.")
@click.option("--tls-key", type=FILE, help="Its private key, PEM, without a passphrase.")
@click.option(
    "--token-file", type=FILE, help="File with a token that every request must carry, health checks excepted."
)
@click.option("--max-body-mib", default=64, show_default=True, type=Whole(1, 1024), help="Largest request.")
@click.option("--max-images", default=32, show_default=True, type=Whole(1, 4096), help="Images in a request.")
@click.option("--max-queue", default=128, show_default=True, type=Whole(1, 100_000), help="Requests that wait or run.")
@click.option("--max-connections", default=512, show_default=True, type=Whole(1, 100_000), help="Open connections.")
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=Number(0.0, above=True),
    help="Seconds for a request, and to stop in after SIGTERM.",
)
@max_pixels_option
@click.pass_context
def command(
    ctx: click.Context,
    models: tuple[str, ...],
    host: str,
    http_port: int,
    grpc_port: int,
    engine: str,
    precision: str,
    threads: int | None,
    strict: bool,
    trust: str,
    verify: bool,
    workers: int,
    batch: int,
    delay_ms: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    token_file: Path | None,
    max_body_mib: int,
    max_images: int,
    max_queue: int,
    max_connections: int,
    timeout: float,
) -> None:
    """Serve models over HTTP and gRPC by the Open Inference Protocol (KServe's v2), until SIGTERM or Ctrl-C.

    MODEL is a name, a folder or USER/NAME, as everywhere; NAME=MODEL serves it under another name.

    A request has one input: pixel_values, a preprocessed tensor, or image_bytes, encoded images. The log goes to
    stderr, one JSON object a line; the addresses go to stdout when all models are warm.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together; give both or neither", ctx)
    from ..serving.limits import MIB, Limits
    from ..serving.logs import log_as_json
    from ..serving.server import Address, serve
    from ..serving.settings import Settings

    settings = Settings(
        models,
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        workers=workers,
        batch=batch,
        delay_ms=delay_ms,
        limits=Limits(
            body_bytes=max_body_mib * MIB,
            images=max_images,
            queue=max_queue,
            connections=max_connections,
            request_s=timeout,
        ),
        tls=None if tls_cert is None or tls_key is None else (tls_cert, tls_key),
        token_file=token_file,
        load={
            "engine": engine,
            "precision": precision,
            "threads": threads,
            "strict": strict,
            "trust": trust,
            "verify": verify,
            "hint": "latency" if workers == 1 else "throughput",
        },
    )
    settings.check()
    exposure = settings.exposure()
    if exposure is not None:
        say(f"onnxzoo: {exposure}", err=True)

    def ready(address: Address) -> None:
        say(f"serving at {address.http} and, for gRPC, {address.grpc}")

    log_as_json(lambda line: say(line, err=True), tracebacks=bool(ctx.find_root().params.get("debug")))
    serve(settings, ready)
