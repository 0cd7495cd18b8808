"""The site that `onnxzoo web` writes, in a real Chromium: Python's answers, and one sentence for whatever is wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from client_images import PHOTOS, golden_cases, jpeg_kinds, oriented_kinds, webp_kinds
from pictures import encoded, photo, with_alpha
from tiny import write_artifact
from web_browser import Page, Server, address, served
from web_client import WebClient

import onnxzoo
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.hub import shipped_models
from onnxzoo.image import load_rgb, preprocess_batch

pytestmark = pytest.mark.slow

Visit = Callable[..., Page]
CAT = next(path for path in PHOTOS if path.name == "chelsea.jpg")


def images(folder: Path) -> list[Path]:
    """The photos, and the golden images of all kinds."""
    found = list(PHOTOS)
    for number, data in enumerate(data for cases in golden_cases().values() for data in cases.values()):
        found.append(folder / f"golden {number}")
        found[-1].write_bytes(data)
    return found


# Answers


def test_the_answers_are_pythons(server: Server, visit: Visit, tmp_path: Path) -> None:
    page = visit(address(server))
    assert page.ready() == ""
    for folder in shipped_models():
        page.run("await page.selectOption('#model', given.name)", name=folder.name)
        page.wait(f"text('status').startsWith('{folder.name} is ready')")
        spec = read_artifact(folder).preprocess
        with onnxzoo.load(str(folder), engine="onnxruntime") as model:
            for path in images(tmp_path):
                found, expected = page.classified(path), model.predict(path, top_k=5)
                assert isinstance(found, dict), found
                logits = model.logits(preprocess_batch([path], spec))[0]
                np.testing.assert_allclose(found["logits"], logits, rtol=1e-5, atol=1e-5, err_msg=path.name)
                assert [one["label"] for one in found["top"]] == [one.label for one in expected.top]
    assert page.run("return complaints") == []
    shown = page.run("return page.locator('#results li').allInnerTexts()")
    assert [line.split("\n")[0] for line in shown] == [one.label for one in expected.top]
    assert shown[0].endswith(f"{expected.score * 100:.1f} %")
    assert page.text("spoken").startswith(f"Most likely: {expected.label}, {expected.score * 100:.1f} %; ")
    assert " ms: image " in page.text("times")


def test_another_model_classifies_the_image_that_is_shown(server: Server, visit: Visit) -> None:
    page = visit(address(server))
    page.ready()
    first = page.classified(CAT)
    page.run("await page.evaluate(() => { window.answers = []; }); await page.selectOption('#model', { index: 1 })")
    second = page.answer(CAT.name)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["logits"] != second["logits"]
    assert page.run("return page.locator('#results li').count()") == 5


# Decoding


@pytest.fixture
def module(site: Path, web: WebClient, tmp_path: Path) -> Iterator[str]:
    """The address of a site that also has the library, in `module/`."""
    shutil.copytree(site, tmp_path / "site")
    shutil.copytree(web.folder, tmp_path / "site" / "module")
    with served(tmp_path / "site") as found:
        yield address(found)


DECODE = """
    return page.evaluate(async (data) => {
      const zoo = await import("/module/index.js");
      const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
      const { width, height, pixels } = await zoo.decodeImage(bytes, "the image", zoo.browserPixels);
      return [height, width, btoa(Array.from(pixels, (one) => String.fromCharCode(one)).join(""))];
    }, given.data);
