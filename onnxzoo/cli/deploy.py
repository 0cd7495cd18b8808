"""`onnxzoo deploy`: writes models for servers: Triton, OpenVINO Model Server, KServe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..artifact.folder import MODEL_FILES
from ..precisions import FP32
from .completion import model_names
from .engine_options import trust_option
from .output import print_json, say
from .parameters import OUTPUT, Whole

if TYPE_CHECKING:
    from ..deploy.chosen import Chosen
    from ..deploy.repository import Repository

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group("deploy", short_help="Write models for Triton, OpenVINO Model Server, KServe.")
def command() -> None:
    """Write models as other servers read them.

    MODEL is a name, a folder or USER/NAME, as everywhere; NAME=MODEL serves it under another name. The repository may
    hold other models, which stay as they are. Every version's folder is an artifact: 'onnxzoo validate REPO/NAME/1'
    checks it.
    """


def _models(command: Command) -> Command:
    """Add what every kind of server needs: MODEL..., --out, --precision, --version, --link, --trust and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        trust_option,
        click.option(
            "--link",
            is_flag=True,
            help="Hard links to the models' ONNX files instead of copies: no space on disk, but one file system only, "
            "and changing one file in place changes both.",
        ),
        click.option("--version", type=Whole(1, 10**9), default=1, show_default=True, help="Version of the models."),
        click.option(
            "--precision",
            type=click.Choice(list(MODEL_FILES)),
            default=FP32,
            show_default=True,
            help="The ONNX file to serve.",
        ),
        click.option("--out", type=OUTPUT, required=True, metavar="REPO", help="Folder of the repository."),
        click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=model_names),
    ):
        command = option(command)
    return command


@command.command("triton", short_help="A model repository for NVIDIA's Triton.")
@_models
@click.option(
    "--engine",
    type=click.Choice(["onnxruntime", "openvino", "cuda", "tensorrt"]),
    default="onnxruntime",
    show_default=True,
    help="What runs the models in Triton: onnxruntime and openvino on the CPU, cuda and tensorrt on GPUs.",
)
@click.option("--max-batch", type=Whole(1, 65536), help="Largest batch that Triton makes of requests; by default 8.")
@click.option(
    "--delay-us", type=Whole(0, 10**7), help="Microseconds that a request waits for others to join; by default 0."
)
@click.option("--instances", type=Whole(1, 1024), help="Copies of a model that run at a time; by default 1.")
@click.option("--threads", type=Whole(1, 1024), help="CPU threads of one instance; by default the engine's choice.")
@click.option("--engine-cache", metavar="FOLDER", help="Folder on the server for TensorRT's engines.")
@click.option(
    "--images",
    is_flag=True,
    help="Also an ensemble NAME_images that takes encoded images; its first step needs onnxzoo, numpy and Pillow in "
    "Triton's container.",
)
def triton(
    engine: str,
    max_batch: int | None,
    delay_us: int | None,
    instances: int | None,
    threads: int | None,
    engine_cache: str | None,
    images: bool,
    **common: Any,
) -> None:
    """Write a model repository for NVIDIA's Triton Inference Server.

    Start it with: tritonserver --model-repository=REPO
    """
    from ..deploy.triton import TritonOptions, notes, write_triton
    from ..deploy.triton_images import NEEDS, require_free, write_ensemble

    given = {
        "max_batch": max_batch,
        "delay_us": delay_us,
        "instances": instances,
        "threads": threads,
        "engine_cache": engine_cache,
    }
    options = TritonOptions(engine, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

    def write(model: Chosen, repository: Repository, version: int) -> str:
        if images:
            require_free(model, repository)
        done = write_triton(model, repository, options, version=version)
        if images:
            write_ensemble(model, repository, options)
        return done

    _write(
        write,
        notes=[*notes(options, common["precision"]), *([NEEDS] if images else [])],
        start=f"tritonserver --model-repository={common['out']}",
        **common,
    )


@command.command("ovms", short_help="A model repository for OpenVINO Model Server.")
@_models
@click.option("--device", type=click.Choice(["CPU", "GPU", "NPU", "AUTO"]), default="CPU", show_default=True)
@click.option(
    "--hint",
    type=click.Choice(["latency", "throughput"]),
    default="throughput",
    show_default=True,
    help="Whether one request is to be fast, or many.",
)
def ovms(device: str, hint: str, **common: Any) -> None:
    """Write a model repository for OpenVINO Model Server.

    Start it with: ovms --config_path REPO/config.json --port 9000 --rest_port 8000
    """
    from ..deploy.ovms import OvmsOptions, notes, write_ovms

    options = OvmsOptions(device, hint)
    _write(
        lambda model, repository, version: write_ovms(model, repository, options, version=version),
        notes=[*notes(options, common["precision"])],
        start=f"ovms --config_path {common['out'] / 'config.json'} --port 9000 --rest_port 8000",
        **common,
    )


def _write(
    write: Callable[[Chosen, Repository, int], str],
    *,
    notes: Sequence[str],
    start: str,
    models: Sequence[str],
    out: Path,
    precision: str,
    version: int,
    link: bool,
    trust: str,
    as_json: bool,
) -> None:
    """Write each model by `write`, and print what was done and how to start the server."""
    from ..deploy.chosen import choose
    from ..deploy.repository import Repository

    chosen = choose(models, precision=precision, trust=trust)
    repository = Repository(out, link=link)
    for model in chosen:
        repository.require_outside(model.source.artifact)
    done = [(model, write(model, repository, version)) for model in chosen]
    if as_json:
        written = [
            {
                "name": model.name,
                "version": version,
                "precision": model.precision,
                "sha256": model.sha256,
                "result": result,
            }
            for model, result in done
        ]
        print_json({"repository": str(out), "models": written, "notes": list(notes), "start": start})
        return
    for model, result in done:
        say(f"{out / model.name / str(version)}: {model.precision}, {result}")
    say(*(f"note: {note}" for note in notes))
    say(f"start: {start}")
