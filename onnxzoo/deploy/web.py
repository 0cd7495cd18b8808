"""A static site that classifies images in the browser, with models in fp32.

    SITE/index.html, page.js, page.css, worker.js    the page, built from clients/web
    SITE/service_worker.js                           keeps the files for use offline, knows the SHA-256 of each
    SITE/site.json                                   the models
    SITE/runtime/                                    ONNX Runtime Web
    SITE/models/NAME/                                artifacts

Any server of static files can serve it, and it asks for nothing from elsewhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from ..artifact.folder import CONFORMANCE_FILE, PREPROCESSOR_FILE, read_artifact
from ..artifact.writing import write_config
from ..errors import ArtifactError, InputError
from ..files import atomic_folder, readable, sha256_of, writing
from ..hub import require_own
from ..precisions import FP32
from .chosen import Chosen

MARK = "Written by onnxzoo web"
SITE_FILE = "site.json"
SERVICE_WORKER = "service_worker.js"
PAGE_FILES = ("index.html", "page.css", "page.js", SERVICE_WORKER, "worker.js")
FIX = "check its permissions and the space on its disk"
ASSETS = resources(__package__).joinpath("page")


def write_site(folder: Path, models: Sequence[Chosen], runtime: Mapping[str, bytes]) -> dict[str, int]:
    """Write the site as a whole, in place of an earlier one; returns the size in bytes of its files by path.

    `runtime`: as `web_runtime.runtime_files` returns it. Every model is verified before it is copied, and what was
    copied after that.

    Raises InputError if `folder` is a file or lies in one of the artifacts, ArtifactError if it holds something else
    than a site of ours, for a model that is damaged, and if it cannot be written.
    """
    _require_place(folder, models)
    with writing(str(folder), ArtifactError, FIX), atomic_folder(folder) as building:
        described = [_add_model(building, model) for model in models]
        _write(building / "runtime", runtime)
        webgpu = any("webgpu" in name for name in runtime)
        site = {"generator": MARK, "version": version("onnxzoo"), "webgpu": webgpu, "models": described}
        page = {name: ASSETS.joinpath(name).read_bytes() for name in PAGE_FILES}
        _write(building, {**page, SITE_FILE: json.dumps(site, indent=2).encode()})
        digests = {path: sha256_of(building / path) for path in _paths(building) if path != SERVICE_WORKER}
        script = f"self.SITE_FILES = {json.dumps(digests)};\n".encode() + page[SERVICE_WORKER]
        (building / SERVICE_WORKER).write_bytes(script)
        return {path: (building / path).stat().st_size for path in _paths(building)}


def _require_place(folder: Path, models: Sequence[Chosen]) -> None:
    with readable(folder, InputError):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file, expected a folder for the site; choose another --out")
        ours = not folder.exists() or not any(folder.iterdir()) or _is_site(folder)
    require_own(folder)
    for model in models:
        artifact = model.source.artifact.folder.resolve()
        if folder.resolve().is_relative_to(artifact) or artifact.is_relative_to(folder.resolve()):
            raise InputError(f"{folder} and the artifact {artifact} lie in each other; choose another --out")
    if not ours:
        raise ArtifactError(f"{folder} was not written by onnxzoo and stays as it is; choose another --out")


def _is_site(folder: Path) -> bool:
    try:
        with (folder / SITE_FILE).open("rb") as file:
            site = json.loads(file.read(2**20))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(site, dict) and site.get("generator") == MARK


def _add_model(building: Path, model: Chosen) -> dict[str, Any]:
    """Copy an artifact with what browsers use of it; returns its entry in the list of models."""
    artifact = model.source.artifact
    place = f"models/{model.name}"
    folder = building / place
    announced = artifact.required_model(FP32)
    config = artifact.config
    kept = [path for path in (announced.path, PREPROCESSOR_FILE, CONFORMANCE_FILE) if path in config["files"]]
    (folder / announced.path).parent.mkdir(parents=True)
    shutil.copyfile(model.source.open(FP32).path, folder / announced.path)
    for path in kept[1:]:
        shutil.copyfile(artifact.verified(path), folder / path)
    write_config(folder, {**config, "files": {path: config["files"][path] for path in kept}})
    read_artifact(folder, artifact.trust).verify()
    return {"name": model.name, "folder": place, "bytes": announced.bytes}


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)


def _paths(folder: Path) -> list[str]:
    """The files of a folder, relative to it, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
