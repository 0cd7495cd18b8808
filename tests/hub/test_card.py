"""Model cards: what stands in them, what the Hub makes of them, and that nothing in config.json can break out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import LoopbackHub
from huggingface_hub import ModelCard
from recorded import SHIPPED, copy, evaluation, validation, with_config
from tiny import LABELS, write_artifact

from onnxzoo import registry
from onnxzoo.artifact.folder import CARD_FILE, read_artifact
from onnxzoo.datasets import DATASETS
from onnxzoo.errors import ArtifactError
from onnxzoo.files import sha256_of
from onnxzoo.hub.card import model_card, unvalidated
from onnxzoo.hub.card_metadata import accuracies, eval_result_files, registered
from onnxzoo.hub.package import pack

REPO = "someone/model"
EVIL = "x\n---\nlicense: mit\n# <script>alert(1)</script> [a](http://b.c) `**|**` www.example.org \u202e\"'{{: #"


def imagenet_artifact(folder: Path, **changes: Any) -> Path:
    """An artifact that says it is the registry's pvt_v2_b0 (its graph is another, which the card does not read)."""
    entry = registry.find("pvt_v2_b0")
    config = {
        "architecture": {
            "embed_dims": [32, 64, 160, 256],
            "depths": [2, 2, 2, 2],
            "num_heads": [1, 2, 5, 8],
            "sr_ratios": [8, 4, 2, 1],
            "mlp_ratios": [8, 8, 4, 4],
            "linear": False,
            "drop_path_rate": 0.1,
        },
        "image_size": 224,
        "id2label": {str(i): label for i, label in enumerate(registry.labels("imagenet1k"))},
        "preprocess": {
            "resize_size": 256,
            "crop_size": 224,
            "interpolation": "bicubic",
            "mean": list(entry.preprocess.mean),
            "std": list(entry.preprocess.std),
        },
        "source": {"url": entry.source.url, "file": "PVT_V2_B0_pretrained.pdparams", "sha256": "1" * 64},
    }
    return write_artifact(folder, name="pvt_v2_b0", changes=config | changes)


