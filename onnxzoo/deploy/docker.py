"""A folder from which a container image of our own server is built.

    DIR/Dockerfile, .dockerignore
    DIR/constraints.txt         the versions of all packages, as installed here
    DIR/models/NAME/1/          the models, unless the image downloads them when it is built
    DIR/onnxzoo-*.whl           this package, if a wheel is given; else pip finds it in its index

The image runs as no user of the system, needs no file system to write to but /tmp, and tells its health.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path

from ..errors import ArtifactError, InputError
from ..files import models_dir, readable
from ..hub.lookup import SHIPPED_DIR, locate, was_assembled
from ..hub.names import HubName
from ..inference_protocol import GRPC_PORT, HTTP_PORT
from ..precisions import FP32
from ..served_names import name_and_model, served_name
from .chosen import Chosen
from .repository import MARK, Repository
from .requirements import pinned

EXTRA = "serve"
MODELS = "models"
MAX_PYTHON = (3, 13)
"""KServe's SDK has no wheels for later ones."""
NOBODY = "65532:65532"
"""User and group of the server: none that the system has."""
_WHEEL = re.compile(r"onnxzoo-[A-Za-z0-9_.!+]+-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+\.whl")


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A model that the image downloads when it is built: `model` is its name, with the revision of a Hub repo."""

    name: str
    model: str


def by_name(models: Sequence[str], precision: str = FP32) -> list[Downloaded]:
    """The models to download: names of the registry or USER/NAME[@REVISION] of the Hub, also as NAME=MODEL.

    Nothing is requested. Raises InputError for a folder, a model that was exported here, a precision that official
    weights do not come in, two models with one name, and a name that servers cannot have; else as
    `onnxzoo.source.resolve` does.
    """
    found: dict[str, Downloaded] = {}
    for given in models:
        name, model = name_and_model(given)
        place = locate(model)
        if isinstance(place, Path) and not _can_be_downloaded(place):
            raise InputError(f"{place} is of this machine, an image cannot download it; leave out --by-name to copy it")
        if precision != FP32 and not isinstance(place, HubName) and getattr(place, "parent", None) != SHIPPED_DIR:
            raise InputError(f"{place.name} is assembled from official weights in {FP32}, got precision {precision!r}")
        own, text = (place.repo_id.partition("/")[2], str(place)) if isinstance(place, HubName) else (place.name,) * 2
        one = Downloaded(served_name(name or own, given), text)
        if found.setdefault(one.name.casefold(), one) is not one:
            raise InputError(f"two models would be served as {one.name!r}; give one another name, NAME={text}")
    return list(found.values())


def _can_be_downloaded(folder: Path) -> bool:
    """Whether an artifact that is here by name comes with the package, or from official weights."""
    return folder.parent == SHIPPED_DIR or (folder.parent == models_dir() and was_assembled(folder))


def write_docker(
    folder: Path,
    models: Sequence[Chosen] = (),
    *,
    downloaded: Sequence[Downloaded] = (),
    precision: str = FP32,
    wheel: Path | None = None,
    link: bool = False,
) -> list[str]:
    """Write the folder; returns for each of `models` what `Repository.add_version` does. The Dockerfile comes last.

    `models` are copied into it, `downloaded` are fetched when the image is built; without any, the image serves what
    its arguments name. `precision`: of the models' files. `wheel`: of this package.

    Raises InputError for a wheel of another package, ArtifactError for a Dockerfile of somebody else and as
    `Repository.add_version` does, MissingDependencyError if the server's packages are not installed here.
    """
    if sys.version_info[:2] > MAX_PYTHON:
        raise InputError(f"the server runs on Python up to {'.'.join(map(str, MAX_PYTHON))}, and images get this one's")
    repository = Repository(folder, link=link)
    for path in ("Dockerfile", ".dockerignore", "constraints.txt"):
        repository.require_mark(path)
    constraints = pinned("onnxzoo", EXTRA)
    package = _wheel_name(wheel)
    results = [repository.add_version(model, 1, MODELS) for model in models]
    if wheel is not None:
        repository.write(wheel.name, _bytes(wheel))
    repository.write("constraints.txt", _constraints(constraints).encode())
    repository.write(".dockerignore", "\n".join(_ignored(models, wheel)).encode())
    repository.write("Dockerfile", "\n".join(_dockerfile(models, downloaded, precision, package)).encode())
    return results


def _wheel_name(wheel: Path | None) -> str:
    """The requirement that pip is to install."""
    if wheel is None:
        return f"onnxzoo[{EXTRA}]=={package_version('onnxzoo')}"
    if not _WHEEL.fullmatch(wheel.name):
        raise InputError(f"{wheel} is not a wheel of onnxzoo; make one in its source: pip wheel --no-deps .")
    if wheel.name.split("-")[1] != (version := package_version("onnxzoo")):
        raise InputError(
            f"{wheel} is another version than {version}, whose requirements are installed here; make it again"
        )
    return f"/build/{wheel.name}[{EXTRA}]"


def package_note() -> str:
    """What an image without a wheel of this package needs."""
    return (
        f"pip installs onnxzoo {package_version('onnxzoo')} from its index when the image is built; if it is not "
        "there, give --wheel (pip wheel --no-deps . in onnxzoo's source makes one)"
    )


def _bytes(file: Path) -> bytes:
    with readable(file, ArtifactError):
        return file.read_bytes()


def _heading() -> str:
    return f"# {MARK} {package_version('onnxzoo')}. Writing the folder again replaces this file."


def _constraints(versions: Mapping[str, str]) -> str:
    lines = [_heading(), *(f"{name}=={version}" for name, version in versions.items())]
    return "\n".join(lines) + "\n"


def _ignored(models: Sequence[Chosen], wheel: Path | None) -> Iterator[str]:
    """Nothing goes to the builder but what the Dockerfile copies."""
    yield _heading()
    yield "*"
    yield "!constraints.txt"
    if wheel is not None:
        yield f"!{wheel.name}"
    yield from (f"!{MODELS}/{model.name}/1" for model in models)
    yield ""


def _dockerfile(
    models: Sequence[Chosen], downloaded: Sequence[Downloaded], precision: str, package: str
) -> Iterator[str]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    served = [f"{model.name}=/{MODELS}/{model.name}/1" for model in models]
    served += [f"{one.name}={one.model}" for one in downloaded]
    options = ["--precision", precision] if precision != FP32 else []
    health = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{HTTP_PORT}/v2/health/ready', timeout=4)"
    yield _heading()
    yield "# Build:  docker build -t onnxzoo ."
    yield (
        "# Run:    docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges "
        f"-p 127.0.0.1:{HTTP_PORT}:{HTTP_PORT} onnxzoo"
    )
    yield "# Before others can reach it, give it a token: serve ... --token-file /run/secrets/TOKEN"
    yield f"ARG BASE=python:{python}-slim"
    yield "FROM ${BASE} AS build"
    yield "ENV ONNXZOO_CACHE=/opt/cache/onnxzoo HF_HOME=/opt/cache/hub"
    yield f"COPY {'*.whl ' if package.startswith('/') else ''}constraints.txt /build/"
    yield "RUN python -m venv /opt/onnxzoo \\"
    yield f' && /opt/onnxzoo/bin/pip install --no-cache-dir -c /build/constraints.txt "{package}" \\'
    yield " && mkdir -p /opt/cache"
    if downloaded:
        names = " ".join(dict.fromkeys(shlex.quote(one.model) for one in downloaded))
        yield f"RUN /opt/onnxzoo/bin/onnxzoo download --precision {precision} {names}"
    yield ""
    yield "FROM ${BASE}"
    yield "COPY --from=build /opt/onnxzoo /opt/onnxzoo"
    if downloaded:
        yield "COPY --from=build /opt/cache /opt/cache"
    for model in models:
        yield f"COPY {MODELS}/{model.name}/1 /{MODELS}/{model.name}/1"
    cache = "/opt/cache/onnxzoo HF_HOME=/opt/cache/hub" if downloaded else "/tmp/onnxzoo"  # noqa: S108
    yield f"ENV PATH=/opt/onnxzoo/bin:${{PATH}} PYTHONUNBUFFERED=1 HOME=/tmp HF_HUB_OFFLINE=1 ONNXZOO_CACHE={cache}"
    yield f"USER {NOBODY}"
    yield f"EXPOSE {HTTP_PORT} {GRPC_PORT}"
    yield "HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \\"
    yield f'    CMD ["python", "-c", "{health}"]'
    yield 'ENTRYPOINT ["onnxzoo"]'
    command = ["serve", *served, *options, "--host", "0.0.0.0"] if served else ["serve", "--help"]  # noqa: S104
    yield f"CMD {json.dumps(command)}"
    yield ""
