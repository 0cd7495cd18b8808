"""A page of images with what models make of them: true label, top-3 with bars and percentages.

    python examples/contact_sheet.py out/demo/swinv2_nano_fashion out/demo/pvt_v2_nano_fashion \
        --data tests/data/fashion_mnist_sample --out contact_sheet.png

The images are taken evenly from all classes, whatever the answers. The bar of the true class is green; where another
class is best, its bar is red.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import onnxzoo
from onnxzoo.data.layouts import Dataset, open_dataset
from onnxzoo.errors import InputError, OnnxzooError
from onnxzoo.evaluation.accuracy import match_classes
from onnxzoo.image import load_rgb

COLUMNS = 4
TOP_K = 3

# Pixels.
MARGIN = 28
GAP = 14
PADDING = 14
PICTURE = 168
LABEL_WIDTH, BAR_WIDTH, PERCENT_WIDTH = 104, 96, 58
ROW, TITLE_ROW, MODEL_GAP = 21, 20, 8
HEADER = 84
CAPTION = 30

PAGE, CELL, BORDER = "#eef1f4", "#ffffff", "#d5dbe1"
TEXT, QUIET = "#1c2733", "#6b7885"
TRACK, RIGHT, WRONG, OTHER = "#edf0f3", "#2e8b57", "#cf3f3f", "#a9b6c3"

ANSWERS_WIDTH = LABEL_WIDTH + BAR_WIDTH + PERCENT_WIDTH
CELL_WIDTH = PADDING + PICTURE + PADDING + ANSWERS_WIDTH + PADDING


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: no file to find, the same on every machine."""
    return ImageFont.load_default(size=size)


def evenly(dataset: Dataset, class_ids: Sequence[int], count: int) -> list[int]:
    """Indices of at most `count` images, as many of every class as it has, in the order of the model's class ids."""
    each = max(1, count // len(dataset.classes))
    chosen: list[int] = []
    for class_index in np.argsort(class_ids):
        members = np.flatnonzero(dataset.labels == class_index)
        taken = min(each, len(members))
        chosen += [int(members[number * len(members) // taken]) for number in range(taken)]
    return chosen[:count]


def contact_sheet(models: Sequence[onnxzoo.Model], dataset: Dataset, count: int) -> tuple[Image.Image, int]:
    """Draw the page: a cell per image, in it the best three classes of every model. Returns it and how many images.

    Raises InputError when the models have not all the same classes, DatasetError when the data has others.
    """
    for model in models[1:]:
        if model.labels != models[0].labels:
            raise InputError(f"{model.name} has other classes than {models[0].name}; draw a page for each")
    class_ids = match_classes(dataset.classes, models[0].labels)
    indices = evenly(dataset, class_ids, count)
    images = [dataset.image(index) for index in indices]
    answers = [model.predict(images, top_k=TOP_K) for model in models]
    truths = [models[0].labels[class_ids[dataset.labels[index]]] for index in indices]

    answers_height = len(models) * (TITLE_ROW + TOP_K * ROW) + (len(models) - 1) * MODEL_GAP
    cell_height = PADDING + CAPTION + max(PICTURE, answers_height) + PADDING
    rows = -(-len(indices) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * CELL_WIDTH + (COLUMNS - 1) * GAP
    sheet = Image.new("RGB", (width, HEADER + rows * (cell_height + GAP) - GAP + MARGIN), PAGE)
    draw = ImageDraw.Draw(sheet)
    names = " and ".join(model.name for model in models)
    draw.text((MARGIN, 20), names, font=font(26), fill=TEXT)
    counts = [sum(best.label == truth for best, truth in zip(one, truths, strict=True)) for one in answers]
    right = ", ".join(f"{model.name} {count}" for model, count in zip(models, counts, strict=True))
    engines = ", ".join(sorted({f"{model.engine.name} {model.engine.version}" for model in models}))
    legend = "above each image: its true class; green: the true class, red: a wrong best"
    note = f"right of these {len(indices)} images: {right}   |   {engines}   |   {legend}"
    draw.text((MARGIN, 52), note, font=font(15), fill=QUIET)

    for number, (index, image, truth) in enumerate(zip(indices, images, truths, strict=True)):
        left = MARGIN + number % COLUMNS * (CELL_WIDTH + GAP)
        top = HEADER + number // COLUMNS * (cell_height + GAP)
        box = (left, top, left + CELL_WIDTH - 1, top + cell_height - 1)
        draw.rounded_rectangle(box, radius=8, fill=CELL, outline=BORDER)
        x, y = left + PADDING, top + PADDING
        draw.text((x, y), truth, font=font(19), fill=TEXT)
        name = Path(dataset.name(index)).name
        draw.text((left + CELL_WIDTH - PADDING, y + 3), name, font=font(13), fill=QUIET, anchor="ra")
        y += CAPTION
        # Whole factors and nearest: the pixels are what the model sees, and so they should look.
        picture = load_rgb(image)
        factor = max(1, PICTURE // max(picture.size))
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
        picture.thumbnail((PICTURE, PICTURE))
        sheet.paste(picture, (x, y))
        x += PICTURE + PADDING
        for model, predictions in zip(models, answers, strict=True):
            draw.text((x, y), model.name, font=font(13), fill=QUIET)
            y = _bars(draw, x, y + TITLE_ROW, predictions[number], truth) + MODEL_GAP
    return sheet, len(indices)


def _bars(draw: ImageDraw.ImageDraw, x: int, y: int, prediction: onnxzoo.Prediction, truth: str) -> int:
    """Draw one model's answers from the corner (x, y); returns where they end."""
    for rank, one in enumerate(prediction.top):
        colour = RIGHT if one.label == truth else WRONG if rank == 0 else OTHER
        draw.text((x, y + 1), _fitted(one.label, LABEL_WIDTH - 6), font=font(14), fill=TEXT)
        start = x + LABEL_WIDTH
        draw.rectangle((start, y + 4, start + BAR_WIDTH - 1, y + 14), fill=TRACK)
        length = round(one.score * BAR_WIDTH)
        if length:
            draw.rectangle((start, y + 4, start + length - 1, y + 14), fill=colour)
        draw.text((start + BAR_WIDTH + PERCENT_WIDTH, y + 1), f"{one.score:.1%}", font=font(14), fill=TEXT, anchor="ra")
        y += ROW
    return y


def _fitted(label: str, width: int) -> str:
    """The label, cut where it is wider than `width` pixels."""
    while label and font(14).getlength(label) > width:
        label = label.rstrip(".")[:-1] + ".."
    return label


def main() -> None:
    """Read the arguments, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="names or artifact folders; all with the same classes")
    parser.add_argument("--data", type=Path, required=True, help="labelled images, as for 'onnxzoo eval'")
    parser.add_argument("--out", type=Path, required=True, help="the PNG file to write")
    parser.add_argument("--images", type=int, default=20, help="at most so many")
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"--images must be at least 1, got {arguments.images}")
    with contextlib.ExitStack() as stack:
        try:
            models = [stack.enter_context(onnxzoo.load(name, engine=arguments.engine)) for name in arguments.models]
            sheet, drawn = contact_sheet(models, open_dataset(arguments.data, "val"), arguments.images)
        except OnnxzooError as error:
            parser.error(str(error))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(arguments.out, optimize=True)
    print(f"{arguments.out}: {sheet.width} x {sheet.height} pixels, {drawn} images")


if __name__ == "__main__":
    main()
