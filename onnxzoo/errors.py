"""Every error that onnxzoo raises on purpose.

    OnnxzooError
    ├── UnknownModelError          (LookupError)      a name that the registry does not know
    ├── RegistryError              (ValueError)       models.json or a label file is inconsistent
    ├── ModelNotFoundError         (FileNotFoundError) a known model that is not on this machine
    ├── ArtifactError              (ValueError)       an artifact folder is incomplete, altered or malformed
    ├── ImageError                 (ValueError)       an image that cannot be read, by name
    ├── InputError                 (ValueError)       an array or argument of the wrong shape, dtype or value
    ├── DatasetError               (ValueError)       training or evaluation data that is missing or inconsistent
    ├── CheckpointError            (ValueError)       a checkpoint that cannot be read, is unsafe or does not fit
    ├── DownloadError              (ConnectionError)  a download that failed or is incomplete
    ├── HubError                   (ConnectionError)  the Hugging Face Hub is unreachable or refuses
    ├── EngineUnavailableError     (RuntimeError)     the requested engine cannot run here
    │   └── WrongResultsError      (ArithmeticError)  it runs here, but its results are wrong
    ├── EngineError                (RuntimeError)     the engine rejected the model or failed while running it
    ├── MissingDependencyError     (ImportError)      an extra of this package is not installed
    ├── ExportError                (RuntimeError)     a step of the export failed
    ├── ConversionError            (RuntimeError)     a model cannot be converted to another format, or then differs
    ├── QuantizationError          (RuntimeError)     a smaller file of a model cannot be made or is wrong
    ├── BenchmarkError             (RuntimeError)     the timed program failed, or nothing could be timed
    ├── TableError                 (RuntimeError)     a table of results cannot be written, or another run writes it
    ├── TrainingError              (RuntimeError)     a training run diverged or cannot continue
    └── ValidationError            (RuntimeError)     a validation could not be carried out

A message says what happened, what was expected, what was found and how to fix it. `str` gives it as one line of
at most 500 printable characters.
`exit_code` is what the command line returns for the error: 1 a file or model was rejected,
2 wrong usage, 3 something needed is missing.
"""

from __future__ import annotations

from .text import escaped, shortened
from .text import one_line as one_line  # where the modules that catch errors look for it


class OnnxzooError(Exception):
    """Base of all errors raised by onnxzoo."""

    exit_code = 1

    def __str__(self) -> str:
        # One line that is safe to print, whatever it quotes; `args` keeps the message as it was raised.
        # KeyError and OSError subclasses would otherwise quote or rearrange it.
        return shortened(escaped(str(self.args[0]))) if self.args else self.__class__.__name__


class UnknownModelError(OnnxzooError, LookupError):
    """The name is neither a registry name nor an alias, nor an artifact folder."""

    exit_code = 2


class RegistryError(OnnxzooError, ValueError):
    """`models.json` or a label file is inconsistent or incomplete."""


class ModelNotFoundError(OnnxzooError, FileNotFoundError):
    """The model is known, but there is no artifact of it on this machine."""

    exit_code = 3


class ArtifactError(OnnxzooError, ValueError):
    """An artifact folder is incomplete, altered, malformed or unsafe."""


class ImageError(OnnxzooError, ValueError):
    """An image cannot be read; the message names it."""


class InputError(OnnxzooError, ValueError):
    """An argument has the wrong type, shape, dtype or value."""

    exit_code = 2


class DatasetError(OnnxzooError, ValueError):
    """Images or labels for training or evaluation are missing, damaged or contradict each other."""


class CheckpointError(OnnxzooError, ValueError):
    """A checkpoint is unreadable, unsafe, or does not fit the model."""


class DownloadError(OnnxzooError, ConnectionError):
    """A download failed or is incomplete."""

    exit_code = 3


class HubError(OnnxzooError, ConnectionError):
    """The Hugging Face Hub cannot be reached or refuses the request."""

    exit_code = 3


class EngineUnavailableError(OnnxzooError, RuntimeError):
    """The requested engine is not installed or cannot run on this machine."""

    exit_code = 3


class WrongResultsError(EngineUnavailableError, ArithmeticError):
    """The engine runs on this machine, but does not reproduce the recorded outputs of the conformance vectors."""


class EngineError(OnnxzooError, RuntimeError):
    """An engine rejected the model or failed while running it."""


class MissingDependencyError(OnnxzooError, ImportError):
    """A package of an optional extra is not installed."""

    exit_code = 3


class ExportError(OnnxzooError, RuntimeError):
    """A step of the export failed; the message names the step.

    `log` is the output of that step's tool; it is long and only shown when the step fails.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class ConversionError(OnnxzooError, RuntimeError):
    """A model cannot be converted to another format, or the converted one does not give the recorded outputs.

    `log` is the output of the converter or of the library that ran its result; it is long.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class QuantizationError(OnnxzooError, RuntimeError):
    """A file in a lower precision cannot be made within its limits, or fails its validation."""


class BenchmarkError(OnnxzooError, RuntimeError):
    """A process that was to be timed failed, or nothing could be measured.

    `contender`: the name of what was to be timed, and `log`: what its process printed last; empty where there is none.
    """

    def __init__(self, message: str, *, contender: str = "", log: str = "") -> None:
        super().__init__(message)
        self.contender = contender
        self.log = log


class TableError(OnnxzooError, RuntimeError):
    """A table of results cannot be written, its working folder is damaged, or another run is writing it."""


class TrainingError(OnnxzooError, RuntimeError):
    """A training run diverged, cannot be written or cannot be continued."""


class ValidationError(OnnxzooError, RuntimeError):
    """A validation could not be carried out (a failed one is a result, not an error)."""


def raise_if_interrupted(error: BaseException) -> None:
    """Raise KeyboardInterrupt if that is what made an import fail; C++ modules turn it into an ImportError."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