"""


def test_pixels_are_pythons(module: str, visit: Visit) -> None:
    """Of every kind of JPEG, and of formats that only the browser reads. Only CMYK is rounded otherwise."""
    page = visit(module)
    rgb = photo((40, 61))
    images = dict(jpeg_kinds()) | webp_kinds() | {path.name: path.read_bytes() for path in PHOTOS[:2]}
    images |= {
        "AVIF": encoded(rgb, "AVIF", quality=80),
        "AVIF, alpha": encoded(with_alpha(rgb), "AVIF", quality=80),
        "BMP": encoded(rgb, "BMP"),
        "GIF": encoded(rgb.quantize(64), "GIF"),
    }
    images |= {name: data for name, data in oriented_kinds("JPEG").items() if name.startswith("EXIF: orientation")}
    for name, data in images.items():
        height, width, found = page.run(DECODE, data=base64.b64encode(data).decode())
        pixels = np.frombuffer(base64.b64decode(found), np.uint8).reshape(height, width, 3).astype(int)
        expected = np.asarray(load_rgb(data))
        assert pixels.shape == expected.shape, name
        assert np.abs(pixels - expected).max() <= (1 if name.startswith("CMYK") else 0), name


# Ways to give an image


def test_an_image_is_dropped_or_pasted(server: Server, visit: Visit) -> None:
    page = visit(address(server))
    page.ready()
    for kind in ("drop", "paste"):
        page.run(
            """
            await page.evaluate(async ({ kind, data }) => {
              window.answers = [];
              const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
              const transfer = new DataTransfer();
              if (bytes.length) transfer.items.add(new File([bytes], `${kind}.png`, { type: "image/png" }));
              const event = kind === "drop" ? new DragEvent(kind, { dataTransfer: transfer, bubbles: true })
                : new ClipboardEvent(kind, { clipboardData: transfer, bubbles: true });
              document.body.dispatchEvent(event);
            }, given);
            """,
            kind=kind,
            data=base64.b64encode(encoded(photo())).decode(),
        )
        found = page.answer(f"{kind}.png")
        assert isinstance(found, dict), found
        page.run(
            "await page.evaluate((kind) => document.body.dispatchEvent("
            "new (kind === 'drop' ? DragEvent : ClipboardEvent)(kind, { bubbles: true })), given.kind)",
            kind=kind,
        )
        page.wait("text('error')")
        assert page.text("error").startswith("There is no image in what was ")
        assert page.run("return page.locator('#results').isVisible()") is False


def test_the_camera_gives_a_picture(server: Server, visit: Visit) -> None:
    page = visit(address(server))
    page.ready()
    page.run("await page.click('#start'); await page.waitForSelector('#video', { state: 'visible' })")
    assert page.run("return page.evaluate(() => document.activeElement.id)") == "take"
    page.wait("document.getElementById('video').videoWidth > 0")
    page.run("await page.evaluate(() => { window.answers = []; }); await page.keyboard.press('Enter')")
    found = page.answer("picture of the camera")
    assert isinstance(found, dict), found
    assert page.run("return page.locator('#video').isVisible()") is False
    assert page.run("return page.evaluate(() => document.activeElement.id)") == "start"
    assert page.run("return page.evaluate(() => document.getElementById('video').srcObject)") is None


def test_a_refused_camera_is_a_sentence(server: Server, visit: Visit) -> None:
    page = visit(address(server))
    page.ready()
    page.run(
        """
        await page.evaluate(() => {
          navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
        });
        await page.click("#start");
        """
    )
    page.wait("text('error')")
    assert page.text("error") == "The browser may not use the camera; allow it for this page."


# What is wrong


def test_bad_images_get_one_sentence_and_no_answer(server: Server, visit: Visit, tmp_path: Path) -> None:
    page = visit(address(server))
    page.ready()
    jpeg = encoded(photo((300, 200)), "JPEG")
    for name, data, reason in (
        ("empty.jpg", b"", "empty.jpg is empty: no bytes to read an image from"),
        ("text.png", b"hello" * 99, "is not an image in a format that this browser reads; save it as PNG or JPEG."),
        ("cut.jpg", jpeg[: len(jpeg) // 2], "cut.jpg is damaged or incomplete: it ends before its end marker"),
        ("bits.jpg", jpeg[:600] + b"\xff\xd9", "is damaged or incomplete"),
        ("cut.png", encoded(photo())[:-40], "cut.png is damaged or incomplete: image file is truncated"),
        ("huge.jpg", jpeg.replace(b"\0\xc8\x01\x2c", b"\xff\xff\xff\xff"), "is too large: 65535 x 65535 pixels"),
        ("<b>x</b>\u202e.gif", b"GIF89a", "is not an image in a format"),
    ):
        path = tmp_path / name.replace("/", "_")
        path.write_bytes(data)
        assert isinstance(page.classified(CAT), dict)
        error = page.classified(path)
        assert isinstance(error, str), name
        assert reason in error
        assert "\n" not in error
        assert "\u202e" not in error
        assert page.run("return page.locator('#results').isVisible()") is False
    assert isinstance(page.classified(CAT), dict)  # and goes on


def damaged(folder: Path, how: str) -> None:
    model, config = folder / "onnx" / "model.onnx", folder / "config.json"
    if how == "altered":
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
    elif how == "shorter":
        model.write_bytes(model.read_bytes()[:-1])
    elif how == "missing":
        model.unlink()
    elif how == "not JSON":
        config.write_text("<!doctype html>")
    elif how == "no config.json":
        config.unlink()
    elif how == "not a model":
        model.write_bytes(b"no model")
        listed = json.loads(config.read_text())
        listed["files"]["onnx/model.onnx"] |= {"bytes": 8, "sha256": hashlib.sha256(b"no model").hexdigest()}
        config.write_text(json.dumps(listed))
    elif how == "other classes":
        listed = json.loads(config.read_text())
        listed["id2label"]["4"] = "more"
        config.write_text(json.dumps(listed))


DAMAGES = {
    "altered": "onnx/model.onnx was altered: its sha256 is ",
    "shorter": "onnx/model.onnx has ",
    "missing": "onnx/model.onnx is missing, though config.json lists it",
    "not JSON": "config.json cannot be read: it is not JSON",
    "no config.json": "is not an artifact: it has no config.json",
    "not a model": "ONNX Runtime (wasm) rejects the model of tiny: ",
    "other classes": "does not fit its config.json: 'logits' is float32 of shape ",
}


def test_damaged_models_get_one_sentence_and_no_answer(site: Path, visit: Visit, tmp_path: Path) -> None:
    """By an address and as a folder of this device; a whole one works."""
    shutil.copytree(site, tmp_path / "site")
    for how in (*DAMAGES, "whole"):
        damaged(write_artifact(tmp_path / "site" / "more" / how), how)
    with served(tmp_path / "site") as server:
        page = visit(address(server))
        page.ready()
        page.run("await page.click('summary')")
        for how, reason in DAMAGES.items():
            folder = tmp_path / "site" / "more" / how
            page.run(
                "await page.fill('#address', given.url); await page.click('#address-form button')",
                url=f"{address(server)}more/{how}/",
            )
            page.wait("text('error')")
            assert reason in page.text("error"), how
            page.run("await page.setInputFiles('#folder', given.path)", path=str(folder))
            page.wait(f"text('status') === '{how} is not loaded.' && text('error')")
            assert reason in page.text("error")
            assert page.classified(CAT) == "There is no model; open one first."
        page.run("await page.setInputFiles('#folder', given.path)", path=str(tmp_path / "site" / "more" / "whole"))
        assert page.ready() == ""
        found = page.classified(CAT)
        assert isinstance(found, dict)
        assert {one["label"] for one in found["top"]} == {"black", "red", "green", "blue"}


# For everyone


def test_everything_is_reached_by_the_keyboard_and_has_a_name(server: Server, visit: Visit) -> None:
    page = visit(address(server))
    page.ready()
    # Playwright begins to notice such dialogs some time after it was asked to.
    page.run("kept.chooser = page.waitForEvent('filechooser')")
    page.run("await page.click('summary'); await page.evaluate(() => document.activeElement.blur())")
    reached = page.run(
        """
        const found = [];
        await page.evaluate(() => document.body.focus());
        for (let times = 0; times < 12; times++) {
          await page.keyboard.press("Tab");
          found.push(await page.evaluate(() => {
            const one = document.activeElement;
            const shown = one.id === "file" || one.id === "folder" ? one.previousElementSibling ?? one : one;
            const marked = document.querySelector(`label[for="${one.id}"].button`) ?? one;
            const style = getComputedStyle(marked);
            return [one.id || one.localName, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
          }));
        }
        return found;
        """
    )
    assert {"file", "start", "model", "summary", "folder", "address"} <= {name for name, _ in reached}
    assert [name for name, visible in reached if not visible and name != "body"] == []
    names = page.run(
        """
        const all = "input, select, button, progress, video";
        return page.evaluate((all) => [...document.querySelectorAll(all)].map((one) => {
          const label = one.labels?.[0]?.textContent ?? one.getAttribute("aria-label") ?? one.textContent;
          return [one.id || one.localName, label.trim()];
        }), all);
        """
    )
    assert [name for name, label in names if not label] == []
    page.run(
        """
        await page.focus("#file");
        await page.keyboard.press("Enter");
        await (await kept.chooser).setFiles(given.path);
        """,
        path=str(CAT),
    )
    assert isinstance(page.answer(CAT.name), dict)
    roles = page.run(
        "return page.evaluate(() => ['error', 'spoken', 'status'].map((id) => document.getElementById(id).role))"
    )
    assert roles == ["alert", "status", "status"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(server: Server, visit: Visit, scheme: str) -> None:
    page = visit(
        address(server), viewport={"width": 320, "height": 640}, colorScheme=scheme, isMobile=True, hasTouch=True
    )
    page.ready()
    assert isinstance(page.classified(CAT), dict)
    page.run("await page.click('summary')")
    width, targets = page.run(
        """
        return page.evaluate(() => {
          const seen = [...document.querySelectorAll("button, .button, select")].filter((one) => one.offsetParent);
          return [document.documentElement.scrollWidth, seen.map((one) => one.getBoundingClientRect().height)];
        });
        """
    )
    assert width <= 320
    assert min(targets) >= 44


def test_changed_pixels_are_noticed(module: str, visit: Visit) -> None:
    """Protection against fingerprinting adds noise to what a page reads from a canvas."""
    page = visit(module)
    page.ready()
    message = page.run(
        """
        return page.evaluate(async () => {
          const zoo = await import("/module/index.js");
          const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
          OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...given) {
            const found = read.apply(this, given);
            found.data[8] ^= 1;
            return found;
          };
          const bitmap = await createImageBitmap(new ImageData(9, 9));
          try { zoo.pixelsOf(bitmap); return "nothing"; } catch (error) { return `${error.name}: ${error.message}`; }
        });
        """
    )
    assert message.startswith("ImageError: this browser changes the pixels that a page reads")
