"""Predicting with a model: readable answers, strict inputs, no failure swallowed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from tiny import LABELS, SIZE, tiny_embedding, tiny_graph, tiny_logits, tiny_outputs, write_artifact

import onnxzoo
from onnxzoo.artifact.folder import INPUT_NAME, read_artifact
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import ArtifactError, EngineError, ImageError, InputError
from onnxzoo.image import load_rgb
from onnxzoo.loading import load
from onnxzoo.model import BATCH_SIZE, Model, top_classes
from onnxzoo.results import Array, ClassScore, Prediction, TensorSpec


def fake_model(folder: Path, **outputs: Array) -> Model:
    """The tiny model on a fake engine; `outputs` replace what it computes."""

    def compute(batch: Array) -> Mapping[str, Array]:
        return {**tiny_outputs(batch), **outputs}

    return Model(read_artifact(folder), FakeEngine(compute))


@pytest.mark.parametrize("engine", ["auto", "openvino", "onnxruntime"])
def test_a_red_image_is_red(tiny, photos, engine):
    with load(tiny, engine=engine) as model:
        best = model.predict(photos / "red.png")
        assert (best.label, best.class_id) == ("red", 1)
        assert best.score > 0.99
        assert [one.label for one in model.predict([photos / f"{name}.png" for name in LABELS])] == list(LABELS)


def test_every_kind_of_image_gives_the_same_answer(tiny, photos):
    model = fake_model(tiny)
    path = photos / "blue.png"
    expected = model.predict(path)
    assert expected.label == "blue"
    data = path.read_bytes()
    pixels = np.asarray(Image.open(path))
    assert model.predict(str(path)) == expected
    assert model.predict(data) == expected
    assert model.predict(io.BytesIO(data)) == expected
    assert model.predict(Image.open(path)) == expected
    assert model.predict(pixels) == expected
    assert model.predict((str(path), data, pixels)) == [expected] * 3


def test_what_a_model_says_about_itself(tiny):
    model = load(tiny, engine="onnxruntime")
    assert (model.name, model.image_size, model.labels) == ("tiny", SIZE, LABELS)
    assert model.engine.name == "onnxruntime"
    assert model.artifact.folder == tiny
    assert repr(model) == "Model('tiny', engine='onnxruntime', device='CPU', precision='fp32')"


def test_scores_are_a_softmax_best_first(tiny, photos):
    best = fake_model(tiny).predict(photos / "green.png", top_k=4)
    scores = [one.score for one in best.top]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-12)
    assert {one.label for one in best.top} == set(LABELS)


def test_a_prediction_is_a_json_document(tiny, photos):
    best = onnxzoo.load(tiny).predict(photos / "red.png", top_k=2)
    document = best.to_dict()
    assert [one["label"] for one in document["top"]] == ["red", best.top[1].label]
    assert document["top"][0] == {"class_id": 1, "label": "red", "score": best.score}
    assert json.loads(best.to_json()) == document
    assert "\n" not in best.to_json()
    assert best.to_json(indent=2).startswith('{\n  "top": [')
    odd = Prediction((ClassScore(0, 'a "b"\n\ud800é', 0.5),))
    assert odd.to_json().isascii()
    assert json.loads(odd.to_json())["top"][0]["label"] == odd.label


def test_top_k_is_checked_and_stops_at_the_number_of_classes(tiny, photos):
    model = fake_model(tiny)
    image = photos / "red.png"
    assert len(model.predict(image, top_k=1).top) == 1
    assert len(model.predict(image, top_k=1000).top) == 4
    assert len(model.predict(image, top_k=np.int64(2)).top) == 2  # type: ignore[call-overload]
    for wrong in (0, -1, 2.0, "3", None, True):
        with pytest.raises(InputError, match="top_k must be a whole number from 1"):
            model.predict(image, top_k=wrong)


def test_a_list_runs_in_batches_in_its_order(tiny, photos):
    engine = FakeEngine(tiny_outputs)
    model = Model(read_artifact(tiny), engine)
    names = [LABELS[i % 4] for i in range(2 * BATCH_SIZE + 1)]
    assert [one.label for one in model.predict([photos / f"{name}.png" for name in names])] == names
    assert engine.batches == [BATCH_SIZE, BATCH_SIZE, 1]


def test_every_iterable_of_images_gives_a_list(tiny, photos):
    model = fake_model(tiny)
    paths = [photos / f"{name}.png" for name in LABELS]
    arrays = np.stack([np.asarray(load_rgb(path)) for path in paths])
    for images in ((path for path in paths), map(str, paths), dict.fromkeys(paths).keys(), iter(paths), arrays):
        assert [one.label for one in model.predict(images)] == list(LABELS)
    assert model.embed(path for path in paths).shape == (4, 3)
    assert model.predict(iter([])) == []
    assert model.predict(bytearray(paths[1].read_bytes())).label == LABELS[1]
    assert model.predict(memoryview(paths[1].read_bytes())).label == LABELS[1]
    for wrong in ({"a": paths[0]}, 3, None):
        with pytest.raises(ImageError, match="is not an image"):
            model.predict(wrong)


def test_a_generator_is_read_batch_by_batch(tiny, photos):
    taken = []

    def images():
        for number in range(BATCH_SIZE + 1):
            taken.append(number)
            yield photos / ("bad.png" if number == 0 else "red.png")

    (photos / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        fake_model(tiny).predict(images())
    assert len(taken) == BATCH_SIZE


def test_a_list_runs_in_batches_that_the_engine_takes_whole(tiny, photos):
    """Else every batch would be cut into one that is full and a rest."""
    engine = FakeEngine(tiny_outputs, max_batch=3)
    model = Model(read_artifact(tiny), engine, batch_size=4)
    assert [one.label for one in model.predict([photos / "red.png"] * 8)] == ["red"] * 8
    assert engine.batches == [3, 3, 2]


def test_five_classes_are_what_predict_gives_by_itself(photos):
    with load("pvt_v2_nano_fashion") as model:
        assert len(model.predict(photos / "red.png").top) == 5


def test_in_a_forked_process_a_model_neither_runs_nor_closes(tiny, batch, monkeypatch):
    """It would wait for the engine's threads, which a fork does not have."""
    model = fake_model(tiny)
    with monkeypatch.context() as forked:
        forked.setattr("onnxzoo.model.os.getpid", lambda: -1)
        with pytest.raises(
            EngineError, match=r"tiny was loaded by process \d+, and this one \(-1\) was forked from it"
        ):
            model.logits(batch)
        model.close()
    np.testing.assert_array_equal(model.logits(batch), tiny_logits(batch))


