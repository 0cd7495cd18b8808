"""The web client's library, run by Node: Python's pixels of an image, bit for bit, or the same refusals.

Decoding JPEG is the browser's part; tests/clients/test_web_page.py compares that.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from client_artifacts import DAMAGED
from client_images import (
    PHOTOS,
    SMALL,
    altered_images,
    artifact_for,
    bad_images,
    cut_images,
    differences,
    filter_specs,
    golden_cases,
    jpeg_kinds,
    oriented_kinds,
    png_kinds,
    raw_profiles,
    shapes,
    webp_kinds,
    written,
)
from pictures import MEAN, SPECS, STD
from PIL import Image
from tiny import SIZE, write_artifact
from web_client import SOURCE, WebClient, record_pixels

from onnxzoo.deploy.web import ASSETS, PAGE_FILES
from onnxzoo.deploy.web_runtime import FILES, PACKAGE, VERSION
from onnxzoo.errors import ImageError
from onnxzoo.image import preprocess
from onnxzoo.registry import INTERPOLATIONS, Preprocess
from onnxzoo.text import escaped, shortened

pytestmark = pytest.mark.slow


def assert_equal_to_python(web: WebClient, spec: Preprocess, images: Mapping[str, bytes], folder: Path) -> None:
    artifact = artifact_for(spec, folder)
    paths = written(images, folder)
    record_pixels(images, paths)
    assert differences(spec, images, web.tensors(artifact, paths)) == {}


@pytest.mark.parametrize("spec", golden_cases(), ids=str)
def test_the_golden_cases(web: WebClient, spec: Preprocess, tmp_path: Path) -> None:
    assert_equal_to_python(web, spec, golden_cases()[spec], tmp_path)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_photos(web: WebClient, spec: Preprocess, tmp_path: Path) -> None:
    assert len(PHOTOS) > 5
    assert_equal_to_python(web, spec, {path.name: path.read_bytes() for path in PHOTOS}, tmp_path)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_filter_and_shape(web: WebClient, interpolation: str, tmp_path: Path) -> None:
    for spec in filter_specs(interpolation):
        assert_equal_to_python(web, spec, shapes(), tmp_path / str(spec.crop_size))


def test_every_kind_of_png(web: WebClient, tmp_path: Path) -> None:
    assert_equal_to_python(web, SMALL, dict(png_kinds()), tmp_path)


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_orientation_as_in_python(web: WebClient, format_: str, tmp_path: Path) -> None:
    assert_equal_to_python(web, SMALL, oriented_kinds(format_), tmp_path)


def test_webp_is_turned_as_in_python(web: WebClient, tmp_path: Path) -> None:
    assert_equal_to_python(web, SMALL, webp_kinds(), tmp_path)


def test_raw_profiles_of_imagemagick(web: WebClient, tmp_path: Path) -> None:
    assert_equal_to_python(web, SMALL, raw_profiles(), tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_what_the_browser_decodes_has_the_pixels_and_nothing_else(web: WebClient, tmp_path: Path) -> None:
    """Metadata and colour profiles would make it turn the image or change its colours."""
    images = dict(jpeg_kinds()) | oriented_kinds("JPEG") | webp_kinds()
    paths = written(images, tmp_path)
    record_pixels(images, paths)
    assert all(not isinstance(one, str) for one in web.tensors(artifact_for(SMALL, tmp_path), paths))
    for (name, data), path in zip(images.items(), paths, strict=True):
        plain = Image.open(path.with_name(f"{path.name}.plain"))
        whole = Image.open(io.BytesIO(data))
        assert np.array_equal(np.asarray(plain.convert("RGB")), np.asarray(whole.convert("RGB"))), name
        assert not plain.info.keys() & {"exif", "icc_profile", "comment", "xmp"}, name


@pytest.mark.filterwarnings("ignore")
def test_bad_images_are_refused_by_name_as_in_python(web: WebClient, tmp_path: Path) -> None:
    cases = bad_images()
    spec = Preprocess(384, 384, "bicubic", MEAN, STD)
    paths = written({name: data for name, (data, _) in cases.items()}, tmp_path)
    found = web.tensors(artifact_for(spec, tmp_path), paths)
    for (name, (_, reason)), path, got in zip(cases.items(), paths, found, strict=True):
        assert isinstance(got, str), name
        assert got.startswith(str(path)[:200])
        assert reason in got, name
        if name in ("gif", "jpeg, 12 bits", "png, unknown compression of a text"):
            continue  # a platform without a decoder reads no GIF; Pillow takes the others for another format
        with pytest.raises(ImageError) as caught:
            preprocess(path, spec)
        assert reason.partition(":")[0] in str(caught.value)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_files_cut_anywhere_are_refused(web: WebClient, format_: str, tmp_path: Path) -> None:
    images = cut_images(format_)
    paths = written(images, tmp_path)
    for path in paths:  # a decoder that would accept anything, as browsers do
        path.with_name(f"{path.name}.pixels").write_bytes(bytes([9, 0, 0, 0, 9, 0, 0, 0]) + bytes(9 * 9 * 3))
    found = web.tensors(artifact_for(SMALL, tmp_path), paths)
    assert [end for end, got in zip(images, found, strict=True) if not isinstance(got, str)] == []


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_altered_bytes_give_pythons_pixels_or_a_refusal(web: WebClient, format_: str, tmp_path: Path) -> None:
    images = altered_images(format_)
    paths = written(images, tmp_path)
    record_pixels(images, paths)
    for path in paths:  # a JPEG that Pillow does not decode; libpng's part is the library's own
        if format_ == "JPEG" and not path.with_name(f"{path.name}.pixels").exists():
            path.write_bytes(b"\xff\xd8\xff\xd9")
    found = web.tensors(artifact_for(SMALL, tmp_path), paths)
    read = {name: got for (name, got) in zip(images, found, strict=True) if not isinstance(got, str)}
    assert 0 < len(read) < 300
    assert differences(SMALL, {name: images[name] for name in read}, list(read.values())) == {}


# Artifacts


def refusals(web: WebClient, folders: Sequence[Path]) -> list[dict[str, str] | None]:
    """How artifacts are refused; None for those that are not."""
    found: list[dict[str, str] | None] = json.loads(
        web.run("library.mjs", "artifacts", stdin=json.dumps(list(map(str, folders)))).stdout
    )
    return found


def test_damaged_artifacts_are_refused(web: WebClient, tmp_path: Path) -> None:
    """Those that Python refuses (test_cpp_predict.py), with the same meaning."""
    folders = {damage: write_artifact(tmp_path / str(number)) for number, damage in enumerate(DAMAGED)}
    for damage, folder in folders.items():
        DAMAGED[damage][0](folder)
    whole = write_artifact(tmp_path / "whole")
    *found, undamaged = refusals(web, [*folders.values(), whole])
    assert undamaged is None
    for (damage, folder), refusal in zip(folders.items(), found, strict=True):
        if damage == "one label too many":  # only the engine sees that the model has fewer classes
            assert refusal is None
            continue
        assert refusal is not None, damage
        assert refusal["kind"] == ("ModelNotFoundError" if damage == "no config.json" else "ArtifactError"), damage
        assert DAMAGED[damage][1] in refusal["message"]
        assert "\n" not in refusal["message"]
        if "path" not in damage:
            assert refusal["message"].startswith(str(folder)), damage


def test_numbers_and_texts_of_any_length(web: WebClient, tmp_path: Path) -> None:
    """Two megabytes of text in a config.json are read."""
    texts = ({"x": "a" * 1_900_000}, {"x": "é" * 300_000}, {"x": [0.5] * 350_000})
    folders = [write_artifact(tmp_path / str(number), changes=extra) for number, extra in enumerate(texts)]
    assert refusals(web, folders) == [None] * 3


# Parts of the library


def test_sha256_of_every_length(web: WebClient) -> None:
    lengths = [*range(200), 1000, 65_537]
    found = json.loads(web.run("library.mjs", "sha256", stdin=json.dumps(lengths)).stdout)
    expected = [hashlib.sha256(bytes(at * 7 % 256 for at in range(length))).hexdigest() for length in lengths]
    assert found == expected


def test_best_classes_are_pythons(web: WebClient) -> None:
    """Equal logits in the order of class ids; scores do not overflow."""
    for logits in ([1, 3, 3, 2], [1000, -1000, 0], [0], [-5e30, 5e30]):
        top = json.loads(web.run("library.mjs", "top", stdin=json.dumps({"logits": logits, "topK": 3})).stdout)
        values = np.array(logits, np.float32).astype(np.float64)
        scores = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
        order = np.argsort(-values, kind="stable")[:3]
        assert [one["classId"] for one in top] == order.tolist()
        np.testing.assert_allclose([one["score"] for one in top], scores[order], rtol=1e-12)


def test_conformance_vectors_are_read_or_refused(web: WebClient, tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    logits = np.arange(8, dtype=np.float32).reshape(2, 4)
    good = {"names": np.array(["a", "b"]), "pixel_values": images, "logits": logits}
    buffers = {}
    for name, save, arrays in (
        ("good", np.savez_compressed, good),
        ("stored", np.savez, good),
        ("no logits", np.savez, {"pixel_values": images}),
        ("float64", np.savez, good | {"logits": logits.astype(np.float64)}),
        ("another size", np.savez, good | {"pixel_values": images[:, :, 1:]}),
        ("NaN", np.savez, good | {"logits": logits * np.nan}),
        ("no inputs", np.savez, good | {"pixel_values": images[:0], "logits": logits[:0]}),
        ("Fortran order", np.savez, good | {"logits": np.asfortranarray(np.stack([logits[0]] * 3).T[:2])}),
    ):
        stream = io.BytesIO()
        save(stream, **arrays)
        buffers[name] = stream.getvalue()
    whole = buffers["good"]
    buffers |= {"empty": b"", "text": b"x" * 999} | {f"cut {end}": whole[:end] for end in (10, 500, len(whole) - 1)}
    buffers["altered"] = whole[:2000] + b"\xff" * 50 + whole[2050:]
    for name, data in buffers.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(data)
        done = web.run("library.mjs", "vectors", path)
        if name in ("good", "stored"):
            sums = [float(one.astype(np.float64).sum()) for one in images]
            assert json.loads(done.stdout) == {"sum": pytest.approx(sums), "logits": logits.tolist()}
            continue
        assert "cannot be read" in json.loads(done.stdout)["error"], name


def test_an_engine_is_believed_only_with_the_recorded_answers(web: WebClient) -> None:
    expected = [1.0, 5.0, 4.9999, -3.0]
    for logits, reason in (
        (expected, None),
        ([1.00015, 5.0, 4.9999, -3.0], None),
        ([1.0, 4.9999, 5.0, -3.0], None),  # the margin is within the tolerance
        ([1.0003, 5.0, 4.9999, -3.0], "logits differ by up to 0.000300 (tolerance 0.0001)"),
        ([1.0, 5.0, 4.9999], "there are 3 logits, expected 4"),
        ([1.0, None, 4.9999, -3.0], "logits are NaN or infinite"),
    ):
        done = web.run("library.mjs", "difference", stdin=json.dumps({"logits": logits, "expected": expected}))
        assert json.loads(done.stdout) == {"reason": reason}, logits


def test_webgpu_with_wrong_answers_is_not_used(web: WebClient, tmp_path: Path) -> None:
    """The runtime is a double: what it computes is a constant, and wasm is right."""
    for answers, provider, refusal in (
        ("right", "webgpu", None),
        ("wrong", "wasm", "webgpu gives wrong results here: logits differ by up to"),
        ("NaN", "wasm", "logits are NaN or infinite"),
        ("no adapter", "wasm", "no available adapters"),
        ("no vectors", "wasm", None),
    ):
        done = json.loads(web.run("library.mjs", "providers", answers).stdout)
        assert done["provider"] == provider, answers
        assert refusal is None or refusal in done["refusal"], answers
        assert (done.get("refusal") is None) == (refusal is None), answers
        assert done["open"] == [provider]  # the other session was released


def test_text_is_escaped_as_in_python(web: WebClient) -> None:
    texts = ["plain", "é 猫", "a\nb\t\x1b[31m", "\u202eabc", "\x7f\x85\xa0\u2028", "a\u200db", "x" * 800, "\U0001f408"]
    found = json.loads(web.run("library.mjs", "text", stdin=json.dumps(texts)).stdout)
    assert found == [shortened(escaped(text)) for text in texts]


def test_the_lock_names_no_registry() -> None:
    lock = (SOURCE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


# The page


def test_the_page_in_the_package_is_what_its_sources_give(web: WebClient, tmp_path: Path) -> None:
    """`npm run page` in clients/web builds it."""
    command = [web.node, SOURCE / "node_modules" / "vite" / "bin" / "vite.js", "build", "--outDir", tmp_path]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built.keys() == set(PAGE_FILES)
    for name, data in built.items():
        assert data == ASSETS.joinpath(name).read_bytes(), f"{name} is stale: npm run page"


def test_types(web: WebClient) -> None:
    for project in ("page/tsconfig.json", "page/tsconfig.worker.json"):
        command = [SOURCE / "node_modules" / ".bin" / "tsc", "--noEmit", "-p", SOURCE / project]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_example_in_the_readme_compiles(web: WebClient, tmp_path: Path) -> None:
    readme = (SOURCE / "README.md").read_text(encoding="utf-8")
    example = readme.split("```ts\n")[1].split("```")[0]
    (tmp_path / "example.ts").write_text(f"declare const input: {{ files: FileList }};\n{example}", encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(SOURCE / "node_modules")
    paths = {"onnxzoo": [f"{web.folder}/index.d.ts"], "onnxruntime-web": ["./node_modules/onnxruntime-web/types.d.ts"]}
    options = {"moduleResolution": "Bundler", "module": "ESNext", "noEmit": True, "skipLibCheck": True, "paths": paths}
    options |= {"target": "ES2022", "strict": True, "lib": ["ES2022", "DOM"], "types": []}
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["example.ts"]}))
    command = [SOURCE / "node_modules" / ".bin" / "tsc", "-p", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_one_version_of_the_runtime() -> None:
    package = json.loads((SOURCE / "package.json").read_text(encoding="utf-8"))
    assert package["devDependencies"][PACKAGE] == package["peerDependencies"][PACKAGE] == VERSION
    worker = (SOURCE / "page" / "worker.ts").read_text(encoding="utf-8")
    for script in ("ort.wasm.min.mjs", "ort.webgpu.min.mjs"):
        assert script in worker
        assert script in {file.name for file in FILES}
