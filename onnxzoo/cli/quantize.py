"""`onnxzoo quantize`: makes a smaller ONNX file of a model, and measures its loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from ..files import models_dir
from .completion import model_names
from .engine_options import max_pixels_option
from .output import print_json, report, say
from .parameters import FILE_OR_FOLDER, OUTPUT, Whole
from .progress import progress, quiet_option

if TYPE_CHECKING:
    from ..artifact.folder import Artifact
    from ..data.dataset import Dataset
    from ..quantization.images import Images
    from ..quantization.report import EngineResult, Report

SHOWN_LAYERS = 12


@click.command("quantize", short_help="Make a smaller ONNX file of a model: int8 or fp16.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@click.option(
    "--precision",
    type=click.Choice(["int8", "fp16"]),
    default="int8",
    show_default=True,
    help="int8 is for CPUs; fp16 is for GPUs, and correct on CPUs as well.",
)
@click.option(
    "--images",
    type=FILE_OR_FOLDER,
    help="Folder of typical images for the model; by default crops of the few shipped photos (ImageNet).",
)
@click.option("--samples", type=Whole(1), help="Number of calibration images; by default 64.")
@click.option(
    "--data", type=FILE_OR_FOLDER, help="Labelled images, as for eval, on which Top-1 is measured before and after."
)
@click.option(
    "--min-snr",
    type=float,
    metavar="DB",
    help="Minimum signal-to-noise ratio of the logits on held-out images; by default 30, for fp16 50. The recorded "
    "inputs must be as exact as the validation needs, whatever this is.",
)
@click.option("--max-drop", type=float, metavar="POINTS", help="Maximum drop of Top-1, with --data; by default 0.1.")
@click.option(
    "--weights-bits",
    type=click.Choice(["7", "8"]),
    help="Bits of int8 weights; by default 7. 8 is correct only on CPUs with VNNI, AMX or dot-product instructions.",
)
@click.option("--out", type=OUTPUT, help="Write to a copy of the artifact in this folder instead of the artifact.")
@max_pixels_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    model: str,
    precision: str,
    images: Path | None,
    samples: int | None,
    data: Path | None,
    min_snr: float | None,
    max_drop: float | None,
    weights_bits: str | None,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make an int8 or fp16 file from a model's fp32 ONNX file, and report what it costs.

    The layers that lose most stay in fp32, as many as the limits require. The file is added to the artifact after it
    has passed its validation; until then the artifact is unchanged. Needs the extra quantize.
    """
    from ..quantization.quantize import MAX_DROP, MIN_SNR_DB, Limits, quantize
    from ..source import resolve

    if max_drop is not None and data is None:
        raise click.UsageError("--max-drop needs labelled images; give them with --data")
    if weights_bits is not None and precision != "int8":
        raise click.UsageError("--weights-bits applies to int8 only")
    snr_db = MIN_SNR_DB[precision] if min_snr is None else min_snr
    limits = Limits(snr_db, MAX_DROP if max_drop is None else max_drop / 100)
    unreadable: list[str] = []
    try:
        with progress(f"loading {model}", "candidates", quiet=quiet) as line:
            artifact = resolve(model, files=None).artifact
            target = _out(artifact, out)
            chosen = _images(artifact, images, samples, unreadable)
            labelled = None if data is None else _dataset(artifact, data)
            result = quantize(
                artifact,
                chosen,
                limits=limits,
                precision=precision,
                weights_bits=int(weights_bits or 7),
                data=labelled,
                out=target,
                step=line.step,
            )
    finally:
        for message in unreadable:  # also those without which too few are left
            report(message)
    if as_json:
        print_json(result.as_document())
    else:
        say(*_lines(result))
    if unreadable:
        context.exit(1)


def _out(artifact: Artifact, out: Path | None) -> Path | None:
    """`out`; raises an error with a suggestion for --out if the artifact is not the user's own and `out` is None."""
    from ..errors import ArtifactError
    from ..hub import require_own

    if out is not None:
        return out
    try:
        require_own(artifact.folder)
    except ArtifactError as error:
        place = models_dir() / artifact.name
        raise ArtifactError(f"{error}: --out DIR makes one with the new file in it, such as --out {place}") from None
    return None


