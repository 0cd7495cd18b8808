"""A model repository for OpenVINO Model Server.

    REPO/config.json            the list of models, for ovms --config_path REPO/config.json
    REPO/NAME/1/                the version, which is an artifact too (see `onnxzoo.deploy`)

Sources: docs/parameters.md and the schema of config.json in src/schema.cpp of the model server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines.openvino_device import ARITHMETIC
from ..errors import ArtifactError, InputError
from ..files import readable
from ..precisions import FP16, FP32
from ..strict_json import parse_json
from .chosen import Chosen
from .repository import Repository

CONFIG_FILE = "config.json"
LIST = "model_config_list"
MAX_BYTES = 2**24
DEVICES = ("CPU", "GPU", "NPU", "AUTO")
HINTS = ("latency", "throughput")


@dataclass(frozen=True, slots=True)
class OvmsOptions:
    """How OpenVINO Model Server runs the models.

    `device`: one of DEVICES. `hint`: one of HINTS. Raises InputError for an invalid value.
    """

    device: str = "CPU"
    hint: str = "throughput"

    def __post_init__(self) -> None:
        for value, known in ((self.device, DEVICES), (self.hint, HINTS)):
            if value not in known:
                raise InputError(f"{value!r} is not one of {', '.join(known)}")


def write_ovms(model: Chosen, repository: Repository, options: OvmsOptions, *, version: int = 1) -> str:
    """Write version `version` of a model into a repository for OpenVINO Model Server, and its entry in config.json.

    Other entries of config.json are kept; the entry of the same model is replaced. Returns what
    `Repository.add_version` does.

    Raises ArtifactError for a config.json that is not the server's, or has a model of this name elsewhere; else as
    `Repository.add_version` does.
    """
    config = read_config(repository.folder)
    replaced = _with_entry(config, entry(model, options), repository.folder / CONFIG_FILE)
    repository.require_own_model(model)
    done = repository.add_version(model, version)
    repository.write(CONFIG_FILE, (json.dumps(replaced, indent=2) + "\n").encode(), parse_json)
    return done


def entry(model: Chosen, options: OvmsOptions) -> dict[str, Any]:
    """The model's entry in config.json. Its path is relative to that file, so that the repository can be moved."""
    settings = {"PERFORMANCE_HINT": options.hint.upper()}
    # By default OpenVINO computes in bf16 on CPUs with AVX512-BF16 or AMX, and in f16 on GPUs. An fp16 file runs in
    # fp32 on CPUs, as with our engine.
    if options.device in ("CPU", "GPU"):
        widened = model.precision == FP16 and options.device == "CPU"
        settings["INFERENCE_PRECISION_HINT"] = ARITHMETIC[FP32 if widened else model.precision]
    return {
        "config": {
            "name": model.name,
            "base_path": model.name,
            "target_device": options.device,
            "model_version_policy": {"latest": {"num_versions": 1}},
            "plugin_config": settings,
        }
    }


def notes(options: OvmsOptions, precision: str) -> Iterator[str]:
    """What an administrator has to know that no configuration can say."""
    if options.device not in ("CPU", "GPU") and precision == FP32:
        yield f"on {options.device}, OpenVINO chooses the precision itself, which need not be fp32"


def read_config(folder: Path) -> dict[str, Any]:
    """The repository's config.json; one without models if there is none. Raises ArtifactError if it is not OVMS's."""
    file = folder / CONFIG_FILE
    with readable(file):
        if not file.exists():
            return {LIST: []}
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    try:
        config = parse_json(data) if len(data) <= MAX_BYTES else None
    except ValueError as error:
        raise ArtifactError(f"{file} cannot be read: {error}; choose another --out") from None
    listed = config.get(LIST) if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(listed, list) or not all(_named(one) for one in listed):
        raise ArtifactError(
            f"{file} is not a configuration of OpenVINO Model Server (it has no {LIST} of named models) and stays as "
            "it is; choose another --out"
        )
    return dict(config)


def _named(one: object) -> bool:
    config = one.get("config") if isinstance(one, dict) else None
    return isinstance(config, dict) and isinstance(config.get("name"), str)


def _with_entry(config: dict[str, Any], new: dict[str, Any], file: Path) -> dict[str, Any]:
    name, place = new["config"]["name"], new["config"]["base_path"]
    listed = config[LIST]
    for one in listed:
        if one["config"]["name"] == name and one["config"].get("base_path") != place:
            raise ArtifactError(
                f"{file} has another model {name!r}, at {one['config'].get('base_path')!r}, which stays as it is; give "
                f"this one another name, NAME={name}"
            )
    kept = [one for one in listed if one["config"]["name"] != name]
    return {**config, LIST: [*kept, new]}
