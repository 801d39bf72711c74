"""Losses and the weighting of tasks."""

from __future__ import annotations

from medvlm.losses.classification import ClassLoss
from medvlm.losses.multitask import MultiTaskLoss
from medvlm.losses.segmentation import RegionLoss
from medvlm.losses.weighting import FixedWeights, GradNormWeights, UncertaintyWeights

__all__ = ["ClassLoss", "FixedWeights", "GradNormWeights", "MultiTaskLoss", "RegionLoss", "UncertaintyWeights"]
