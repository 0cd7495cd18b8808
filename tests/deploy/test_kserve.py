"""Manifests for KServe: every field is one of the custom resources' own, and says what it has to say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifacts import PVT, SWIN
from command_line import is_one_error_line, run
from tiny import write_artifact

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.deploy.chosen import choose
from onnxzoo.deploy.kserve import (
    KServeOptions,
    inference_service,
    kubernetes_name,
    notes,
    require_names,
    serving_runtime,
)
from onnxzoo.deploy.triton import ENGINES, TritonOptions
from onnxzoo.errors import InputError

URI = "s3://bucket/models"
SCALARS = {"str": str, "int": int, "bool": bool, "float": float}
# Quantities and probes' ports are texts or numbers in Kubernetes; the generated models say object.
LOOSE = {"object", "ResourceQuantity", "resource.Quantity", "IntOrString"}


def ours(**options: Any) -> KServeOptions:
    return KServeOptions(URI, image="registry.example/onnxzoo:1", **options)


def on_triton(engine: str = "onnxruntime", **options: Any) -> KServeOptions:
    return KServeOptions(URI, server="triton", triton=TritonOptions(engine), **options)


@pytest.fixture(scope="module")
def models() -> Any:
    """The classes of KServe's and Kubernetes' resources, generated from their OpenAPI descriptions."""
    # Not "kserve": this module imports it as it must be.
    pytest.importorskip("onnxzoo.serving.sdk", exc_type=ImportError)
    import kserve
    import kubernetes.client

    return lambda name: getattr(kserve, name, None) or getattr(kubernetes.client, name)


def check(models: Any, kind: str, value: Any, where: str) -> int:
    """Check a value against a type of the OpenAPI description; returns how many fields were compared."""
    if kind in LOOSE:
        return 1
    if kind in SCALARS:
        assert type(value) is SCALARS[kind], f"{where}: {value!r} is not {kind}"
        return 1
    if listed := re.fullmatch(r"[lL]ist\[(.*)\]", kind):
        assert isinstance(value, list), where
        return sum(check(models, listed[1], one, f"{where}[]") for one in value)
    if mapped := re.fullmatch(r"dict\(str, (.*)\)|Dict\[str, (.*)\]", kind):
        assert isinstance(value, dict), where
        return sum(check(models, mapped[1] or mapped[2], one, f"{where}.{key}") for key, one in value.items())
    described = models(kind)
    assert isinstance(value, dict), where
    kinds = {described.attribute_map[name]: found for name, found in described.openapi_types.items()}
    unknown = value.keys() - kinds.keys()
    assert not unknown, f"{where} has no field {unknown}"
    described(**{name: value.get(field) for name, field in described.attribute_map.items()})  # required ones are there
    return sum(check(models, kinds[key], one, f"{where}.{key}") for key, one in value.items())


def test_the_check_finds_wrong_fields_types_and_gaps(models):
    (model,) = choose([PVT])
    good = inference_service(model, ours())
    for change in (
        lambda spec: spec["predictor"].update(minReplica=1),
        lambda spec: spec["predictor"].update(minReplicas="1"),
        lambda spec: spec["predictor"]["model"].update(protocolVersion=2),
        lambda spec: spec["predictor"]["model"].update(modelFormat={"version": 1}),
        lambda spec: spec["predictor"]["model"]["resources"].update(limits=[]),
    ):
        bad = yaml.safe_load(yaml.safe_dump(good))
        change(bad["spec"])
        with pytest.raises((AssertionError, ValueError)):
            check(models, "V1beta1InferenceService", bad, "")
    no_name = serving_runtime(ours())
    del no_name["spec"]["containers"][0]["name"]
    with pytest.raises(ValueError, match="name"):
        check(models, "V1alpha1ServingRuntime", no_name, "")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(
    "options",
    [ours(), ours(min_replicas=0, memory_mib=700), on_triton(), on_triton("tensorrt"), on_triton("openvino")],
    ids=["ours", "ours to zero", "triton", "tensorrt", "openvino"],
)
def test_every_field_is_one_of_the_custom_resource(models, options, precision):
    (model,) = choose([PVT], precision=precision)
    assert check(models, "V1beta1InferenceService", inference_service(model, options), "InferenceService") > 12


def test_the_runtime_is_one_of_kserve_and_locked_down(models):
    runtime = serving_runtime(ours())
    assert check(models, "V1alpha1ServingRuntime", runtime, "ServingRuntime") > 20
    (container,) = runtime["spec"]["containers"]
    assert container["image"] == "registry.example/onnxzoo:1"
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    # What has to be written goes to a volume.
    (mount,) = container["volumeMounts"]
    assert mount["name"] in {volume["name"] for volume in runtime["spec"]["volumes"]}
    (cache,) = [one["value"] for one in container["env"] if one["name"] == "ONNXZOO_CACHE"]
    assert Path(cache).is_relative_to(mount["mountPath"])


def test_the_arguments_of_the_runtime_are_those_of_onnxzoo_serve(tmp_path, monkeypatch):
    """KServe replaces {{.Name}} by the service's name; the command must take the result."""
    from onnxzoo.cli.serve import command
    from onnxzoo.served_names import name_and_model, served_name

    (container,) = serving_runtime(ours())["spec"]["containers"]
    assert container["command"] == ["onnxzoo", "serve"]
    arguments = [one.replace("{{.Name}}", "swin-v2") for one in container["args"]]
    context = command.make_context("serve", arguments)
    assert context.params["host"] == "0.0.0.0"  # noqa: S104
    assert [context.params["http_port"]] == [port["containerPort"] for port in container["ports"]]
    (model,) = context.params["models"]
    assert name_and_model(model) == ("swin-v2", "/mnt/models")
    assert served_name("swin-v2", model) == "swin-v2"