def _images(artifact: Artifact, folder: Path | None, samples: int | None, unreadable: list[str]) -> Images:
    from ..data.walk import NoImages, Skipped, find_images
    from ..quantization.images import SAMPLES, own_images, shipped_images

    count = SAMPLES if samples is None else samples
    if folder is None:
        return shipped_images(artifact, count)
    if not folder.exists():
        raise InputError(f"{folder} is not a folder; give a folder with images to --images")
    skipped = Skipped()
    found: list[str] = []
    for one in find_images([str(folder)], skipped):
        if not isinstance(one, NoImages):
            found.append(one)
        elif one.refusal:
            unreadable.append(str(one))
    if skipped:
        say(f"onnxzoo: {skipped}", err=True)
    return own_images(found, artifact.preprocess, count, lambda error: unreadable.append(str(error)))


def _dataset(artifact: Artifact, data: Path) -> Dataset:
    from ..artifact.folder import documented_entry
    from ..data.layouts import open_dataset

    entry = documented_entry(artifact)
    dataset = open_dataset(data, "val", label_set=None if entry is None else entry.labels)
    if dataset.skipped:
        say(f"onnxzoo: {dataset.skipped}", err=True)
    return dataset


def _lines(result: Report) -> Iterator[str]:
    yield f"{result.folder / result.file}"
    replaced = ", in the place of an earlier one" if result.replaced else ""
    yield (
        f"{result.model} in {result.precision}: {result.bytes:,} bytes, {result.share:.3f} of fp32's "
        f"{result.fp32_bytes:,}{replaced}"
    )
    yield f"calibrated on {result.calibrated} images, measured on {result.held_out} others: {result.calibration}"
    if result.weights_bits == 8:
        yield "weights of 8 bits: right only on CPUs with VNNI, AMX or dot-product instructions"
    yield f"run on {result.cpu}"
    yield ""
    accuracy = (
        "" if result.engines[0].drop is None else f"{'top-1 fp32':>12}{'now':>9}{'drop, points':>14}  95 % interval"
    )
    yield f"{'engine':<24}{'held out':>10}{'recorded':>10}{accuracy}"
    yield from map(_engine_line, result.engines)
    if result.agreement_db is not None:
        yield f"the engines agree with each other to {result.agreement_db:.1f} dB"
    yield ""
    kept = len(result.fp32_layers)
    tried = "1 file was" if result.candidates == 1 else f"{result.candidates} files were"
    yield (
        f"{len(result.layers)} layers, {kept} of them in fp32; {tried} tried. Each alone in "
        f"{result.precision}, noisiest first{_shown(len(result.layers))}:"
    )
    width = max(len("layer"), *(len(layer.name) for layer in result.layers[:SHOWN_LAYERS]))
    yield f"{'layer':<{width}}  {'weights':>10}{'held out':>10}{'recorded':>10}  stays in"
    for layer in result.layers[:SHOWN_LAYERS]:
        yield (
            f"{layer.name:<{width}}  {layer.parameters:>10,}{layer.held_out_db:>7.1f} dB{layer.recorded_db:>7.1f} dB  "
            f"{layer.precision}"
        )


def _shown(count: int) -> str:
    return "" if count <= SHOWN_LAYERS else f" ({SHOWN_LAYERS} of them, --json has all)"


def _engine_line(result: EngineResult) -> str:
    engine = result.engine
    text = f"{engine.name + ' ' + engine.version:<24}{result.held_out_db:>7.1f} dB{result.recorded_db:>7.1f} dB"
    drop = result.drop
    if drop is None:
        return text
    low, high = drop.interval
    return (
        f"{text}{drop.before:>12.4f}{drop.after:>9.4f}{100 * drop.drop:>14.2f}  {100 * low:.2f}..{100 * high:.2f} "
        f"({drop.images} images)"
    )
