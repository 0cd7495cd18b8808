"""`onnxzoo warmup`: compiles a model for an engine before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import InputError
from .completion import model_names
from .engine_options import engine_options
from .output import print_json, say

if TYPE_CHECKING:
    from ..engines.options import Hint
    from ..engines.protocol import Built

DEFAULT_BATCH_SIZES = "1,8"


@click.command("warmup", short_help="Compile a model in advance, for engines that cache compiled models.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@engine_options
@click.option(
    "--batch-size",
    "batch_sizes",
    default=DEFAULT_BATCH_SIZES,
    show_default=True,
    help="Largest batch sizes to compile for, separated by commas.",
)
@click.option(
    "--hint",
    type=click.Choice(["latency", "throughput"]),
    help="latency for one image after another; throughput for batches and folders.  [default: latency for batches of "
    "1, throughput for larger ones, as in predict and eval]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    model: str,
    engine: str,
    precision: str,
    threads: int | None,
    strict: bool,
    trust: str,
    verify: bool,
    batch_sizes: str,
    hint: Hint | None,
    as_json: bool,
) -> None:
    """Compile a model in advance and keep the result in the cache folder for every later start.

    TensorRT takes minutes for this, OpenVINO on GPU and NPU seconds; with OpenVINO on the CPU it saves a part of the
    time to the first prediction. ONNX Runtime and CUDA have nothing to cache, and the command says so. The engine's
    results are verified as well, so that no later start has to do it.
    """
    sizes = _checked_sizes(batch_sizes)

    from ..warmup import as_dict, warm

    results = []
    for result in warm(
        model,
        sizes,
        engine=engine,
        precision=precision,
        threads=threads,
        strict=strict,
        hint=hint,
        trust=trust,
        verify=verify,
    ):
        results.append(result)
        if result.kept and not as_json:
            say(*(_line(one, result.batch_size) for one in result.kept))
            say(f"batch size {result.batch_size}: ready in {result.seconds:.1f} s", err=True)
    if as_json:
        print_json(as_dict(results))
        return
    info, kept = results[-1].engine, sum(len(result.kept) for result in results)
    what = f"{results[-1].model} on {info.name} {info.version} ({info.device}, {info.precision})"
    models = "1 compiled model is" if kept == 1 else f"{kept} compiled models are"
    outcome = f"{models} kept" if kept else "nothing to do, it compiles nothing worth keeping"
    say(f"{what}: {outcome}")
    say(f"results: {info.verification}", err=True)


def _line(one: Built, largest: int) -> str:
    from ..warmup import kept_bytes

    done = "was there already" if one.found else f"built in {one.seconds:.1f} s"
    size = f"{kept_bytes(one) / 2**20:.1f} MiB"
    return f"for batches of up to {largest}, compiled at {one.batch_size}: {done}, {size} in {one.folder}"


def _checked_sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    # Python refuses to parse numbers of thousands of digits.
    if not all(part.isdecimal() and len(part) < 100 and int(part) > 0 for part in parts):
        raise InputError(f"--batch-size takes whole numbers from 1 with commas between them, got {text!r}")
    return list(dict.fromkeys(int(part) for part in parts))
