"""Finishes a simplified graph for the artifact: runs all passes in order, then sets the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..artifact.folder import OUTPUT_NAMES
from .passes.constants import constants_to_initializers, share_initializers
from .passes.gather_shape import gather_with_shaped_index
from .passes.interface import name_batch_dimension, rename_outputs
from .passes.l2_norm import fuse_l2_norm
from .passes.names import name_constants, name_nodes


def finish(model: Any, metadata: Mapping[str, str]) -> None:
    """Convert a simplified model to the artifact's form, in place.

    Requires: one input `pixel_values` [?, 3, S, S]; the artifact's outputs, in its order.
    Ensures: outputs are named as in the artifact, the first dimension of every input and output is
    called `batch`, constants are initializers and stored once, names follow the checkpoint, `value_info` from
    tools is removed, and the file has its metadata.
    """
    graph = model.graph
    rename_outputs(graph, OUTPUT_NAMES)
    name_batch_dimension(graph)
    constants_to_initializers(graph)
    fuse_l2_norm(graph)
    gather_with_shaped_index(graph)
    share_initializers(graph)
    name_constants(graph)
    name_nodes(graph)
    del graph.value_info[:]
    model.producer_name, model.producer_version = "onnxzoo", metadata.get("onnxzoo", "")
    graph.name = metadata.get("name", graph.name)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