def front(card: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return document


@pytest.mark.parametrize("name", SHIPPED)
def test_the_cards_that_ship_are_the_generated_ones(name: str) -> None:
    assert (SHIPPED[name] / CARD_FILE).read_text(encoding="utf-8") == model_card(read_artifact(SHIPPED[name]))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_hub_accepts_the_card_and_the_client_reads_it_unchanged(name: str, loopback: LoopbackHub) -> None:
    text = model_card(read_artifact(SHIPPED[name]), REPO)
    card = ModelCard(text)
    card.validate()
    (request,) = loopback.log.all("POST /api/validate-yaml")
    assert request.status == 200
    assert str(card) == text
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.tags[:3] == ["onnx", "openvino", "paddle"]
    assert name.startswith(card.data.tags[3])
    assert card.data.datasets == ["zalando-datasets/fashion_mnist"]
    assert card.data.base_model is None
    entry = registry.find(name)
    documented = [entry.accuracy.top1, entry.accuracy.top5]
    measured = 2 * documented  # by both engines
    assert [one.metric_value for one in card.data.eval_results] == [*documented, *measured]


def test_a_published_checkpoint_has_a_base_model_and_paddleclass_accuracy(tmp_path: Path) -> None:
    artifact = read_artifact(imagenet_artifact(tmp_path / "b0"))
    data = front(model_card(artifact, REPO))
    assert data["base_model"] == "timm/pvt_v2_b0.in1k"
    assert data["datasets"] == ["ILSVRC/imagenet-1k"]
    (result,) = data["model-index"][0]["results"]
    assert result["dataset"]["type"] == "ILSVRC/imagenet-1k"
    assert [metric["value"] for metric in result["metrics"]] == [0.7052, 0.9016]
    assert all("documented by PaddleClas" in metric["name"] for metric in result["metrics"])
    ((path, text),) = eval_result_files(artifact).items()
    assert path == ".eval_results/onnxzoo-imagenet1k-documented.yaml"
    (entry,) = yaml.safe_load(text)
    assert entry["dataset"] == {"id": "ILSVRC/imagenet-1k", "task_id": "default"}
    assert (entry["value"], entry["source"]["name"]) == (0.7052, "PaddleClas")


def test_the_results_are_what_the_client_parses(tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="the parser came in a later version 1")
    folder = imagenet_artifact(tmp_path / "b0")
    artifact = with_config(folder, evaluations=[evaluation(folder), evaluation(folder, engine="openvino")])
    files = eval_result_files(artifact)
    assert set(files) == {
        ".eval_results/onnxzoo-imagenet1k-documented.yaml",
        ".eval_results/onnxzoo-imagenet1k-measured-fp32.yaml",
        ".eval_results/onnxzoo-imagenet1k-measured-fp32-2.yaml",
    }
    if hasattr(huggingface_hub, "parse_eval_result_entries"):
        parsed = [huggingface_hub.parse_eval_result_entries(yaml.safe_load(text))[0] for text in files.values()]
        assert [(one.value, one.date) for one in parsed] == [(0.7052, None)] + [(0.7, "2026-11-20T10:00:00Z")] * 2
        assert ["documented" in one.notes for one in parsed] == [True, False, False]
        assert ["measured in fp32 by" in one.notes for one in parsed] == [False, True, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"source": {"url": None, "file": "my_own.pdparams", "sha256": "2" * 64}},
        {"source": {"url": None, "file": "PVT_V2_B0_pretrained.pdparams", "sha256": "2" * 64}},
        {"source": {"url": "http://x.org/PVT_V2_B0_pretrained.pdparams", "file": "PVT_V2_B0_pretrained.pdparams"}},
        {"source": {"file": "", "sha256": None}},
        {"source": {"url": "https://example.org/other.pdparams", "file": "other.pdparams", "sha256": "2" * 64}},
        {"id2label": {str(i): f"thing {i}" for i in range(1000)}},
        {"id2label": {str(i): label for i, label in enumerate(LABELS)}},
    ],
)
def test_nothing_is_claimed_for_other_weights_or_classes(tmp_path: Path, changes: dict[str, Any]) -> None:
    artifact = read_artifact(imagenet_artifact(tmp_path / "b0", **changes))
    assert registered(artifact) is None
    assert accuracies(artifact) == []
    assert eval_result_files(artifact) == {}
    card = model_card(artifact)
    assert not {"model-index", "datasets", "base_model", "metrics"} & set(front(card))
    assert "No accuracy is recorded as measured" in card
    assert "documented" not in card


@pytest.mark.parametrize("name", SHIPPED)
def test_our_own_checkpoint_is_known_by_its_hash(name: str, tmp_path: Path) -> None:
    artifact = read_artifact(copy(name, tmp_path / "a"))
    assert registered(artifact) is registry.find(name)
    altered = with_config(artifact.folder, source=dict(artifact.source) | {"sha256": "0" * 64})
    assert registered(altered) is None
    assert accuracies(altered) == []
    assert "The licence of these weights is not stated." in model_card(altered)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_registrys_hashes_are_those_of_the_checkpoints(name: str) -> None:
    checkpoint = Path(__file__).parents[2] / "training" / "checkpoints" / f"{name}.pdparams"
    assert registry.find(name).source.sha256 == sha256_of(checkpoint)


def test_measured_accuracies_are_of_the_file_at_hand(tmp_path: Path) -> None:
    folder = imagenet_artifact(tmp_path / "mine", source={})
    old = evaluation(folder, model_sha256="0" * 64, top1=0.99, top5=0.99)
    other = evaluation(folder, dataset="400 photos of mine", images=400, top1=0.5, top5=0.6)
    artifact = with_config(folder, evaluations=[old, other, evaluation(folder)])
    assert [(one.top1, one.known) for one in accuracies(artifact)] == [(0.5, None), (0.7, DATASETS["imagenet1k"])]
    card = model_card(artifact)
    assert (
        "| measured, fp32 | 50.00% | 60.00% | 400 photos of mine | onnxruntime 1.31 \\(CPU\\), 400 images, 2026" in card
    )
    assert "99.00%" not in card
    assert "No accuracy is recorded" not in card
    assert list(eval_result_files(artifact)) == [".eval_results/onnxzoo-imagenet1k-measured-fp32.yaml"]


