"""Classifies ONNX Runtime's messages about failed sessions: a fault of the hardware, of an option or of the model."""

from __future__ import annotations

import re

from ..errors import EngineError, EngineUnavailableError, one_line
from .library_failures import failure
from .provider_options import READ_FROM

NO_TENSORRT = "Please install TensorRT libraries"

# Failures of the hardware or its libraries, not of the model. `EP` is used by TensorRT and TensorRT-RTX.
PROVIDER_FAILURES = re.compile(
    r"CUDA(?:RT)? (?:failure|error)|CUDNN[_ ]|CUBLAS[_ ]|no kernel image|LoadLibrary|"
    r"Failed to load library|Failed to create \w*ExecutionProvider|Unknown Provider(?! option)|"
    rf"Failed to allocate (?:device )?memory|out[ _]of[ _]memory|{NO_TENSORRT}|"
    r"EP (?:failed to create (?:engine from network|context)|failed to build engine|"
    r"could not build execution context|execution context enqueue failed|does not support GPU)",
    re.IGNORECASE,
)
# The message itself, without the preceding C++ signatures and the source locations after it.
MESSAGE = re.compile(rf"\w+ failure \d+: .*?(?= ; |$)|(?:TensorRT|NvTensorRTRTX) EP .*|{NO_TENSORRT}")
# TensorRT runs parts of a graph. A part whose inputs have a dynamic shape needs a profile, but only the inputs of the
# whole model have one.
NEEDS_PROFILES = re.compile(
    r"provide all the dynamic shape inputs(?:.*?no associated shape profiles provided: (?P<inputs>[^\n]*))?", re.DOTALL
)
# ONNX Runtime's messages about an unknown option, and about a value that it cannot parse.
UNKNOWN = re.compile(r'Unknown provider option: "(\w+)"|Invalid TensorRT EP option: (\w+)')
UNPARSED = re.compile(r'Failed to parse provider option "(\w+)"|The value for the key \'(\w+)\' should be')


def rejected(provider: str, doing: str, error: Exception) -> EngineError | EngineUnavailableError:
    """The error for a library's failure while `doing` something, as a fault of the model or of the hardware."""
    if PROVIDER_FAILURES.search(str(error)):
        message = MESSAGE.search(str(error))
        return EngineUnavailableError(
            f"{provider} does not work here: {one_line(message.group() if message else error)}"
        )
    option = _refused_option(provider, str(error))
    if option is not None:
        return option
    parts = NEEDS_PROFILES.search(str(error))
    if parts:
        inputs = (parts["inputs"] or "").strip()
        return EngineError(
            f"{doing}: {provider} takes only parts of this model, and one of them has inputs of a dynamic shape, for "
            f"which there is no profile{f' ({one_line(inputs)})' if inputs else ''}; use the engine 'cuda'"
        )
    return failure(doing, error)


def _refused_option(provider: str, message: str) -> EngineUnavailableError | None:
    """The error if ONNX Runtime's message is about an option set by us; None for other messages."""
    package = READ_FROM.get(provider)
    if package is None:
        return None
    for pattern, what in ((UNKNOWN, "does not know the option"), (UNPARSED, "refuses the value of the option")):
        found = pattern.search(message)
        if found:
            name = next(group for group in found.groups() if group)
            return EngineUnavailableError(
                f"the installed {provider} {what} {name!r}; onnxzoo was written for another version of it: "
                f"pip install '{package}'"
            )
    return None
