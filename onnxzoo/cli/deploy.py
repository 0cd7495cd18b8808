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
from .parameters import FILE, OUTPUT, Whole

if TYPE_CHECKING:
    from ..deploy.chosen import Chosen
    from ..deploy.repository import Repository
    from ..deploy.triton import TritonOptions

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


def _triton_options(command: Command) -> Command:
    """Add how Triton runs models: --engine, --max-batch, --delay-us, --instances, --threads and --engine-cache."""
    for option in (
        click.option("--engine-cache", metavar="FOLDER", help="Folder on the server for TensorRT's engines."),
        click.option(
            "--threads", type=Whole(1, 1024), help="CPU threads of one instance; by default the engine's choice."
        ),
        click.option("--instances", type=Whole(1, 1024), help="Copies of a model that run at a time; by default 1."),
        click.option(
            "--delay-us",
            type=Whole(0, 10**7),
            help="Microseconds that a request waits for others to join; by default 0.",
        ),
        click.option(
            "--max-batch", type=Whole(1, 65536), help="Largest batch that Triton makes of requests; by default 8."
        ),
        click.option(
            "--engine",
            type=click.Choice(["onnxruntime", "openvino", "cuda", "tensorrt"]),
            default="onnxruntime",
            show_default=True,
            help="What runs the models in Triton: onnxruntime and openvino on the CPU, cuda and tensorrt on GPUs.",
        ),
    ):
        command = option(command)
    return command


@command.command("triton", short_help="A model repository for NVIDIA's Triton.")
@_models
@_triton_options
@click.option(
    "--images",
    is_flag=True,
    help="Also an ensemble NAME_images that takes encoded images; its first step needs onnxzoo, numpy and Pillow in "
    "Triton's container.",
)
def triton(images: bool, **given: Any) -> None:
    """Write a model repository for NVIDIA's Triton Inference Server.

    Start it with: tritonserver --model-repository=REPO
    """
    from ..deploy.triton import notes, write_triton
    from ..deploy.triton_images import NEEDS, require_free, write_ensemble

    options, common = _triton_settings(given)

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


@command.command("kserve", short_help="Models and manifests for KServe on Kubernetes.")
@_models
@click.option(
    "--storage-uri", required=True, metavar="URI", help="Where the folder REPO/models will be: s3://, pvc:// ..."
)
@click.option(
    "--server",
    type=click.Choice(["onnxzoo", "triton"]),
    default="onnxzoo",
    show_default=True,
    help="What serves the models: our own server, or Triton in KServe's runtime, with the options below.",
)
@click.option("--image", help="Container image of our server; onnxzoo deploy docker makes it.")
@click.option("--cpus", type=Whole(1, 1024), default=2, show_default=True, help="CPUs of a replica.")
@click.option("--memory-mib", type=Whole(1, 2**24), help="Memory of a replica; by default by the size of the model.")
@click.option(
    "--concurrency",
    type=Whole(1, 10**6),
    default=4,
    show_default=True,
    help="Requests at a time for a replica, before another one is added.",
)
@click.option("--min-replicas", type=Whole(0, 10**6), default=1, show_default=True)
@click.option("--max-replicas", type=Whole(1, 10**6), default=3, show_default=True)
@_triton_options
def kserve(
    storage_uri: str,
    server: str,
    image: str | None,
    cpus: int,
    memory_mib: int | None,
    concurrency: int,
    min_replicas: int,
    max_replicas: int,
    **given: Any,
) -> None:
    """Write models, and an InferenceService for each, for KServe on Kubernetes.

    Upload REPO/models to the storage URI, then: kubectl apply -f REPO
    """
    from ..deploy.kserve import KServeOptions, notes, replaced_runtime, require_names, write_kserve
    from ..deploy.repository import Repository

    triton, common = _triton_settings(given)
    options = KServeOptions(
        storage_uri, server, image, cpus, memory_mib, concurrency, min_replicas, max_replicas, triton
    )
    _write(
        lambda model, repository, version: write_kserve(model, repository, options, version=version),
        require=require_names,
        notes=[*replaced_runtime(Repository(common["out"]), options), *notes(options)],
        start=f"kubectl apply -f {common['out']}",
        place=lambda model: f"models/{model.name}" + (f"/{model.name}" if server == "triton" else ""),
        **common,
    )


