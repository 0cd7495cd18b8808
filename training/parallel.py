"""Data-parallel training with several processes (`python -m paddle.distributed.launch`), or only this one.

Every process computes a part of each batch. The sums of losses, counts and gradients are the same in all processes, so
their weights stay equal without synchronisation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle


class Processes:
    """`rank` of this process and their number, `count`."""

    def __init__(self) -> None:
        """Joins the other processes if `paddle.distributed.launch` started this one."""
        self.count = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
        if self.count > 1:
            paddle.distributed.init_parallel_env()
        self.rank = paddle.distributed.get_rank() if self.count > 1 else 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """This process's part of a batch with this number of images."""
        return slice(batch * self.rank // self.count, batch * (self.rank + 1) // self.count)

    def summed(self, values: Iterable[float]) -> npt.NDArray[np.float64]:
        """Element-wise sums over the processes, float64."""
        array = np.array(list(values), dtype=np.float64)
        if self.count == 1:
            return array
        tensor = paddle.to_tensor(array)
        paddle.distributed.all_reduce(tensor)
        total: npt.NDArray[np.float64] = tensor.numpy()
        return total

    def union(self, values: Iterable[str]) -> set[str]:
        """The union of the values over the processes."""
        own = list(values)
        if self.count == 1:
            return set(own)
        gathered: list[list[str]] = []
        paddle.distributed.all_gather_object(gathered, own)
        return {value for part in gathered for value in part}

    def sum_gradients(self, parameters: Iterable[Any]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.count == 1:
            return
        with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
        with paddle.no_grad():
            flat = paddle.concat([parameter.grad.flatten() for parameter in with_gradient])
            paddle.distributed.all_reduce(flat)
            sizes = [int(np.prod(parameter.shape)) for parameter in with_gradient]
            for parameter, part in zip(with_gradient, paddle.split(flat, sizes), strict=True):
                paddle.assign(part.reshape(parameter.shape), parameter.grad)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            paddle.distributed.barrier()
