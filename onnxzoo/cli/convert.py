"""`onnxzoo convert`: writes a model in the format of another runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..conversion.targets import TARGETS
from ..errors import ConversionError
from ..precisions import FP32
from .completion import model_names
from .engine_options import trust_option
from .output import print_json, say
from .parameters import OUTPUT, Number
from .progress import progress, quiet_option

if TYPE_CHECKING:
    from ..conversion.convert import Converted

FORMATS = "; ".join(f"{one.name}: {one.title}, in {', '.join(one.forms)}" for one in TARGETS.values())


@click.command("convert", short_help="Convert a model for phones and other runtimes.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@click.option("--to", "target", type=click.Choice(list(TARGETS)), required=True, help=f"{FORMATS}.")
@click.option("--out", type=OUTPUT, required=True, metavar="FOLDER", help="A new or empty folder.")
@click.option(
    "--precision",
    type=click.Choice(list(dict.fromkeys(form for one in TARGETS.values() for form in one.forms))),
    default=FP32,
    show_default=True,
    help="Of the converted model.",
)
@click.option(
    "--timeout-s",
    type=Number(0, above=True),
    help="Seconds that the converter, and then its result, may take; by default 1800.",
)
@trust_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    model: str,
    target: str,
    out: Path,
    precision: str,
    timeout_s: float | None,
    trust: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Convert a model to the format of another runtime, such as one for phones.

    The converter runs in a child process. Its result is run, and kept only if it gives the outputs recorded in the
    model's artifact. The folder also gets model.json (input, preprocessing, classes, where the model is from, how
    exact it is) and labels.txt.
    """
    from ..conversion.convert import TIMEOUT_S, Limits, convert
    from ..source import resolve

    limits = Limits(TIMEOUT_S if timeout_s is None else timeout_s)
    with progress(f"loading {model}", "steps", quiet=quiet) as line:
        source = resolve(model, files=None, trust=trust)
        try:
            done = convert(source, target, out, precision=precision, limits=limits, step=line.begin)
        except ConversionError as error:
            if error.log and (context.find_root().params.get("debug")):
                say(error.log, err=True)
            raise
    if as_json:
        print_json({"folder": str(done.folder), **done.document})
    else:
        say(*_lines(done))


def _lines(done: Converted) -> Iterator[str]:
    from ..conversion.targets import target_of

    document, check = done.document, done.document["check"]
    yield from (f"{done.folder / name}  {file['bytes']:,} bytes" for name, file in document["files"].items())
    sizes = " and ".join(map(str, check["batch_sizes"]))
    yield (
        f"{document['name']} in {document['precision']}, by {document['converter']['library']}: largest difference to "
        f"the {check['inputs']} recorded outputs {done.max_abs:.2g} (tolerance {check['tolerance']:g}) at batch size "
        f"{sizes}, {check['top1_agreement']:.0%} of the best classes agree"
    )
    if document["settings"]:
        settings = ", ".join(f"{name}={value}" for name, value in document["settings"].items())
        yield f"note: load it with {settings}, or the numbers differ; {target_of(document['format']).settings_why}"