@pytest.mark.parametrize("case", ["one image", "other classes"])
def test_an_accuracy_on_a_part_or_other_classes_is_not_one_on_the_data_set(case: str, tmp_path: Path) -> None:
    if case == "one image":
        folder = imagenet_artifact(tmp_path / "a", source={})
        artifact = with_config(folder, evaluations=[evaluation(folder, images=1, top1=1, top5=1)])
    else:
        folder = write_artifact(tmp_path / "a")
        artifact = with_config(folder, evaluations=[evaluation(folder)])
    (stated,) = accuracies(artifact)
    assert stated.known is None
    assert eval_result_files(artifact) == {}
    assert "model-index" not in front(model_card(artifact))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"top1": 0.95}, r"is malformed: evaluations\[0\]\.top5 must be a number from 0\.95 to 1, got 0\.9"),
        ({"top5": 1.5}, r"is malformed: evaluations\[0\]\.top5 must be a number"),
        ({"top1": float("nan")}, "cannot be read: NaN is not JSON"),
        ({"images": 0}, r"is malformed: evaluations\[0\]\.images must be a whole number"),
    ],
)
def test_impossible_accuracies_are_refused(tmp_path: Path, wrong: dict[str, float], message: str) -> None:
    folder = write_artifact(tmp_path / "tiny")
    with pytest.raises(ArtifactError, match=rf"config\.json {message}"):
        with_config(folder, evaluations=[evaluation(folder, **wrong)])


def test_the_validations_of_the_file_at_hand(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "tiny")
    assert unvalidated(read_artifact(folder)) == {"onnx/model.onnx": "no validation that it passed is recorded"}
    assert "> **Not validated:** `onnx/model.onnx`" in model_card(read_artifact(folder))
    stale = with_config(folder, validations=[validation(folder, model_sha256="0" * 64)])
    why = "its validation on openvino was of another file, or not against the reference"
    assert unvalidated(stale) == {"onnx/model.onnx": why}
    other = with_config(folder, validations=[validation(folder, reference="timm")])
    assert list(unvalidated(other)) == ["onnx/model.onnx"]
    old = validation(folder, model_sha256="0" * 64, max_abs=7)
    artifact = with_config(folder, validations=[old, validation(folder)])
    assert unvalidated(artifact) == {}
    card = model_card(artifact)
    assert "Not validated" not in card
    row = "| fp32 | openvino 2026.4 \\(CPU\\) | conformance vectors | 8 at batch 1, 2, 8 | 5.0e-06 | 1.0e-07 | 0.0001 |"
    assert card.count("| fp32 | openvino") == 1
    assert row in card


def test_the_card_of_a_folder_and_that_of_a_repo_differ_in_what_they_load(tiny: Path) -> None:
    artifact = read_artifact(tiny)
    assert 'onnxzoo.load("path/to/this/folder")' in model_card(artifact)
    card = model_card(artifact, REPO)
    assert f'onnxzoo.load("{REPO}")' in card
    assert "path/to" not in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    compile(code[1], "card", "exec")
    assert len([line for line in code[1].splitlines() if line]) <= 5