def test_no_images_give_no_predictions(tiny):
    model = fake_model(tiny)
    assert model.predict([]) == []
    assert model.embed([]).shape == (0, 3)
    with pytest.raises(InputError, match="top_k"):
        model.predict([], top_k=0)


def test_one_bad_image_of_a_list_is_named(tiny, photos):
    (photos / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        fake_model(tiny).predict([photos / "red.png", photos / "bad.png"])


def test_embed_gives_the_features_before_the_head(tiny, photos):
    model = load(tiny)
    vector = model.embed(photos / "red.png")
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, [1, 0, 0], atol=1e-5)
    many = model.embed([photos / f"{name}.png" for name in LABELS] * 3)
    assert many.shape == (12, 3)
    np.testing.assert_allclose(many[:4], [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-5)


def test_logits_of_a_batch(tiny, batch):
    model = load(tiny)
    np.testing.assert_allclose(model.logits(batch), tiny_logits(batch), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.logits(batch[::2]), tiny_logits(batch[::2]), rtol=1e-5, atol=1e-5)
    empty = model.logits(batch[:0])
    assert (empty.shape, empty.dtype) == ((0, 4), np.float32)


@pytest.mark.parametrize(("batch_size", "sizes"), [(None, [8] * 125), (600, [600, 400])])
@pytest.mark.parametrize("engine", ["onnxruntime", "cuda"])
def test_a_large_batch_runs_in_parts_on_onnxruntime(ort, tiny, batch, engine, batch_size, sizes):
    model = load(tiny, engine=engine, batch_size=batch_size)
    ran = ort.sessions[-1].batches
    ran.clear()  # the engine may have tried a run
    many = np.resize(batch, (1000, *batch.shape[1:]))
    np.testing.assert_allclose(model.logits(many), tiny_logits(many), rtol=1e-5, atol=1e-5)
    assert ran == sizes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((1, 3, 32, 32)), r"got float64; call \.astype\(np\.float32\)"),
        (np.zeros((1, 3, 32, 32), np.float16), "got float16"),
        (np.zeros((1, 32, 32, 3), np.uint8), "uint8 of shape .* looks like pixels"),
        (np.zeros((1, 32, 32, 3), np.float32), "looks like pixels"),
        (np.zeros((3, 32, 32), np.float32), r"add the batch axis: batch\[None\]"),
        (np.zeros((1, 3, 64, 32), np.float32), r"shape \(N, 3, 32, 32\), got shape \(1, 3, 64, 32\)"),
        (np.zeros((0, 3), np.float32), r"got shape \(0, 3\)"),
        ([[1.0]], "got list"),
        ("cat.jpg", r"got str; for images use predict\(\)"),
    ],
)
def test_logits_refuses_what_is_not_a_preprocessed_batch(tiny, wrong, message):
    with pytest.raises(InputError, match=message):
        fake_model(tiny).logits(wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_an_error(tiny, photos, batch, value):
    logits = np.zeros((1, 4), np.float32)
    logits[0, 2] = value
    model = fake_model(tiny, logits=logits, embedding=np.full((1, 3), value, np.float32))
    with pytest.raises(EngineError, match="tiny: 1 of 4 logits are NaN or infinite; fake computed them from finite"):
        model.logits(batch[:1])
    with pytest.raises(EngineError, match="3 of 3 embedding are NaN"):
        model.embed(photos / "red.png")
    with pytest.raises(EngineError, match="NaN"):
        model.predict(photos / "red.png")


def test_inputs_that_are_not_finite_are_blamed(tiny, batch):
    batch[0, 0, 0, 0] = np.nan
    with pytest.raises(EngineError, match="so are the inputs"):
        fake_model(tiny).logits(batch)


def test_a_failing_engine_is_not_swallowed(tiny, photos):
    def fail(_: Array) -> Mapping[str, Array]:
        raise MemoryError("cannot allocate")

    with pytest.raises(EngineError, match="cannot allocate"):
        Model(read_artifact(tiny), FakeEngine(fail)).predict(photos / "red.png")


def test_outputs_of_the_wrong_shape_or_name_are_an_error(tiny, batch):
    with pytest.raises(EngineError, match=r"logits has shape \(3, 5\), expected \(3, 4\)"):
        fake_model(tiny, logits=np.zeros((3, 5), np.float32)).logits(batch)
    nameless = Model(read_artifact(tiny), FakeEngine(lambda batch: {"embedding": tiny_embedding(batch)}))
    with pytest.raises(EngineError, match="no output 'logits'; its outputs are embedding"):
        nameless.logits(batch)


def with_input_type(kind: int) -> onnx.ModelProto:
    """The tiny graph with an input of another type, which it casts itself: it runs, if the caller gives that type."""
    model = tiny_graph()
    graph = model.graph
    graph.input[0].type.tensor_type.elem_type = kind
    graph.node[0].input[0] = "cast"
    graph.node.insert(0, helper.make_node("Cast", [INPUT_NAME], ["cast"], to=TensorProto.FLOAT))
    return model


def with_second_input() -> onnx.ModelProto:
    """The tiny graph with an input that its embedding is multiplied by."""
    model = tiny_graph()
    model.graph.input.append(helper.make_tensor_value_info("factor", TensorProto.FLOAT, ["batch", 3]))
    model.graph.node[1].output[0] = "mean"
    model.graph.node.insert(2, helper.make_node("Mul", ["mean", "factor"], ["embedding"]))
    return model


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            with_input_type(TensorProto.DOUBLE),
            r"has 'pixel_values' as element type 11 .*, expected float32 \(N, 3, 32, 32\)",
        ),
        (
            with_input_type(TensorProto.UINT8),
            r"has 'pixel_values' as element type 2 .*, expected float32 \(N, 3, 32, 32\)",
        ),
        (with_second_input(), r"has the inputs \['factor', 'pixel_values'\], expected \['pixel_values'\]"),
        (tiny_graph(batch=1), r"free batch size, the model has float32 \(1, 3, 32, 32\)"),
        (tiny_graph(input_name="x"), r"has the inputs \['x'\], expected \['pixel_values'\]"),
    ],
)
def test_a_graph_that_does_not_fit_its_description_is_refused(tmp_path, graph, message):
    folder = write_artifact(tmp_path / "wrong", model=graph)
    for trust in ("known", "any"):
        with pytest.raises(ArtifactError, match=message):
            load(folder, trust=trust)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {INPUT_NAME: TensorSpec((None, 3, SIZE, SIZE), "float64")},
            "the input must be float32 .*, the model has float64",
        ),
        ({INPUT_NAME: TensorSpec((None, 3, SIZE, 16), "float32")}, r"the model has float32 \(None, 3, 32, 16\)"),
        ({INPUT_NAME: TensorSpec((None, SIZE), "float32")}, r"the model has float32 \(None, 32\)"),
        ({}, r"expected one input 'pixel_values', the model has \[\]"),
    ],
)
def test_an_engine_that_says_it_takes_something_else_is_refused_and_closed(tiny, inputs, message):
    class Odd(FakeEngine):
        closed = False

        @property
        def inputs(self):
            return inputs

        def close(self):
            self.closed = True

    engine = Odd(tiny_outputs)
    with pytest.raises(ArtifactError, match=message):
        Model(read_artifact(tiny), engine)
    assert engine.closed


