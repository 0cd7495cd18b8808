"""PVTv2: everything specific to the family, without any framework. Importing this does not load NumPy."""

from __future__ import annotations

from ..family import Constants, Family, ModelSpec, State
from .architecture import PvtV2Architecture
from .names import NAMES

CITATION = """@article{wang2022pvtv2,
  title   = {PVT v2: Improved Baselines with Pyramid Vision Transformer},
  author  = {Wenhai Wang and Enze Xie and Xiang Li and Deng-Ping Fan and Kaitao Song and Ding Liang and Tong Lu and
             Ping Luo and Ling Shao},
  journal = {Computational Visual Media},
  year    = {2022},
  eprint  = {2106.13797},
}"""


def _constants(spec: ModelSpec, state: State) -> Constants:
    from .constants import constants

    return constants(spec, state)


FAMILY = Family("pvt_v2", "PVTv2", CITATION, PvtV2Architecture, NAMES, _constants)
