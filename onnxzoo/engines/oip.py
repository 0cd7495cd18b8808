"""A model on a server of the Open Inference Protocol (KServe's v2): ours, Triton, OpenVINO Model Server, KServe.

The server runs its own file; the artifact only says which numbers to expect. So this is an engine for comparisons: it
shows whether what a server answers is what the model computes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import numpy as np

from ..described_engine import DescribedEngine
from ..errors import EngineError, InputError
from ..files import KeyValue
from ..inference_protocol import EMBEDDING, LOGITS, PIXELS
from ..precisions import AUTO_PRECISION, BF16, FP16, FP32, INT8
from ..results import Array, EngineInfo, TensorSpec
from .feeds import checked_feeds
from .library_failures import closed
from .oip_address import Address, bearer_token, parse_address
from .oip_tensors import DTYPES, Described, Transport
from .options import EngineOptions
from .protocol import ModelFile, Selection

NAME = "oip"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

logger = logging.getLogger(__name__)


class OpenInferenceEngine(DescribedEngine):
    """A served model. `info.device` is its address, `info.version` the server's own name and version.

    A server cannot be asked for its precision, so `info.precision` is what the caller expects of it.
    """

    FILES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        FP32: (FP32,),
        AUTO_PRECISION: (FP32,),
        FP16: (FP16,),
        BF16: (FP32,),
        INT8: (INT8,),
    }

    def __init__(self, transport: Transport, described: Described, info: EngineInfo) -> None:
        """`described`: with the input and the outputs of an artifact, see `open`."""
        self._transport: Transport | None = transport
        pixels = described.inputs[PIXELS]
        super().__init__(
            info,
            {PIXELS: pixels if pixels.shape else TensorSpec((None, 3, None, None), pixels.dtype)},
            # Servers may offer more, such as the best labels.
            {name: described.outputs[name] for name in (LOGITS, EMBEDDING) if name in described.outputs},
        )

    @classmethod
    def open(cls, model: ModelFile, *, options: EngineOptions, device: str | None, selection: Selection) -> Self:  # noqa: ARG003
        """Ask the server at the address `device` for its model. The file `model` is not used.

        Raises InputError for an address of another form, EngineUnavailableError if the server or its model cannot be
        reached, EngineError if the model has not the input and outputs of an artifact.
        """
        address = parse_address(device or "")
        transport = _transport(address)
        try:
            described = transport.describe()
            _require_interface(address, described)
        except BaseException:
            transport.close()
            raise
        info = EngineInfo(
            NAME, str(address), options.precision, described.server, selection.reason, considered=selection.considered
        )
        return cls(transport, described, info)

    @staticmethod
    def skip_reason(model: Callable[[], ModelFile], options: EngineOptions, /) -> str | None:  # noqa: ARG004
        """Always: a server is only asked if it was named."""
        return "a server is asked only if its address is given"

    @property
    def cache_key(self) -> Mapping[str, KeyValue]:
        """The server, which may run something else the next time."""
        return {"address": self._info.device, "server": self._info.version}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The server's outputs for a batch.

        Raises InputError for inputs that do not fit, EngineUnavailableError if the server has gone, EngineError if it
        refuses or its answer is not valid, and after `close()`.
        """
        if self._transport is None:
            raise closed(NAME)
        try:
            images = checked_feeds(feeds, self._inputs)[PIXELS]
        except InputError as error:
            raise InputError(f"the model at {self._info.device} takes other inputs: {error}") from None
        found = self._transport.infer(PIXELS, np.ascontiguousarray(images), self._outputs)
        if missing := [name for name in self._outputs if name not in found]:
            raise EngineError(f"{self._info.device} gave an answer without {' and '.join(missing)}")
        if wrong := [name for name, values in found.items() if len(values) != len(images)]:
            raise EngineError(f"{self._info.device} gave {wrong[0]} of another batch size than {len(images)}")
        return {name: found[name] for name in self._outputs}

    def close(self) -> None:
        """Close the connection; calling it twice is allowed."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()


def _transport(address: Address) -> Transport:
    token = bearer_token()
    if token is not None and not address.secure and address.host not in LOOPBACK:
        logger.warning("the bearer token goes to %s unencrypted; use https or grpcs if others can listen", address.host)
    if address.is_grpc:
        from .oip_grpc import GrpcTransport

        return GrpcTransport(address, token)
    from .oip_http import HttpTransport

    return HttpTransport(address, token)


def _require_interface(address: Address, described: Described) -> None:
    pixels = described.inputs.get(PIXELS)
    if pixels is None or pixels.dtype != "float32" or len(pixels.shape) not in (0, 4):
        has = ", ".join(f"{name} {spec.dtype} {spec.shape}" for name, spec in described.inputs.items()) or "none"
        raise EngineError(
            f"{address} is another kind of model: expected an input {PIXELS} float32 of 4 dimensions, it has {has}"
        )
    logits = described.outputs.get(LOGITS)
    if logits is None or logits.dtype not in DTYPES.values() or len(logits.shape) not in (0, 2):
        has = ", ".join(f"{name} {spec.dtype} {spec.shape}" for name, spec in described.outputs.items()) or "none"
        raise EngineError(
            f"{address} is another kind of model: expected an output {LOGITS} of 2 dimensions, it has {has}"
        )
