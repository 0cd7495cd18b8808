"""Repositories for Triton: each configuration is parsed into Triton's own message, each version is a valid artifact."""

from __future__ import annotations

from pathlib import Path

import pytest
from artifacts import PVT, SWIN
from command_line import is_one_error_line, run
from tiny import LABELS, SIZE, write_artifact

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.deploy.chosen import choose
from onnxzoo.deploy.repository import Repository
from onnxzoo.deploy.triton import ENGINES, TritonOptions, config_text, labels_text, write_triton
from onnxzoo.errors import InputError

text_format = pytest.importorskip("google.protobuf.text_format")
model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")


def parsed(text: str):
    """The text as Triton reads it; an unknown field or a value of another type is an error."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def config_of(*models: str | Path, precision: str = "fp32", **options):
    (chosen,) = choose(models, precision=precision)
    return parsed(config_text(chosen, TritonOptions(**options)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [PVT, SWIN])
def test_every_engine_gets_a_configuration_that_triton_parses(name, engine):
    config = config_of(name, engine=engine)
    artifact = choose([name])[0].source.artifact
    assert (config.name, config.max_batch_size, config.default_model_filename) == (name, 8, "model.onnx")
    assert config.backend == ("openvino" if engine == "openvino" else "onnxruntime")
    (pixels,), (logits, embedding) = config.input, config.output
    size = artifact.image_size
    assert (pixels.name, pixels.data_type, [*pixels.dims]) == (
        "pixel_values",
        model_config_pb2.TYPE_FP32,
        [3, size, size],
    )
    assert (logits.name, [*logits.dims], logits.label_filename) == ("logits", [10], "labels.txt")
    assert (embedding.name, [*embedding.dims]) == ("embedding", [artifact.architecture.num_features])
    assert {one.data_type for one in config.output} == {model_config_pb2.TYPE_FP32}
    (group,) = config.instance_group
    gpu = engine in ("cuda", "tensorrt")
    assert group.count == 1
    assert group.kind == (group.KIND_GPU if gpu else group.KIND_CPU)
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config.version_policy.latest.num_versions == 1
    assert [one.batch_size for one in config.model_warmup] == [1, 8]
    for warmup in config.model_warmup:
        assert [*warmup.inputs["pixel_values"].dims] == [3, size, size]
        assert warmup.inputs["pixel_values"].WhichOneof("input_data_type") == "random_data"


def test_cuda_computes_without_tf32():
    (cuda,) = config_of(PVT, engine="cuda").optimization.execution_accelerators.gpu_execution_accelerator
    assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})


def test_tensorrt_has_a_profile_a_cache_of_its_own_and_no_precision_flag():
    chosen = choose([PVT])[0]
    config = config_of(PVT, engine="tensorrt", max_batch=4, engine_cache="/cache/")
    tensorrt, cuda = config.optimization.execution_accelerators.gpu_execution_accelerator
    place = f"/cache/{chosen.sha256[:16]}"
    size = chosen.source.artifact.image_size
    assert tensorrt.name == "tensorrt"
    assert dict(tensorrt.parameters) == {
        "precision_mode": "FP32",
        "trt_profile_min_shapes": f"pixel_values:1x3x{size}x{size}",
        "trt_profile_opt_shapes": f"pixel_values:4x3x{size}x{size}",
        "trt_profile_max_shapes": f"pixel_values:4x3x{size}x{size}",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": place,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": place,
    }
    assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})


def test_batching_instances_and_threads():
    config = config_of(PVT, max_batch=16, delay_us=500, instances=3, threads=2)
    assert config.max_batch_size == 16
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert config.instance_group[0].count == 3
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    openvino = config_of(PVT, engine="openvino", threads=2)
    assert openvino.parameters["INFERENCE_NUM_THREADS"].string_value == "2"
    assert [one.batch_size for one in config_of(PVT, max_batch=1).model_warmup] == [1]


def test_labels_are_one_a_line_whatever_they_contain(tmp_path):
    labels = {"0": "a\nb", "1": ' "quoted"\t\\', "2": "écharpe, 围巾", "3": "plain"}
    folder = write_artifact(tmp_path / "a", changes={"id2label": labels})
    assert labels_text(read_artifact(folder)).split("\n") == ["a b", '"quoted" \\', "écharpe, 围巾", "plain", ""]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "paddle"}, "'paddle' is not an engine of Triton"),
        ({"max_batch": 0}, "max_batch must be a whole number from 1, got 0"),
        ({"max_batch": True}, "max_batch must be a whole number from 1, got True"),
        ({"delay_us": -1}, "delay_us must be a whole number from 0"),
        ({"instances": 2**31}, "instances must be a whole number"),
        ({"engine": "cuda", "threads": 2}, "threads are for the CPU"),
    ],
)
def test_options_that_triton_would_refuse(options, message):
    with pytest.raises(InputError, match=message):
        TritonOptions(**options)


def test_a_precision_that_the_engine_does_not_compute_is_refused_before_anything_is_written(tmp_path):
    (chosen,) = choose([PVT], precision="int8")
    with pytest.raises(InputError, match="cuda in Triton does not compute int8 files; it computes fp32, fp16"):
        write_triton(chosen, Repository(tmp_path / "repo"), TritonOptions("cuda"))
    assert not (tmp_path / "repo").exists()


def test_the_command_writes_a_repository_whose_versions_validate(tmp_path):
    repo = tmp_path / "repo"
    done = run("deploy", "triton", PVT, f"swin={SWIN}", "--out", repo)
    assert done.exit_code == 0, done.output
    assert f"{repo / 'swin' / '1'}: fp32, written" in done.stdout
    assert f"start: tritonserver --model-repository={repo}" in done.stdout
    assert sorted(path.relative_to(repo).as_posix() for path in repo.rglob("*") if path.is_file()) == sorted(
        f"{name}/{file}"
        for name in (PVT, "swin")
        for file in (
            "config.pbtxt",
            "labels.txt",
            "1/config.json",
            "1/conformance.npz",
            "1/model.onnx",
            "1/preprocessor_config.json",
        )
    )
    assert parsed((repo / "swin" / "config.pbtxt").read_text()).name == "swin"
    validated = run("validate", repo / "swin" / "1", "--engine", "onnxruntime")
    assert validated.exit_code == 0, validated.output


@pytest.mark.parametrize(("engine", "word"), [("tensorrt", "NVIDIA_TF32_OVERRIDE=0"), ("openvino", "bf16")])
def test_the_command_says_what_no_configuration_can(tmp_path, engine, word):
    done = run("deploy", "triton", PVT, "--out", tmp_path / "repo", "--engine", engine)
    assert done.exit_code == 0
    assert [word in line for line in done.stdout.splitlines() if line.startswith("note: ")] == [True]


def test_a_configuration_of_somebody_else_stays(tmp_path):
    theirs = tmp_path / "repo" / "tiny" / "config.pbtxt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("name: 'tiny'\n")
    done = run("deploy", "triton", write_artifact(tmp_path / "a"), "--out", tmp_path / "repo")
    assert done.exit_code == 1
    assert is_one_error_line(done.stderr)
    assert "config.pbtxt was not written by onnxzoo and stays as it is" in done.stderr
    assert theirs.read_text() == "name: 'tiny'\n"
    assert [*theirs.parent.iterdir()] == [theirs]


def test_deployed_again_with_other_options_only_the_configuration_changes(tmp_path):
    folder, repo = write_artifact(tmp_path / "a"), tmp_path / "repo"
    assert run("deploy", "triton", folder, "--out", repo).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (repo / "tiny" / "1").iterdir()}
    done = run("deploy", "triton", folder, "--out", repo, "--max-batch", "2")
    assert done.exit_code == 0
    assert "tiny/1: fp32, unchanged" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (repo / "tiny" / "1").iterdir()} == before
    assert parsed((repo / "tiny" / "config.pbtxt").read_text()).max_batch_size == 2
    assert (repo / "tiny" / "labels.txt").read_text().split() == [*LABELS]
    assert parsed((repo / "tiny" / "config.pbtxt").read_text()).input[0].dims[1] == SIZE