@command.command("docker", short_help="A folder to build a container image of our server from.")
@click.argument("models", nargs=-1, metavar="[MODEL...]", shell_complete=model_names)
@click.option("--out", type=OUTPUT, required=True, metavar="DIR", help="Folder to write.")
@click.option("--precision", type=click.Choice(list(MODEL_FILES)), default=FP32, show_default=True)
@click.option("--by-name", "download", is_flag=True, help="The image downloads the models when it is built.")
@click.option(
    "--wheel", type=FILE, help="Wheel of onnxzoo for the image; by default pip finds this version in its index."
)
@click.option("--link", is_flag=True, help="Hard links to the models' ONNX files instead of copies.")
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def docker(
    models: Sequence[str],
    out: Path,
    precision: str,
    download: bool,
    wheel: Path | None,
    link: bool,
    trust: str,
    as_json: bool,
) -> None:
    """Write a folder from which a container image of 'onnxzoo serve' is built.

    The image has the packages in the versions that are installed here, and the models, or without --by-name and MODEL
    none: KServe brings its own. It runs as no user of the system and on a read-only file system.
    """
    from ..deploy.chosen import choose
    from ..deploy.docker import by_name, package_note, write_docker

    if link and download:
        raise click.UsageError("--link is for models that are copied, and --by-name downloads them")
    named = by_name(models, precision) if download else []
    chosen = [] if download or not models else choose(models, precision=precision, trust=trust)
    results = write_docker(out, chosen, downloaded=named, precision=precision, wheel=wheel, link=link)
    start = f"docker build -t onnxzoo {out}"
    remarks = [] if wheel else [package_note()]
    if as_json:
        written = [
            {"name": model.name, "precision": model.precision, "sha256": model.sha256, "result": result}
            for model, result in zip(chosen, results, strict=True)
        ]
        fetched = [{"name": one.name, "model": one.model} for one in named]
        print_json({"folder": str(out), "models": written, "downloaded": fetched, "notes": remarks, "start": start})
        return
    for model, result in zip(chosen, results, strict=True):
        say(f"{out / 'models' / model.name / '1'}: {model.precision}, {result}")
    say(*(f"{one.name}: {one.model}, downloaded when the image is built" for one in named))
    say(*(f"note: {remark}" for remark in remarks))
    say(f"start: {start}")


def _triton_settings(given: dict[str, Any]) -> tuple[TritonOptions, dict[str, Any]]:
    """The options of Triton among all that were given, and the others."""
    from ..deploy.triton import TritonOptions

    names = ("engine", "max_batch", "delay_us", "instances", "threads", "engine_cache")
    options = TritonOptions(**{name: given[name] for name in names if given[name] is not None})
    return options, {name: value for name, value in given.items() if name not in names}


def _write(
    write: Callable[[Chosen, Repository, int], str],
    *,
    notes: Sequence[str],
    start: str,
    require: Callable[[Sequence[Chosen]], None] = lambda _models: None,
    place: Callable[[Chosen], str] = lambda model: model.name,
    models: Sequence[str],
    out: Path,
    precision: str,
    version: int,
    link: bool,
    trust: str,
    as_json: bool,
) -> None:
    """Write each model by `write`, and print what was done and how to start the server.

    `require`: checks all models before anything is written. `place`: the model's folder within the repository.
    """
    from ..deploy.chosen import choose
    from ..deploy.repository import Repository

    chosen = choose(models, precision=precision, trust=trust)
    require(chosen)
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
        say(f"{out / place(model) / str(version)}: {model.precision}, {result}")
    say(*(f"note: {note}" for note in notes))
    say(f"start: {start}")
