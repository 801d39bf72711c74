"""Seeded brain-MRI phantoms, written in the layouts of public data sets; numpy and scipy only."""

from __future__ import annotations

from medvlm.data.phantoms.cases import SOURCES
from medvlm.data.phantoms.dataset import DEFAULT_SOURCES, picture_masks, write_phantoms
from medvlm.data.phantoms.scanners import MODALITIES, STYLES

__all__ = ["DEFAULT_SOURCES", "MODALITIES", "SOURCES", "STYLES", "picture_masks", "write_phantoms"]
