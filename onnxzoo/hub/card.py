"""The model card of an artifact, generated from its config.json and the registry, never written by hand.

Text from config.json is untrusted: it is put into code spans, or its Markdown is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..artifact.folder import CONFORMANCE_FILE, INPUT_NAME, Artifact
from ..families import FAMILIES
from ..precisions import FP32
from .card_metadata import LICENSE, accuracies, clean, front_matter, license_of, registered

REFERENCES = {"paddle": "Paddle", "exact": "exact reference (float64)", "conformance": "conformance vectors"}
HERE = "path/to/this/folder"
SHOWN_CLASSES = 10


def model_card(artifact: Artifact, repo_id: str | None = None) -> str:
    """The card as Markdown with the front matter that the Hugging Face Hub reads.

    The examples load `repo_id`, or the card's own folder if it is None.
    """
    sections = (
        _what_it_is(artifact),
        _use(repo_id),
        _input_and_output(artifact),
        _accuracy(artifact),
        _files(artifact),
        _validation(artifact, repo_id),
        _provenance(artifact),
        _licence_and_citation(artifact),
    )
    body = "\n".join(line for section in sections for line in section)
    return f"---\n{front_matter(artifact)}\n---\n\n{body}\n"


def unvalidated(artifact: Artifact) -> dict[str, str]:
    """The ONNX files whose present content has no recorded passed validation: path -> what is wrong."""
    missing = {}
    for file in artifact.files.values():
        # fp32 must have been compared with the reference; other precisions may have been compared with fp32 instead.
        passed = [
            one
            for one in artifact.validated(file.precision or "")
            if one.reference in REFERENCES or file.precision != FP32
        ]
        if file.precision and not passed:
            stale = [one for one in artifact.validations if one.precision == file.precision]
            missing[file.path] = (
                f"its validation on {clean(stale[-1].engine)} was of another file, or not against the reference"
                if stale
                else "no validation that it passed is recorded"
            )
    return missing


def _what_it_is(artifact: Artifact) -> Iterator[str]:
    family, size = FAMILIES[artifact.family].title, artifact.image_size
    yield f"# {_text(artifact.name)}"
    yield ""
    yield f"An image classifier of the family {family} as ONNX, from weights trained in PaddlePaddle: {size} x {size}"
    yield (
        f"pixels in, {artifact.num_classes} classes out. It runs without Paddle, on ONNX Runtime, OpenVINO or "
        "whatever else reads ONNX."
    )
    names = ", ".join(_code(name) for name in artifact.id2label[:SHOWN_CLASSES])
    rest = artifact.num_classes - SHOWN_CLASSES
    yield ""
    yield f"Classes: {names}{f' and {rest} more in `config.json`' if rest > 0 else ''}."
    if entry := registered(artifact):
        yield ""
        yield f"{entry.params_m:.2f} M parameters, {entry.gmacs:g} G multiply-adds per image."


def _use(repo_id: str | None) -> Iterator[str]:
    yield from ("", "## Use", "", "```python", "import onnxzoo", "")
    yield f'model = onnxzoo.load("{repo_id or HERE}")'
    yield from ('best = model.predict("photo.jpg")', "print(best.label, best.score)", "```")


def _input_and_output(artifact: Artifact) -> Iterator[str]:
    size, spec = artifact.image_size, artifact.preprocess
    yield from ("", "## Input and output", "")
    yield f"- `{INPUT_NAME}`: float32 [batch, 3, {size}, {size}], RGB. The short side of the image is resized to"
    yield f"  {spec.resize_size} pixels ({spec.interpolation}, antialiased, as in Pillow), the centre"
    yield f"  {spec.crop_size} x {spec.crop_size} is cut out, values are divided by 255, then normalised with"
    yield f"  mean {list(spec.mean)} and standard deviation {list(spec.std)}."
    yield f"- `logits`: float32 [batch, {artifact.num_classes}], before the softmax."
    yield f"- `embedding`: float32 [batch, {artifact.architecture.num_features}], the pooled features before the head."


def _accuracy(artifact: Artifact) -> Iterator[str]:
    yield from ("", "## Accuracy", "")
    stated = accuracies(artifact)
    rows = [
        (
            f"measured, {one.precision}" if one.measured else "documented",
            f"{one.top1:.2%}",
            f"{one.top5:.2%}",
            _text(one.dataset),
            _text(one.by) + (f", {_text(one.date)}" if one.date else ""),
        )
        for one in stated
    ]
    if rows:
        yield from _table(("", "Top-1", "Top-5", "on", "by"), rows)
    if not any(one.measured for one in stated):
        yield from ("", "No accuracy is recorded as measured with the files of this repository.")


def _files(artifact: Artifact) -> Iterator[str]:
    yield from ("", "## Files", "")
    rows = [
        (_code(file.path), _text(file.precision or ""), _size(file.bytes), _code(file.sha256))
        for file in artifact.files.values()
    ]
    yield from _table(("file", "precision", "size", "sha256"), rows)


def _validation(artifact: Artifact, repo_id: str | None) -> Iterator[str]:
    yield from ("", "## Validation", "")
    missing = unvalidated(artifact)
    for path, why in missing.items():
        yield from (f"> **Not validated:** {_code(path)}, {_text(why)}.", ">")
    if missing:
        yield "> Nobody has recorded that these files give the numbers of the original."
    rows = [
        (
            _text(precision),
            _text(f"{one.engine} {one.version} ({one.device})"),
            REFERENCES.get(one.reference) or _text(one.reference),
            f"{one.inputs} at batch {', '.join(map(str, one.batch_sizes))}",
            f"{one.max_abs:.1e}",
            f"{one.mean_abs:.1e}",
            f"{one.tolerance:g}",
            f"{one.top1_agreement:.2%}",
            _text(one.date),
        )
        for precision in artifact.precisions
        for one in artifact.validated(precision)
    ]
    if rows:
        heads = (
            "precision",
            "engine",
            "compared with",
            "images",
            "largest difference",
            "mean",
            "tolerance",
            "Top-1 equal",
        )
        yield from _table((*heads, "on"), rows)
        yield from ("", "Every logit lies within tolerance + tolerance * |reference| of the reference.")
    if CONFORMANCE_FILE in artifact.files:
        yield ""
        by = "exact reference (NumPy, float64)" if artifact.assembled else "PaddlePaddle reference"
        yield f"`{CONFORMANCE_FILE}` holds inputs and what the {by} computed for them;"
        yield f"`onnxzoo validate {repo_id or HERE}` compares any engine with them, without Paddle."


def _provenance(artifact: Artifact) -> Iterator[str]:
    source = artifact.source
    yield from ("", "## Provenance", "")
    yield f"- Checkpoint: {_code(source.get('file'))}, sha256 {_code(source.get('sha256'))}."
    if source.get("url"):
        yield f"- Downloaded from {_code(source['url'])}."
    if source.get("repo"):
        commit = _code(source.get("commit"))
        yield f"- Downloaded from {_code(source['repo'])} on the Hugging Face Hub, commit {commit}."
    if artifact.assembled:
        graph = _code(source["graph_sha256"])
        yield f"- Assembled from these weights and the graph {graph} of onnxzoo, without Paddle."
    tools = ", ".join(f"{_text(tool)} {_text(version)}" for tool, version in artifact.tools.items())
    opset = artifact.config.get("opset")
    yield f"- Made with {tools or 'unrecorded tools'}" + (f"; ONNX operator set {_text(opset)}." if opset else ".")


def _licence_and_citation(artifact: Artifact) -> Iterator[str]:
    license_id = license_of(artifact)
    yield from ("", "## Licence and citation", "")
    if license_id is None:
        yield "The licence of these weights is not stated."
    else:
        as_paddleclas = license_id == LICENSE and not artifact.source.get("repo")
        yield "Apache License 2.0, as PaddleClas." if as_paddleclas else f"{_text(license_id)}."
    yield from ("", "```bibtex", FAMILIES[artifact.family].citation, "```")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 10**6 else f"{count:,} bytes"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _text(value: object) -> str:
    """The text on one line, escaped so that Markdown shows it literally, without markup, HTML or links."""
    return re.sub(r"[\\`*{}\[\]<>()#+!|~&$:@]|\b_|_\b|(?<=www)\.", r"\\\g<0>", clean(value))


def _code(value: object) -> str:
    """The text as a code span, with backticks replaced by apostrophes, and bars escaped because it may be in a table.

    All fences have the same length: a longer or empty one would open a span that includes the text after it.
    """
    text = clean(value).replace("`", "'").replace("|", r"\|")
    return f"`{text or '(empty)'}`"
