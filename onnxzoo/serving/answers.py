"""The outputs of a model as the SDK's response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..inference_protocol import BYTES, EMBEDDING, FP32, FP64, LABEL, LOGITS, SCORE, VERSION
from ..model import top_classes
from ..results import Array
from .sdk import InferOutput, InferRequest, InferResponse, RequestedOutput
from .wanted import BINARY_OUTPUT, Wanted

DATATYPES = {LOGITS: FP32, EMBEDDING: FP32, LABEL: BYTES, SCORE: FP64}


def response(
    request: InferRequest, request_id: str, wanted: Wanted, outputs: Mapping[str, Array], labels: Sequence[str]
) -> InferResponse:
    """The response to a request, for the outputs that it wants. `labels`: of the model, by class id."""
    arrays: dict[str, npt.NDArray[np.generic]] = dict(outputs)
    if LABEL in wanted.outputs or SCORE in wanted.outputs:
        best = [one.top for one in top_classes(outputs[LOGITS], labels, wanted.top_k)]
        arrays[LABEL] = np.array([[score.label for score in top] for top in best], dtype=np.object_)
        arrays[SCORE] = np.array([[score.score for score in top] for top in best], dtype=np.float64)
    answered = []
    for name, binary in wanted.outputs.items():
        tensor = InferOutput(name, list(arrays[name].shape), DATATYPES[name])
        tensor.set_data_from_numpy(arrays[name], binary_data=binary)
        answered.append(tensor)
    return InferResponse(
        response_id=request_id,
        model_name=request.model_name,
        model_version=VERSION,
        infer_outputs=answered,
        from_grpc=request.from_grpc,
        use_binary_outputs=request.use_binary_outputs is True,
        requested_outputs=None
        if request.from_grpc
        else [RequestedOutput(name, {BINARY_OUTPUT: binary}) for name, binary in wanted.outputs.items()],
    )