def test_the_service_scales_by_concurrency_and_speaks_v2():
    (model,) = choose([PVT])
    service = inference_service(model, ours(concurrency=7, min_replicas=0, max_replicas=9, cpus=3, memory_mib=900))
    predictor = service["spec"]["predictor"]
    assert service["metadata"]["name"] == "pvt-v2-nano-fashion"
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("concurrency", 7)
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (0, 9)
    described = predictor["model"]
    assert described["protocolVersion"] == "v2"
    assert described["storageUri"] == f"{URI}/{PVT}/1"
    assert described["resources"] == {name: {"cpu": "3", "memory": "900Mi"} for name in ("requests", "limits")}


def test_triton_gets_a_gpu_and_exact_fp32():
    (fp32,), (fp16,) = choose([PVT]), choose([PVT], precision="fp16")
    described = inference_service(fp32, on_triton("cuda"))["spec"]["predictor"]["model"]
    assert described["runtime"] == "kserve-tritonserver"
    assert described["storageUri"] == f"{URI}/{PVT}"
    assert described["env"] == [{"name": "NVIDIA_TF32_OVERRIDE", "value": "0"}]
    assert described["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "env" not in inference_service(fp16, on_triton("cuda"))["spec"]["predictor"]["model"]
    on_cpu = inference_service(fp32, on_triton())["spec"]["predictor"]["model"]
    assert "env" not in on_cpu
    assert on_cpu["resources"]["limits"].keys() == {"cpu", "memory"}


def test_the_memory_grows_with_the_file():
    sizes = [inference_service(choose([name])[0], ours()) for name in (PVT, SWIN)]
    assert {one["spec"]["predictor"]["model"]["resources"]["limits"]["memory"] for one in sizes} == {"768Mi"}
    assert inference_service(choose([PVT])[0], on_triton())["spec"]["predictor"]["model"]["resources"]["requests"] == {
        "cpu": "2",
        "memory": "2304Mi",
    }


def test_openvino_in_triton_is_said_to_compute_in_bf16():
    said = {engine: "bf16" in " ".join(notes(on_triton(engine))) for engine in ENGINES}
    assert said == {"onnxruntime": False, "openvino": True, "cuda": False, "tensorrt": False}
    assert "bf16" not in " ".join(notes(ours()))


@pytest.mark.parametrize("server", ["onnxzoo", "triton"])
def test_the_command_writes_manifests_and_models_that_validate(tmp_path, server):
    repo = tmp_path / "repo"
    image = ["--image", "onnxzoo:1"] if server == "onnxzoo" else []
    done = run("deploy", "kserve", PVT, f"swin={SWIN}", "--out", repo, "--server", server, "--storage-uri", URI, *image)
    assert done.exit_code == 0, done.output
    assert f"note: upload the folder models to {URI}" in done.stdout
    assert f"start: kubectl apply -f {repo}" in done.stdout
    documents = {path.name: yaml.safe_load(path.read_text()) for path in repo.glob("*.yaml")}
    runtime = {"serving-runtime.yaml"} if server == "onnxzoo" else set()
    assert documents.keys() == {"pvt-v2-nano-fashion.yaml", "swin.yaml"} | runtime
    uri = documents["swin.yaml"]["spec"]["predictor"]["model"]["storageUri"]
    below = repo / "models" / uri.removeprefix(f"{URI}/")
    # Our server takes an artifact, Triton a repository of models.
    version = below if server == "onnxzoo" else below / "swin" / "1"
    assert read_artifact(version).name == SWIN
    assert str(version) in done.stdout
    assert run("validate", version, "--engine", "onnxruntime").exit_code == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [("pvt_v2_b2_linear", "pvt-v2-b2-linear"), ("SwinV2.Tiny", "swinv2-tiny"), ("a", "a"), ("a" * 53, "a" * 53)],
)
def test_names_that_kubernetes_has(tmp_path, name, expected):
    folder = write_artifact(tmp_path / "a")
    assert kubernetes_name(choose([f"{name}={folder}"])[0]) == expected


