"""KServe's SDK: the names that the server uses.

It is imported so that it does not read the program's command line, and so that Triton's client, whose messages have the
same names, can be imported in the same process.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MissingDependencyError, raise_if_interrupted


@contextmanager
def _without_arguments() -> Iterator[None]:
    # Importing kserve parses the command line of whatever program imports it, and exits if it cannot.
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments


def _load_messages() -> None:
    """Load the SDK's module of messages with a pool of descriptors of its own."""
    from google.protobuf import descriptor_pool

    name = "kserve.protocol.grpc.grpc_predict_v2_pb2"
    package = importlib.util.find_spec("kserve")
    if name in sys.modules or package is None or package.origin is None:
        return
    file = Path(package.origin).parent.joinpath(*name.split(".")[1:]).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        return  # the SDK loads it, wherever it is
    module = importlib.util.module_from_spec(spec)
    default = descriptor_pool.Default
    own = descriptor_pool.DescriptorPool()
    descriptor_pool.Default = lambda: own
    try:
        spec.loader.exec_module(module)
    finally:
        descriptor_pool.Default = default
    sys.modules[name] = module


with _without_arguments():
    try:
        _load_messages()
        from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model, ModelRepository
        from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady
        from kserve.protocol.dataplane import DataPlane
        from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
        from kserve.protocol.grpc.servicer import InferenceServicer
        from kserve.protocol.infer_type import RequestedOutput, to_http_parameters
        from kserve.protocol.model_repository_extension import ModelRepositoryExtension
    except ImportError as error:
        raise_if_interrupted(error)
        raise MissingDependencyError(
            f"the server needs KServe's SDK (Python 3.11 to 3.13): pip install 'onnxzoo[serve]' ({error})"
        ) from error

__all__ = [
    "DataPlane",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceServicer",
    "InvalidInput",
    "Model",
    "ModelNotFound",
    "ModelNotReady",
    "ModelRepository",
    "ModelRepositoryExtension",
    "RequestedOutput",
    "messages",
    "to_http_parameters",
]
