"""Losses and the weighting of tasks.

The names below are imported when they are first used, so that a part without MONAI does not wait for its import.
"""

from __future__ import annotations

import importlib

_MODULES = {
    "CaptioningLoss": "captioning",
    "CineTextLoss": "cine_text",
    "ClassLoss": "classification",
    "FeatureDistillationLoss": "distillation",
    "FixedWeights": "weighting",
    "GradNormWeights": "weighting",
    "MaskedVideoLoss": "masked_video",
    "MultiTaskLoss": "multitask",
    "ProbeLoss": "probes",
    "RegionLoss": "segmentation",
    "ScheduledWeights": "weighting",
    "SigmoidContrastiveLoss": "contrastive",
    "SoftmaxContrastiveLoss": "contrastive",
    "UncertaintyWeights": "weighting",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> type:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
