"""Manifests for KServe on Kubernetes: an InferenceService for each model, on our own server or on Triton.

    REPO/NAME.yaml              the InferenceService, its name as Kubernetes allows it
    REPO/serving-runtime.yaml   our server, which KServe does not know; for Triton it has one
    REPO/models/NAME/           the model, to be uploaded to the storage URI

Sources: KServe's types v1beta1 InferenceService and v1alpha1 ServingRuntime, and its runtime kserve-tritonserver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as package_version
from typing import Any

from ..errors import InputError
from ..inference_protocol import HTTP_PORT
from ..precisions import FP32
from ..text import beginning
from .chosen import Chosen
from .repository import MARK, Repository
from .triton import ON_GPU, OPENVINO, TritonOptions, heading, write_triton
from .triton import notes as triton_notes

OURS, TRITON = "onnxzoo", "triton"
SERVERS = (OURS, TRITON)
RUNTIMES: Mapping[str, str] = {OURS: "onnxzoo", TRITON: "kserve-tritonserver"}
RUNTIME_FILE = "serving-runtime.yaml"
MODELS = "models"
MOUNTED = "/mnt/models"
"""Where KServe puts what it finds at the storage URI."""

MAX_NAME = 63 - len("-predictor")
"""KServe appends the latter to a service's name, which becomes a DNS label."""
MIB = 2**20
MEMORY_STEP_MIB = 256
_NAME = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^\s?#]+")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")


@dataclass(frozen=True, slots=True)
class KServeOptions:
    """How KServe runs the models.

    `storage_uri`: where the folder `models` will be, as KServe reads it: `s3://`, `gs://`, `pvc://` ...
    `server`: one of SERVERS. `image`: the container image of our server, as `onnxzoo deploy docker` makes it.
    `cpus` and `memory_mib`: of a replica; the memory by default by the size of the model. `concurrency`: requests that
    a replica answers at a time before KServe adds one, from `min_replicas` to `max_replicas`; 0 replicas stop an unused
    model. `triton`: how Triton runs the models.

    Raises InputError for an invalid value, and if our server has no image.
    """

    storage_uri: str
    server: str = OURS
    image: str | None = None
    cpus: int = 2
    memory_mib: int | None = None
    concurrency: int = 4
    min_replicas: int = 1
    max_replicas: int = 3
    triton: TritonOptions = field(default_factory=TritonOptions)

    def __post_init__(self) -> None:
        if self.server not in SERVERS:
            raise InputError(f"{self.server!r} is not a server for KServe (there are {', '.join(SERVERS)})")
        if not _URI.fullmatch(self.storage_uri) or self.storage_uri.startswith("hf://"):
            raise InputError(
                f"{beginning(self.storage_uri)!r} is not a storage URI of KServe that can have folders; expected one "
                "like s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or pvc://CLAIM/FOLDER"
            )
        if self.server == OURS and self.image is None:
            raise InputError(
                "KServe needs the container image of our server: onnxzoo deploy docker makes it; give --image"
            )
        if self.server == TRITON and self.image is not None:
            raise InputError("the image of Triton is that of KServe's own runtime; leave out --image")
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise InputError(f"{beginning(self.image)!r} is not the name of a container image")
        for name, least in (("cpus", 1), ("concurrency", 1), ("min_replicas", 0), ("max_replicas", 1)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value < 2**31:
                raise InputError(f"{name} must be a whole number from {least}, got {value!r}")
        if self.max_replicas < self.min_replicas:
            raise InputError(f"max_replicas {self.max_replicas} is less than min_replicas {self.min_replicas}")


def kubernetes_name(model: Chosen) -> str:
    """The model's name in Kubernetes: in lower case, with - for _ and . Raises InputError if that is no name there."""
    name = re.sub(r"[_.]", "-", model.name.lower())
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise InputError(
            f"{model.name!r} cannot be the name of a service in Kubernetes (as {name!r}): expected up to {MAX_NAME} "
            f"letters, digits and -, the first a letter; give another one, NAME={model.source.artifact.folder}"
        )
    return name


def require_names(models: Sequence[Chosen]) -> None:
    """Raise InputError for models without a name in Kubernetes, and for two with the same one."""
    known: dict[str, Chosen] = {}
    for model in models:
        name = kubernetes_name(model)
        if (twin := known.setdefault(name, model)) is not model:
            raise InputError(
                f"{twin.name!r} and {model.name!r} would both be {name!r} in Kubernetes; give one another name, "
                f"NAME={model.source.artifact.folder}"
            )


def write_kserve(model: Chosen, repository: Repository, options: KServeOptions, *, version: int = 1) -> str:
    """Write a model and its manifests; returns what `Repository.add_version` does. The manifests come last.

    Raises InputError for a name that Kubernetes does not allow, ArtifactError if a manifest is there and was not
    written by onnxzoo; else as `Repository.add_version` and `write_triton` do.
    """
    manifest = f"{kubernetes_name(model)}.yaml"
    for path in (manifest, RUNTIME_FILE):
        repository.require_mark(path)
    if options.server == TRITON:
        done = write_triton(model, repository, options.triton, version=version, place=f"{MODELS}/{model.name}")
    else:
        repository.require_own_model(model, MODELS)
        done = repository.add_version(model, version, MODELS)
        head = f"# {MARK} {package_version('onnxzoo')} for all models of this folder.\n"
        _write(repository, RUNTIME_FILE, head, serving_runtime(options))
    _write(repository, manifest, heading(model), inference_service(model, options, version))
    return done


def inference_service(model: Chosen, options: KServeOptions, version: int = 1) -> dict[str, Any]:
    """The InferenceService of a model, of KServe's v1beta1."""
    below = f"{model.name}/{version}" if options.server == OURS else model.name
    described: dict[str, Any] = {
        "modelFormat": {"name": options.server},
        "runtime": RUNTIMES[options.server],
        "protocolVersion": "v2",
        "storageUri": f"{options.storage_uri.rstrip('/')}/{below}",
        "resources": _resources(model, options),
    }
    if options.server == TRITON:
        described |= _probes()
        if options.triton.engine in ON_GPU and model.precision == FP32:
            described["env"] = [{"name": "NVIDIA_TF32_OVERRIDE", "value": "0"}]
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": kubernetes_name(model)},
        "spec": {
            "predictor": {
                "minReplicas": options.min_replicas,
                "maxReplicas": options.max_replicas,
                "scaleMetric": "concurrency",
                "scaleTarget": options.concurrency,
                "model": described,
            }
        },
    }


