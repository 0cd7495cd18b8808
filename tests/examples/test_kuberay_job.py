"""The job file for KubeRay: valid by KubeRay's own schema, and what it runs is a command that there is.

tests/data/kuberay_rayjob_v1.json.gz is the schema of RayJob v1 in KubeRay's CRD (Apache-2.0), without descriptions and
status: of ray-project/kuberay at feeaf72facab4881ba2b179248bb67315634e229, the file
helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml.
"""

from __future__ import annotations

import copy
import gzip
import importlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

jsonschema = pytest.importorskip("jsonschema", reason="comes with the extras ray and dev")
yaml = pytest.importorskip("yaml", reason="comes with the extra ray")

ROOT = Path(__file__).parents[2]
FILE = ROOT / "examples" / "kuberay_job.yaml"
SCHEMA = ROOT / "tests" / "data" / "kuberay_rayjob_v1.json.gz"


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def faults() -> Any:
    """The faults of a document by the schema; unknown fields are refused, as by Kubernetes with strict validation."""
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))

    def close(part: Any) -> None:
        if isinstance(part, dict):
            fields = part.get("properties")
            closed = part.get("type") == "object" and not part.get("x-kubernetes-preserve-unknown-fields")
            if isinstance(fields, dict) and closed:
                part.setdefault("additionalProperties", False)
            for each in part.values():
                close(each)
        elif isinstance(part, list):
            for each in part:
                close(each)

    close(schema)
    # The metadata of an object is checked by Kubernetes, not by the schema.
    schema["properties"]["metadata"] = {"type": "object"}
    validator = jsonschema.Draft202012Validator(schema)
    return lambda document: [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def pods(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]["spec"]


def test_the_file_is_valid(job, faults):
    assert faults(job) == []
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("spec", "shutdownAfterJobFinished"), True, "shutdownAfterJobFinished"),
        (("spec", "backoffLimit"), "none", "backoffLimit"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "imagee"), "x", "imagee"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "groupName"), 7, "groupName"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template"), None, "template"),
    ],
)
def test_a_fault_would_be_found(job, faults, path, value, fault):
    changed: Any = copy.deepcopy(job)
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert any(fault in each for each in faults(changed))


def test_the_command_is_one_that_there_is(job):
    program, name, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (program, name) == ("onnxzoo", "predict")
    command = importlib.import_module("onnxzoo.cli.predict").command
    parsed = command.make_context(name, arguments).params
    assert parsed["images"] == ("/images",)
    assert parsed["ray"] is not None
    for pod in pods(job):
        container = pod["containers"][0]
        writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert sorted(writable) == [str(parsed["out"].parent), "/tmp"]  # noqa: S108 - of the container
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    workers = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert workers["resources"]["limits"]["cpu"] == str(parsed["threads"]), "a pod is a worker"


def test_the_versions_are_those_of_the_project(job):
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"\nray=={job['spec']['rayClusterSpec']['rayVersion']} ;" in constraints
    assert f"rayproject/ray:{job['spec']['rayClusterSpec']['rayVersion']}-py311" in FILE.read_text(encoding="utf-8")
