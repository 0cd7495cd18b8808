"""From a simplified graph to the artifact's: all passes in order, then metadata."""

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
    """Bring a freshly simplified model into the artifact's form, in place.

    Requires: one input `pixel_values` [?, 3, S, S]; as many outputs as the artifact has, in its order.
    Ensures: outputs are named as in the artifact, the first dimension of every input and output is
    called `batch`, constants are initializers and stored once, names follow the checkpoint, nothing inferred by a
    tool is left in `value_info`, and the file says what it is.
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