def serving_runtime(options: KServeOptions) -> dict[str, Any]:
    """The ServingRuntime of our server, of KServe's v1alpha1: not root, nothing written but to a folder of its own."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": RUNTIMES[OURS]},
        "spec": {
            "annotations": {"prometheus.kserve.io/port": str(HTTP_PORT), "prometheus.kserve.io/path": "/metrics"},
            "supportedModelFormats": [{"name": OURS, "version": "1", "autoSelect": True, "priority": 1}],
            "protocolVersions": ["v2"],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": options.image,
                    "command": ["onnxzoo", "serve"],
                    # KServe puts the name of the InferenceService there, which is then the model's name in URLs.
                    "args": ["{{.Name}}=" + MOUNTED, "--host", "0.0.0.0", "--http-port", str(HTTP_PORT)],  # noqa: S104
                    "env": [
                        {"name": "ONNXZOO_CACHE", "value": "/tmp/onnxzoo"},  # noqa: S108
                        {"name": "HF_HUB_OFFLINE", "value": "1"},
                    ],
                    "ports": [{"containerPort": HTTP_PORT, "protocol": "TCP"}],
                    **_probes(),
                    "securityContext": {
                        "runAsNonRoot": True,
                        "readOnlyRootFilesystem": True,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
        },
    }


def notes(options: KServeOptions) -> list[str]:
    """What an administrator has to do besides, and what depends on the cluster."""
    found = [
        f"upload the folder {MODELS} to {options.storage_uri}",
        "scaling by concurrency needs KServe's Knative mode; in its standard mode, replace scaleMetric by cpu",
    ]
    if options.server == TRITON and options.triton.engine == OPENVINO:  # for GPUs the manifest sets the environment
        found += triton_notes(options.triton, FP32)
    return found


def replaced_runtime(repository: Repository, options: KServeOptions) -> list[str]:
    """What deploying with these options changes for the models that the repository has already, as notes."""
    import yaml

    file = repository.folder / RUNTIME_FILE
    if options.server != OURS or not file.is_file():
        return []
    try:
        before = yaml.safe_load(file.read_bytes())["spec"]["containers"][0]["image"]
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return [f"{RUNTIME_FILE} was damaged and is written anew"]
    if before == options.image:
        return []
    return [f"{RUNTIME_FILE} is shared: all models of this folder now run in {options.image}, before in {before}"]


def _probes() -> dict[str, Any]:
    def get(path: str) -> dict[str, Any]:
        return {"path": path, "port": HTTP_PORT, "scheme": "HTTP"}

    return {
        "readinessProbe": {"httpGet": get("/v2/health/ready"), "periodSeconds": 5, "timeoutSeconds": 5},
        # Models are loaded and warmed before that, and TensorRT builds its engines.
        "livenessProbe": {
            "httpGet": get("/v2/health/live"),
            "initialDelaySeconds": 60,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def _resources(model: Chosen, options: KServeOptions) -> dict[str, Any]:
    memory_mib = options.memory_mib
    if memory_mib is None:
        # A process with an engine takes 150 MiB and twice the file (benchmarks/results/memory.md); Triton, CUDA and
        # requests take more.
        base_mib = 512 if options.server == OURS else 2048
        needed_mib = base_mib + 4 * model.source.artifact.required_model(model.precision).bytes / MIB
        memory_mib = int(-(-needed_mib // MEMORY_STEP_MIB) * MEMORY_STEP_MIB)
    both: dict[str, str] = {"cpu": str(options.cpus), "memory": f"{memory_mib}Mi"}
    if options.server == TRITON and options.triton.engine in ON_GPU:
        both["nvidia.com/gpu"] = "1"
    return {"requests": dict(both), "limits": dict(both)}


def _write(repository: Repository, path: str, head: str, document: Mapping[str, Any]) -> None:
    """Write a document in YAML, after reading it back."""
    import yaml

    text = head + yaml.safe_dump(document, sort_keys=False)

    def check(data: bytes) -> None:
        if yaml.safe_load(data) != document:
            raise ValueError(f"{path} does not read back as what was to be written")

    repository.write(path, text.encode(), check)
