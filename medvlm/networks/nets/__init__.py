"""The composed networks that a bundle names."""

from __future__ import annotations

from medvlm.networks.nets.cine_probe import CineProbeNet
from medvlm.networks.nets.cine_text import CineTextNet
from medvlm.networks.nets.cine_views import VideoEmbeddingNet
from medvlm.networks.nets.seg_cls import SegClsNet
from medvlm.networks.nets.views import HeadsTuple, MaskNet

__all__ = ["CineProbeNet", "CineTextNet", "HeadsTuple", "MaskNet", "SegClsNet", "VideoEmbeddingNet"]
