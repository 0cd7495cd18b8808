"""Swin Transformer V2: everything specific to the family, without any framework. Importing this does not load NumPy."""

from __future__ import annotations

from ..family import Constants, Family, ModelSpec, State
from .architecture import SwinV2Architecture
from .buffers import fitted
from .names import NAMES

CITATION = """@inproceedings{liu2022swinv2,
  title     = {Swin Transformer V2: Scaling Up Capacity and Resolution},
  author    = {Ze Liu and Han Hu and Yutong Lin and Zhuliang Yao and Zhenda Xie and Yixuan Wei and Jia Ning and
               Yue Cao and Zheng Zhang and Li Dong and Furu Wei and Baining Guo},
  booktitle = {CVPR},
  year      = {2022},
  eprint    = {2111.09883},
}"""


def _constants(spec: ModelSpec, state: State) -> Constants:
    from .constants import constants

    return constants(spec, state)


FAMILY = Family("swinv2", "Swin Transformer V2", CITATION, SwinV2Architecture, NAMES, _constants, fitted)