FITTING = {"logits": TensorSpec((None, 4), "float32"), "embedding": TensorSpec((None, 3), "float32")}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"embedding": FITTING["embedding"]}, r"expected an output 'logits', the model has \['embedding'\]"),
        ({}, r"expected an output 'logits', the model has \[\]"),
        (FITTING | {"logits": TensorSpec((None, 5), "float32")}, r"'logits' must be float32 \(None, 4\) .*\(None, 5\)"),
        (FITTING | {"logits": TensorSpec((None, 4, 1), "float32")}, r"the model has float32 \(None, 4, 1\)"),
        (FITTING | {"logits": TensorSpec((None, 4), "int64")}, r"the model has int64 \(None, 4\); export it again"),
        (FITTING | {"embedding": TensorSpec((None, 2), "float32")}, r"'embedding' must be float32 \(None, 3\)"),
    ],
)
def test_an_engine_whose_outputs_are_not_the_artifacts_is_refused_and_closed(tiny, batch, outputs, message):
    engine = FakeEngine(tiny_outputs, outputs=outputs)
    with pytest.raises(ArtifactError, match=message):
        Model(read_artifact(tiny), engine)
    with pytest.raises(EngineError, match="closed"):
        engine.run({INPUT_NAME: batch})


@pytest.mark.parametrize(
    "outputs",
    [
        FITTING,
        FITTING | {"more": TensorSpec((None,), "int64")},
        {"logits": FITTING["logits"]},
        # What the library does not say before a run, and another precision, which the results are converted from.
        {"logits": TensorSpec((), "float32"), "embedding": TensorSpec((None, None), "float16")},
    ],
)
def test_outputs_that_may_be_the_artifacts_are_taken(tiny, batch, outputs):
    model = Model(read_artifact(tiny), FakeEngine(tiny_outputs, outputs=outputs))
    np.testing.assert_array_equal(model.logits(batch), tiny_outputs(batch)["logits"])


