"""Datasets on disk and what is done before training: datalists, layouts, splits, duplicates, doctor, samplers.

Importing this package costs neither torch nor monai; ``RatioSampler`` is fetched when it is first asked for.
"""

from __future__ import annotations

from medvlm.data.conventions import CONVENTIONS, Convention, canonical_channel, convention
from medvlm.data.datalists import SECTIONS, load_datalist, merge_datalists, read_datalist, save_datalist

__all__ = [
    "CONVENTIONS",
    "SECTIONS",
    "Convention",
    "RatioSampler",
    "canonical_channel",
    "convention",
    "load_datalist",
    "merge_datalists",
    "read_datalist",
    "save_datalist",
]


def __getattr__(name: str):
    if name == "RatioSampler":
        from medvlm.data.samplers import RatioSampler

        return RatioSampler
    raise AttributeError(f"module 'medvlm.data' has no attribute {name!r}")