def test_what_a_config_says_cannot_break_out(tmp_path: Path, loopback: LoopbackHub) -> None:
    folder = imagenet_artifact(tmp_path / "evil")
    hostile = dict.fromkeys(("engine", "version", "device", "date"), EVIL)
    artifact = with_config(
        folder,
        name=EVIL,
        source={"url": EVIL, "file": EVIL, "sha256": EVIL},
        tools={EVIL: EVIL},
        opset=EVIL,
        validations=[validation(folder, **hostile, reference=EVIL)],
        evaluations=[evaluation(folder, **hostile), evaluation(folder, **hostile, dataset=EVIL)],
    )
    card = model_card(artifact, REPO)
    data = front(card)
    assert set(data) == {"library_name", "metrics", "pipeline_tag", "tags", "model-index"}
    assert card.encode("utf-8").decode("utf-8") == card
    ModelCard(card).validate()
    assert str(ModelCard(card)) == card
    body = card.split("---\n", 2)[2]
    outside_code = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", re.sub(r"```.*?```", "", body, flags=re.DOTALL))
    assert "<script" not in outside_code.replace("\\<", "")
    assert not re.search(r"(?<!\\)\]\(|(?<!\\)\*\*\\\||(?<!\\)www\.|http:", outside_code)
    assert not any(line.startswith(("---", "license:")) for line in body.splitlines())
    tables = [line for line in body.splitlines() if line.startswith("|")]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in tables}
    assert columns <= {5, 6, 10}
    assert eval_result_files(artifact)
    for path, text in eval_result_files(artifact).items():
        assert re.fullmatch(r"\.eval_results/onnxzoo-[\w.-]+\.yaml", path)
        assert len(yaml.safe_load(text)) == 1


def test_a_precision_of_a_later_version_makes_no_file(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    config["files"]["onnx/model.onnx"]["precision"] = "bf16"
    artifact = with_config(folder, files=config["files"], evaluations=[evaluation(folder, precision="bf16")])
    assert eval_result_files(artifact) == {}


def test_another_licence_is_taken_over(tmp_path: Path) -> None:
    card = model_card(read_artifact(write_artifact(tmp_path / "tiny", changes={"license": "cc-by-4.0"})))
    assert front(card)["license"] == "cc-by-4.0"
    assert "Apache" not in card


@pytest.mark.parametrize("named", ["CC-BY-NC-4.0", "AGPL-3.0"])
def test_a_licence_in_capitals_is_that_licence(named: str, tmp_path: Path) -> None:
    folder = copy("pvt_v2_nano_fashion", tmp_path / "a", license=named)
    assert front(model_card(read_artifact(folder)))["license"] == named.lower()


@pytest.mark.parametrize("named", ["Proprietary", ["mit"], "", None, 3, EVIL, "cc-by-nc-5.0"])
def test_an_unknown_licence_is_refused(named: Any, tmp_path: Path) -> None:
    folder = copy("pvt_v2_nano_fashion", tmp_path / "a", license=named)
    with pytest.raises(ArtifactError, match=r"the license in .*config\.json must be an identifier of the Hub .*, got "):
        model_card(read_artifact(folder))
    with pytest.raises(ArtifactError, match="must be an identifier of the Hub"):
        pack(folder, REPO)


def test_no_licence_is_claimed_for_other_weights(tmp_path: Path) -> None:
    card = model_card(read_artifact(write_artifact(tmp_path / "tiny")))
    assert "license" not in front(card)
    assert "The licence of these weights is not stated." in card
    assert "Apache" not in card


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", "`(empty)`"),
        ("``", "`''`"),
        ("a`[x](http://b.c)`", "`a'[x](http://b.c)'`"),
        ("``` x", "`''' x`"),
        ("a|b", r"`a\|b`"),
        ("<b>", "`<b>`"),
    ],
)
def test_labels_stay_in_their_code_spans(value: str, shown: str, tmp_path: Path) -> None:
    labels = {"0": value, "1": "x", "2": "", "3": "y"}
    card = model_card(read_artifact(write_artifact(tmp_path / "a", changes={"id2label": labels})))
    assert f"Classes: {shown}, `x`, `(empty)`, `y`." in card.splitlines()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_validated_and_measured_as_it_is(name: str) -> None:
    artifact = read_artifact(SHIPPED[name])
    against = [(one.engine, one.reference) for one in artifact.validated("fp32")]
    assert against == [(engine, what) for engine in ("openvino", "onnxruntime") for what in ("conformance", "paddle")]
    stated = registry.find(name).accuracy
    assert [(one.engine, one.images, one.top1, one.top5) for one in artifact.evaluated("fp32")] == [
        (engine, 10_000, stated.top1, stated.top5) for engine in ("openvino", "onnxruntime")
    ]