def test_an_altered_model_file_is_never_loaded(tiny):
    file = tiny / "onnx" / "model.onnx"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.onnx was altered: its sha256 is"):
        load(tiny)


def test_a_precision_that_is_not_there_lists_those_that_are(tiny):
    with pytest.raises(InputError, match="'openvino' computes in int8 from an ONNX file in int8; the model has fp32"):
        load(tiny, precision="int8", engine="openvino")
    with pytest.raises(InputError, match=r"fp64' is not a precision \(there are fp32, auto, fp16, bf16, int8\)"):
        load(tiny, precision="fp64")


def test_a_model_is_loaded_by_its_name(cache, photos):
    write_artifact(cache / "models" / "swinv2_tiny_w8", name="swinv2_tiny_w8")
    model = onnxzoo.load("swinv2_tiny_window8_256")
    assert model.predict(photos / "red.png").label == "red"


def test_a_closed_model_says_so(tiny, photos):
    model = load(tiny)
    model.close()
    model.close()
    with pytest.raises(EngineError, match="is closed; load the model again"):
        model.predict(photos / "red.png")


def test_threads_share_a_model(tiny, photos):
    model = load(tiny)
    names = [LABELS[i % 4] for i in range(80)]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda name: model.predict(photos / f"{name}.png").label, names)
        assert list(answers) == names


def test_many_equal_scores_come_in_the_order_of_class_ids_too():
    """Sorting a few values is stable whatever the algorithm."""
    logits = np.random.default_rng(0).integers(0, 4, (3, 1000)).astype(np.float32)
    labels = [str(i) for i in range(1000)]
    for row, best in zip(logits, top_classes(logits, labels, 1000), strict=True):
        assert [one.class_id for one in best.top] == sorted(range(1000), key=lambda i: (-row[i], i))


def test_equal_scores_come_in_the_order_of_class_ids():
    (best,) = top_classes(np.array([[0, 5, 5, 0]], np.float32), LABELS, 4)
    assert [one.class_id for one in best.top] == [1, 2, 0, 3]


def test_huge_logits_do_not_overflow():
    (best,) = top_classes(np.array([[3e38, -3e38, 0, 3e38]], np.float32), LABELS, 4)
    assert [one.score for one in best.top] == [0.5, 0.5, 0, 0]
