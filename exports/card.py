"""The model card of an artifact, generated from what its config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..registry import ModelEntry

CITATIONS = {
    "swinv2": "Ze Liu et al., Swin Transformer V2: Scaling Up Capacity and Resolution, CVPR 2022, arXiv:2111.09883",
    "pvt_v2": "Wenhai Wang et al., PVT v2: Improved Baselines with Pyramid Vision Transformer, 2022, arXiv:2106.13797",
}


def model_card(entry: ModelEntry, config: Mapping[str, Any]) -> str:
    """The card as Markdown with the front matter that the Hugging Face Hub reads."""
    preprocess, source, size = config["preprocess"], config["source"], config["image_size"]
    files = "\n".join(
        f"| `{path}` | {file.get('precision', '')} | {file['bytes']} | `{file['sha256']}` |"
        for path, file in config["files"].items()
    )
    tools = ", ".join(f"{name} {version}" for name, version in config["tools"].items())
    return f"""---
license: apache-2.0
library_name: onnx
pipeline_tag: image-classification
tags:
- onnx
- openvino
- paddle
- {entry.family}
---

# {entry.name}

The image classifier {entry.name} ({entry.family}) as ONNX: {config["num_classes"]} classes,
{size} x {size} pixels, {config["num_features"]} features before the head.

```python
import onnxzoo

model = onnxzoo.load("path/to/this/folder")
print(model.predict("photo.jpg").label)
```

## Input and output

- `image`: float32 [batch, 3, {size}, {size}], RGB. The short side of the image is resized to
  {preprocess["resize_size"]} pixels ({preprocess["interpolation"]}, antialiased, as in Pillow), the centre
  {preprocess["crop_size"]} x {preprocess["crop_size"]} is cut out, values are divided by 255, then normalised with
  mean {preprocess["mean"]} and standard deviation {preprocess["std"]}.
- `logits`: float32 [batch, {config["num_classes"]}].
- `embedding`: float32 [batch, {config["num_features"]}], the pooled features before the head.

## Provenance

- Checkpoint: `{source["file"]}`, sha256 `{source["sha256"]}`, {source["framework"]} naming{_from(source)}.
- Made with {tools}; ONNX operator set {config["opset"]}.
- `conformance.npz` holds inputs and the outputs of the PaddlePaddle reference for them:
  `onnxzoo validate path/to/this/folder` compares every engine with them.

| file | precision | bytes | sha256 |
|---|---|---|---|
{files}

## Citation

{CITATIONS[entry.family]}
"""


def _from(source: Mapping[str, Any]) -> str:
    return f", from {source['url']}" if source["url"] else ""
