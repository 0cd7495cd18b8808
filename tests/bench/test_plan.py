"""What can be measured, and what is refused before anything is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import write_artifact

from onnxzoo.bench.plan import MOST_IMAGES, Settings, plan, readable_images
from onnxzoo.engines import nvidia
from onnxzoo.errors import EngineUnavailableError, ImageError, InputError
from onnxzoo.registry import Preprocess

SHIPPED = "pvt_v2_nano_fashion"
SPEC = Preprocess(36, 32, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "driver_fault", lambda: "no NVIDIA driver")


def cases(*models: str | Path, **options: Any) -> list[tuple[tuple[str, str], ...]]:
    return [subject.cases for subject in plan(list(models), Settings(**options)).subjects]


def test_by_default_every_engine_that_may_work_here_in_fp32() -> None:
    planned = plan([SHIPPED], Settings())
    assert planned.subjects[0].cases == (("openvino", "fp32"), ("onnxruntime", "fp32"))
    assert planned.skipped == dict.fromkeys(("tensorrt", "tensorrt-rtx", "cuda"), "no NVIDIA driver")


def test_named_engines_in_all_precisions_and_none_twice() -> None:
    found = cases(SHIPPED, engines=("onnxruntime", "auto", "onnxruntime"), precisions=("int8", "fp32"))
    assert found == [(("onnxruntime", "int8"), ("onnxruntime", "fp32"), ("auto", "int8"), ("auto", "fp32"))]


def test_a_model_named_twice_is_measured_once(tiny: Path) -> None:
    assert len(cases(tiny, SHIPPED, tiny)) == 2


def test_an_engine_without_the_precision_is_left_out_unless_it_was_named() -> None:
    planned = plan([SHIPPED], Settings(precisions=("bf16",)))
    assert planned.subjects[0].cases == (("openvino", "bf16"), ("onnxruntime", "bf16"))
    planned = plan([SHIPPED], Settings(precisions=("int8",)))
    assert planned.subjects[0].cases == (("openvino", "int8"), ("onnxruntime", "int8"))


@pytest.mark.parametrize("engines", [(), ("onnxruntime",), ("auto",)])
def test_a_precision_that_the_model_lacks_is_refused_with_those_it_has(tiny: Path, engines: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        plan([tiny], Settings(engines=engines, precisions=("fp32", "int8")))
    assert "tiny has no file for int8" in str(caught.value)
    assert f"it has fp32; make one: onnxzoo quantize {tiny} --precision int8" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engines": ("openvno",)}, "did you mean 'openvino'"),
        ({"engines": ("exact",)}, "is the reference"),
        ({"precisions": ("int4",)}, "'int4' is not a precision"),
        ({"batch_sizes": (0,)}, "batch_size must be a whole number from 1, got 0"),
        ({"threads": 0}, "threads must be a whole number from 1, got 0"),
        ({"samples": 0}, "samples must be a whole number from 1, got 0"),
        ({"precisions": ()}, "at least one precision"),
        ({"engines": ("cuda",), "precisions": ("int8",)}, "has no precision 'int8'"),
    ],
)
def test_bad_requests_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan([SHIPPED], Settings(**options))


def test_without_any_engine_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxzoo.engines.onnxruntime import OnnxRuntimeEngine
    from onnxzoo.engines.openvino import OpenVINOEngine

    for kind in (OnnxRuntimeEngine, OpenVINOEngine):
        monkeypatch.setattr(kind, "skip_reason", staticmethod(lambda model, options: "not on this machine"))
    with pytest.raises(EngineUnavailableError, match=r"no engine can be used here: .*not on this machine"):
        plan([SHIPPED], Settings())


def test_the_models_work_is_known_only_for_the_registrys_architecture(tmp_path: Path) -> None:
    subject = plan([SHIPPED], Settings()).subjects[0]
    assert subject.gmacs == pytest.approx(0.0048, rel=0.02)
    # Another architecture under a known name.
    other = write_artifact(tmp_path / "other", name=SHIPPED)
    assert plan([other], Settings()).subjects[0].gmacs is None


def test_images_that_can_be_read_are_found_and_others_told(photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    told: list[ImageError] = []
    found = readable_images(photos, SPEC, told.append)
    assert [Path(path).name for path in found] == ["black.png", "blue.png", "green.png", "red.png"]
    assert len(told) == 1
    assert "broken.png" in str(told[0])


def test_of_many_images_some_are_taken_evenly(tmp_path: Path, photos: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(2 * MOST_IMAGES):
        (many / f"{number:03}.png").symlink_to(photos / "red.png")
    found = readable_images(many, SPEC, lambda error: None)
    assert len(found) == MOST_IMAGES
    assert [Path(found[0]).name, Path(found[-1]).name] == ["000.png", f"{2 * MOST_IMAGES - 1:03}.png"]


@pytest.mark.parametrize(
    ("broken", "message"), [(False, "holds no images"), (True, "none of the 1 images in .* can be")]
)
def test_a_folder_without_a_readable_image_is_refused(tmp_path: Path, broken: bool, message: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    if broken:
        (folder / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=message):
        readable_images(folder, SPEC, lambda error: None)
