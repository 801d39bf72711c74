"""The composed networks that a bundle names."""

from __future__ import annotations

from medvlm.networks.nets.seg_cls import SegClsNet
from medvlm.networks.nets.views import HeadsTuple, MaskNet

__all__ = ["HeadsTuple", "MaskNet", "SegClsNet"]
