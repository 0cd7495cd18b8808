"""How openvino is imported: without its converter of models, which whoever else uses the library still finds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from onnxzoo.engines.openvino_module import CONVERTER, import_openvino

pytest.importorskip("openvino")

IMPORTED = """
import sys
from onnxzoo.engines.openvino_module import import_openvino

openvino = import_openvino()
assert import_openvino() is openvino
print([name for name in ("openvino.tools.ovc", "numpy.ma") if name in sys.modules])
"""
USED = """
from openvino import convert_model
import openvino.tools.ovc
print(convert_model is openvino.convert_model is openvino.tools.ovc.convert_model, "openvino_telemetry" in sys.modules)
try:
    openvino.convert_models
except AttributeError as error:
    print(error)
"""


def output_of(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_converter_is_imported_when_it_is_asked_for():
    assert output_of(IMPORTED + USED) == ["[]", "True False", "module 'openvino' has no attribute 'convert_models'"]


def test_an_openvino_that_is_there_already_stays_as_it_is():
    before = "import openvino.tools.ovc, openvino as before\nkept = vars(before).copy()"
    after = "assert vars(openvino) == kept and sys.modules['openvino.tools.ovc'] is openvino.tools.ovc"
    assert output_of(before + IMPORTED + after) == ["['openvino.tools.ovc', 'numpy.ma']"]


def test_the_table_of_modules_is_put_back(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, CONVERTER, raising=False)
    with pytest.raises(Exception, match="openvino"):
        import_openvino()
    assert CONVERTER not in sys.modules
