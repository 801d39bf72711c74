"""One case in, one case out: transforms with nothing to learn and no batch, in array and dictionary form."""

from __future__ import annotations

from transforms.augment import ForegroundOnly, ForegroundOnlyd
from transforms.channels import RandModalityDropout, RandModalityDropoutd, SelectChannels, SelectChannelsd
from transforms.components import DropSmallComponents, DropSmallComponentsd
from transforms.geometry import FitInPlane, FitInPlaned, SpacingSafed
from transforms.intensity import BrainZScore, BrainZScored, brain_foreground, is_foreground
from transforms.photos import PhotoReader
from transforms.picking import PickCased
from transforms.reading import LoadCase, LoadCased
from transforms.regions import LabelsToRegions, LabelsToRegionsd, RegionsToLabels, RegionsToLabelsd
from transforms.slices import RandSlice, RandSliced

__all__ = [
    "BrainZScore",
    "BrainZScored",
    "DropSmallComponents",
    "DropSmallComponentsd",
    "FitInPlane",
    "FitInPlaned",
    "ForegroundOnly",
    "ForegroundOnlyd",
    "LabelsToRegions",
    "LabelsToRegionsd",
    "LoadCase",
    "LoadCased",
    "PhotoReader",
    "PickCased",
    "RandModalityDropout",
    "RandModalityDropoutd",
    "RandSlice",
    "RandSliced",
    "RegionsToLabels",
    "RegionsToLabelsd",
    "SelectChannels",
    "SelectChannelsd",
    "SpacingSafed",
    "brain_foreground",
    "is_foreground",
]
