"""As much of torch as children/torch_timm.py uses, in numpy: no test can have the real one (a gigabyte)."""

import contextlib
import os

__version__ = "2.0.stub"


class Tensor:
    def __init__(self, array):
        self.array = array

    def numpy(self):
        return self.array


from_numpy = Tensor
inference_mode = contextlib.nullcontext


def set_num_threads(count):
    assert count == 1


def compile(model, dynamic):  # noqa: A001
    assert dynamic is False
    if "NO_COMPILER" in os.environ:
        raise RuntimeError("no C++ compiler was found")
    return model
