"""`onnxzoo web`: writes a site that classifies images in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from .completion import model_names
from .engine_options import trust_option
from .output import print_json, say
from .parameters import FILE_OR_FOLDER, OUTPUT


@click.command("web", short_help="Write a site that classifies images in the browser.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=model_names)
@click.option(
    "--out", type=OUTPUT, required=True, metavar="SITE", help="Folder of the site; an earlier site is replaced."
)
@click.option(
    "--runtime",
    type=FILE_OR_FOLDER,
    metavar="DIR",
    help="Where onnxruntime-web is: its folder in node_modules, or its archive from npm pack.",
)
@click.option("--download-runtime", is_flag=True, help="npm downloads onnxruntime-web.")
@click.option("--webgpu/--no-webgpu", default=True, show_default=True, help="With ONNX Runtime for WebGPU (27 MB).")
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    models: Sequence[str],
    out: Path,
    runtime: Path | None,
    download_runtime: bool,
    webgpu: bool,
    trust: str,
    as_json: bool,
) -> None:
    """Write a static site that classifies photos on the visitor's device, also offline.

    MODEL is a name, a folder or USER/NAME, as everywhere; NAME=MODEL shows it under another name. Serve the site by
    HTTPS with any server of static files. It asks for nothing from elsewhere.
    """
    from ..deploy.chosen import choose
    from ..deploy.web import write_site
    from ..deploy.web_runtime import runtime_files

    chosen = choose(models, trust=trust)
    found = runtime_files(runtime, download=download_runtime, webgpu=webgpu)
    sizes = write_site(out, chosen, found)
    start = f"python -m http.server --directory {out} 8000"
    if as_json:
        written = [{"name": model.name, "precision": model.precision, "sha256": model.sha256} for model in chosen]
        print_json({"site": str(out), "models": written, "files": sizes, "start": start})
        return
    say(*(f"{out / 'models' / model.name}: {model.precision}" for model in chosen))
    say(f"{out}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    say(f"start: {start}")
