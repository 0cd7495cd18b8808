"""`onnxzoo bench`: how fast models are here, beside their accuracy and the machine's limit."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImageError
from ..precisions import FP32, REQUESTS
from .bench_text import group_lines
from .completion import engine_names, model_names
from .engine_options import max_pixels_option, trust_option
from .output import print_json, report, say
from .parameters import FILE_OR_FOLDER, FOLDER, OUTPUT_FILE, Whole
from .progress import progress, quiet_option

if TYPE_CHECKING:
    from ..bench.plan import Plan, Settings
    from ..bench.result import Group


@click.command("bench", short_help="Measure speed, beside accuracy and the machine's limit.")
@click.argument("models", metavar="NAME|DIR...", nargs=-1, required=True, shell_complete=model_names)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="ENGINE",
    shell_complete=engine_names,
    help="openvino, onnxruntime, cuda, tensorrt ...; openvino:GPU for a device. By default every one that works here.",
)
@click.option(
    "--precision", "precisions", multiple=True, help=f"{', '.join(REQUESTS)}.  [default: {FP32}]", metavar="P"
)
@click.option("--batch-size", "batch_sizes", multiple=True, type=Whole(1), help="Images per batch.  [default: 1]")
@click.option("--threads", type=Whole(1), help="CPU threads of every contender; by default the cores allowed.")
@click.option("--images", type=FOLDER, help="Measure from the image files of this folder to the classes.")
@click.option("--samples", type=Whole(1), help="Samples from healthy moments that are wanted.  [default: 10]")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="PEER",
    help="Also run the same weights in torch, torch-compile (timm's models), paddle (Paddle Inference), or as "
    "exported by paddle2onnx or optimum, in fp32.",
)
@click.option(
    "--peer-python",
    metavar="PATH",
    help="The Python that has torch, timm and optimum; by default onnxzoo's own.",
)
@click.option(
    "--weights",
    type=FILE_OR_FOLDER,
    help="Checkpoint for the peers, or a folder of them; by default the one that the model was made from, "
    "downloaded if necessary.",
)
@click.option("--plot", type=OUTPUT_FILE, metavar="FILE.png", help="Draw accuracy against speed; needs matplotlib.")
@trust_option
@max_pixels_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    models: tuple[str, ...],
    engines: tuple[str, ...],
    precisions: tuple[str, ...],
    batch_sizes: tuple[int, ...],
    threads: int | None,
    images: Path | None,
    samples: int | None,
    peers: tuple[str, ...],
    peer_python: str | None,
    weights: Path | None,
    plot: Path | None,
    trust: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure how fast models run here: latency, images per second, time to load, memory.

    Without --images the time is that of the model alone, from a batch that is ready in memory to its logits. Every
    contender runs in a process of its own, in turn with the others, and only moments in which the machine is healthy
    count, if there are any. Beside the speed stand the accuracy that the artifact records, the signal-to-noise ratio of
    the logits to the reference's, and the share of what a matrix product of the same precision reaches on this machine.
    """
    from ..bench.peers import peers_of, usable_peers
    from ..bench.plan import SAMPLES, Settings, plan
    from ..bench.plot import require_plot
    from ..bench.run import measure
    from ..engines import ENGINES

    if plot is not None:
        require_plot(plot)
    if not peers and (peer_python or weights):
        raise click.UsageError("--peer-python and --weights are for --peer")
    python = peer_python or sys.executable
    usable, absent = usable_peers(peers, python)
    settings = Settings(engines, precisions or (FP32,), batch_sizes or (1,), threads, (), samples or SAMPLES, trust)
    unreadable: list[ImageError] = []
    groups: list[Group] = []
    with progress("preparing", "steps", quiet=quiet) as line:
        planned = plan(models, settings)
        planned.skipped |= absent
        if images is not None:
            settings = _with_images(settings, planned, images, unreadable)
        said = set(ENGINES)  # that a machine has no GPU need not be said every time
        _say_skipped(planned, said)
        try:
            with contextlib.ExitStack() as stack:
                others = stack.enter_context(peers_of(planned, usable, python, weights)) if usable else None
                measured = measure(planned, settings, log=line.begin, peers=others)
                for group in stack.enter_context(contextlib.closing(measured)):
                    groups.append(group)
                    _say_skipped(planned, said)
                    if not as_json:
                        say(*group_lines(group), "")
        except BaseException:
            if as_json and groups:
                _print_document(groups, planned, settings, complete=False)
            elif groups:
                say("onnxzoo: stopped; what is above was measured", err=True)
            raise
    if as_json:
        _print_document(groups, planned, settings, complete=True)
    if plot is not None:
        from ..bench.plot import write_plot
        from ..cpu import cpu

        write_plot(groups, cpu().name, plot)
    if unreadable or any(row.error for group in groups for row in group.rows):
        context.exit(1)


def _say_skipped(planned: Plan, said: set[str]) -> None:
    """Name what is left out, once."""
    for what, why in planned.skipped.items():
        if what not in said:
            said.add(what)
            say(f"onnxzoo: {what} is left out: {why}", err=True)


def _with_images(settings: Settings, planned: Plan, folder: Path, unreadable: list[ImageError]) -> Settings:
    """The settings with the images of the folder; those that cannot be read are reported and left out."""
    import dataclasses

    from ..bench.plan import readable_images
    from ..data.walk import Skipped

    skipped = Skipped()
    paths = readable_images(folder, planned.subjects[0].artifact.preprocess, unreadable.append, skipped)
    if skipped:
        say(f"onnxzoo: {skipped}", err=True)
    for error in unreadable:
        report(str(error))
    return dataclasses.replace(settings, images=paths)


def _print_document(groups: list[Group], planned: Plan, settings: Settings, *, complete: bool) -> None:
    from ..bench.result import as_document
    from ..validators.environment import environment

    said: dict[str, Any] = {
        "threads": settings.cpu_threads,
        "samples": settings.samples,
        "from": "image files" if settings.images else "a batch in memory",
        "images": len(settings.images),
    }
    print_json(as_document(groups, machine=environment(), settings=said, skipped=planned.skipped, complete=complete))
