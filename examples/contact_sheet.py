"""A page of labelled images with what models make of them: true class, and the best three of each model.

    python examples/contact_sheet.py out/demo/swinv2_nano_fashion out/demo/pvt_v2_nano_fashion \
        --data tests/data/fashion_mnist_sample --out contact_sheet.png

The images are taken evenly from all classes, whatever the answers. The bar of the true class is green; where another
class is best, its bar is red. For images without labels, `onnxzoo predict NAME IMAGES --sheet FILE` makes such a page.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import onnxzoo
from onnxzoo.batch.sheet import cell_of, refuse_sheet, write_sheet
from onnxzoo.batch.sheet_parts import Cell, Sheet
from onnxzoo.data.layouts import Dataset, open_dataset
from onnxzoo.errors import InputError, OnnxzooError
from onnxzoo.evaluation.accuracy import match_classes


def evenly(dataset: Dataset, class_ids: Sequence[int], count: int) -> list[int]:
    """Indices of at most `count` images, as many of every class as it has, in the order of the model's class ids."""
    each = max(1, count // len(dataset.classes))
    chosen: list[int] = []
    for class_index in np.argsort(class_ids):
        members = np.flatnonzero(dataset.labels == class_index)
        taken = min(each, len(members))
        chosen += [int(members[number * len(members) // taken]) for number in range(taken)]
    return chosen[:count]


def contact_sheet(models: Sequence[onnxzoo.Model], dataset: Dataset, count: int) -> Sheet:
    """The page: a cell per image, in it the best classes of every model.

    Raises InputError when the models have not all the same classes, DatasetError when the data has others.
    """
    for model in models[1:]:
        if model.labels != models[0].labels:
            raise InputError(f"{model.name} has other classes than {models[0].name}; draw a page for each")
    class_ids = match_classes(dataset.classes, models[0].labels)
    indices = evenly(dataset, class_ids, count)
    images = [dataset.image(index) for index in indices]
    truths = [models[0].labels[class_ids[dataset.labels[index]]] for index in indices]
    names = [Path(dataset.name(index)).name for index in indices]
    cells = [
        [cell_of(name, result, model.name) for name, result in zip(names, model.stream(images), strict=True)]
        for model in models
    ]
    counts = ", ".join(
        f"{model.name} {sum(_best(cell) == truth for cell, truth in zip(one, truths, strict=True))}"
        for model, one in zip(models, cells, strict=True)
    )
    engines = ", ".join(sorted({f"{model.engine.name} {model.engine.version}" for model in models}))
    return Sheet(
        " and ".join(model.name for model in models),
        (
            f"right of these {len(indices)} images: {counts}; {engines}",
            "above each image: its true class; green: the true class, red: a wrong best",
        ),
        tuple(
            Cell(name, each[0].picture, tuple(answer for cell in each for answer in cell.answers), truth, each[0].error)
            for name, truth, each in zip(names, truths, zip(*cells, strict=True), strict=True)
        ),
    )


def _best(cell: Cell) -> str:
    """The best class of a cell of one model; empty if the image cannot be read."""
    return cell.answers[0][1].label if cell.answers else ""


def main() -> None:
    """Read the arguments, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="names or artifact folders; all with the same classes")
    parser.add_argument("--data", type=Path, required=True, help="labelled images, as for 'onnxzoo eval'")
    parser.add_argument("--out", type=Path, required=True, help="the .png or .html file to write")
    parser.add_argument("--images", type=int, default=20, help="at most so many")
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"--images must be at least 1, got {arguments.images}")
    with contextlib.ExitStack() as stack:
        try:
            refuse_sheet(arguments.out)
            models = [stack.enter_context(onnxzoo.load(name, engine=arguments.engine)) for name in arguments.models]
            sheet = contact_sheet(models, open_dataset(arguments.data, "val"), arguments.images)
            write_sheet(arguments.out, sheet)
        except OnnxzooError as error:
            parser.error(str(error))
    print(f"{arguments.out}: {len(sheet.cells)} images")


if __name__ == "__main__":
    main()
