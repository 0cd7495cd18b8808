"""What a format is that models are converted to, and the job of a child process. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..comparison.tolerances import Tolerance
from ..errors import MissingDependencyError

if TYPE_CHECKING:
    from ..results import Array

    Run = Callable[[Array], dict[str, Array]]
    """From images, float32 [N, 3, S, S], to outputs by the names of the artifact."""


@dataclass(frozen=True, slots=True)
class Form:
    """A precision of a converted model.

    `source`: the precision of the ONNX file from which it is made. `tolerance`: what its outputs must meet against the
    recorded ones. `settings`: with which it was run for that, under the library's names; an app that leaves them at
    their defaults gets other numbers.
    """

    source: str
    tolerance: Tolerance
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """What a child process does.

    `model`: the ONNX file. `folder`: of the converted files. `precision`: of the converted model. `image_size`: side of
    the images in pixels. `threads`: for running the result.
    """

    model: str
    folder: str
    precision: str
    image_size: int
    threads: int = 1

    @property
    def target_folder(self) -> Path:
        """`folder` as a path."""
        return Path(self.folder)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job written by `write`."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{one.name: values[one.name] for one in fields(cls)})


@dataclass(frozen=True, slots=True)
class Target:
    """A format that models are converted to.

    `name`: on the command line. `title`: for people. `modules`: the modules that it needs, each with the command that
    installs it. `files`: what the conversion writes, and nothing else. `forms`: the precisions, by name.
    `no_form`: why it has no other ones. `batch`: the batch size of its models, None for any. `input_name`,
    `output_names`: names in the converted model, the latter by the artifact's. `write` converts, and `open` makes a
    function that runs the result; both run in child processes only. `version`: of the library, as text such as
    `openvino 2026.4`. `settings_why`: why an app needs the settings of the forms.
    """

    name: str
    title: str
    modules: Mapping[str, str]
    files: tuple[str, ...]
    forms: Mapping[str, Form]
    no_form: str
    batch: int | None
    input_name: str
    output_names: Mapping[str, str]
    write: Callable[[Job], None]
    open: Callable[[Job], Run]
    version: Callable[[], str]
    settings_why: str = ""

    def require_modules(self) -> None:
        """Raise MissingDependencyError, with the command that helps, unless its modules can be found."""
        missing = {name: install for name, install in self.modules.items() if importlib.util.find_spec(name) is None}
        if missing:
            raise MissingDependencyError(
                f"converting to {self.name} needs {', '.join(missing)}, which is not installed; install it with: "
                f"{' && '.join(dict.fromkeys(missing.values()))}"
            )