@pytest.mark.parametrize("name", ["2b", "a" * 54, "a_", "9"])
def test_names_that_kubernetes_has_not(tmp_path, name):
    folder = write_artifact(tmp_path / "a")
    done = run("deploy", "kserve", f"{name}={folder}", "--out", tmp_path / "r", "--storage-uri", URI, "--image", "i")
    assert done.exit_code == 2
    assert is_one_error_line(done.stderr)
    assert "cannot be the name of a service in Kubernetes" in done.stderr
    assert not (tmp_path / "r").exists()


def test_two_names_that_are_one_in_kubernetes(tmp_path):
    folder = write_artifact(tmp_path / "a")
    with pytest.raises(InputError, match="'my_model' and 'my-model' would both be 'my-model' in Kubernetes"):
        require_names(choose([f"my_model={folder}", f"my-model={folder}"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"storage_uri": "models"}, "is not a storage URI of KServe"),
        ({"storage_uri": "s3://b/a b"}, "is not a storage URI of KServe"),
        ({"storage_uri": "s3://b\nx: y"}, "is not a storage URI of KServe"),
        ({"storage_uri": "hf://user/name"}, "that can have folders"),
        ({"image": None}, "needs the container image of our server"),
        ({"image": "a b"}, "is not the name of a container image"),
        ({"image": "-x"}, "is not the name of a container image"),
        ({"server": "torchserve"}, "is not a server for KServe"),
        ({"server": "triton"}, "leave out --image"),
        ({"min_replicas": 5}, "max_replicas 3 is less than min_replicas 5"),
        ({"concurrency": 0}, "concurrency must be a whole number from 1"),
    ],
)
def test_options_that_kserve_would_refuse(options, message):
    with pytest.raises(InputError, match=message):
        KServeOptions(**{"storage_uri": URI, "image": "onnxzoo:1", **options})


def test_another_image_for_the_runtime_that_models_share_is_told(tmp_path):
    folder, repo = write_artifact(tmp_path / "a"), tmp_path / "repo"

    def deployed(model: str, image: str) -> str:
        done = run("deploy", "kserve", model, "--out", repo, "--storage-uri", URI, "--image", image)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "shared" not in deployed(f"one={folder}", "onnxzoo:1")
    assert "shared" not in deployed(f"two={folder}", "onnxzoo:1")
    told = "all models of this folder now run in onnxzoo:2, before in onnxzoo:1"
    assert told in deployed(f"two={folder}", "onnxzoo:2")
    runtime = repo / "serving-runtime.yaml"
    assert "two" not in runtime.read_text().splitlines()[0]
    runtime.write_text(f"{runtime.read_text().splitlines()[0]}\nkind: x\n")
    assert "serving-runtime.yaml was damaged and is written anew" in deployed(f"two={folder}", "onnxzoo:2")


def test_a_manifest_of_somebody_else_stays(tmp_path):
    folder, repo = write_artifact(tmp_path / "a"), tmp_path / "repo"
    repo.mkdir()
    (repo / "tiny.yaml").write_text("kind: Service\n")
    done = run("deploy", "kserve", folder, "--out", repo, "--storage-uri", URI, "--image", "onnxzoo:1")
    assert done.exit_code == 1
    assert "tiny.yaml was not written by onnxzoo and stays as it is" in done.stderr
    assert [*repo.iterdir()] == [repo / "tiny.yaml"]
    assert (repo / "tiny.yaml").read_text() == "kind: Service\n"
