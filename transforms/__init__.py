"""One case in, one case out: transforms with nothing to learn and no batch, in array and dictionary form."""

from __future__ import annotations

from transforms.augment import ForegroundOnly, ForegroundOnlyd
from transforms.boxes import Boxesd
from transforms.brain import ExtractBrain, ExtractBraind, brain_in_head
from transforms.channels import RandChanneld, RandModalityDropout, RandModalityDropoutd, SelectChannels, SelectChannelsd
from transforms.cine import Cine, CineInfo
from transforms.cine_augment import RandCineAffined, RandCineIntensityd, RandDropViewd
from transforms.cine_reading import CineReader, open_cine, views_of
from transforms.cine_resampling import RequireViewd, ResampleCined
from transforms.cine_sampling import NormaliseCined, SampleFramesd
from transforms.cine_study import LoadCined, PickCined
from transforms.components import DropSmallComponents, DropSmallComponentsd
from transforms.empty_masks import RandForgetEmptyMaskd
from transforms.geometry import FitInPlane, FitInPlaned, SpacingSafed
from transforms.given_targets import SoftPositivesd, TeacherFeaturesd
from transforms.heads import RandHead, RandHeadd
from transforms.intensity import BrainZScore, BrainZScored, brain_foreground, is_foreground
from transforms.photos import PhotoReader
from transforms.picking import PickCased
from transforms.reading import LoadCase, LoadCased
from transforms.regions import (
    LabelsToRegions,
    LabelsToRegionsd,
    NestRegions,
    NestRegionsd,
    RegionsToLabels,
    RegionsToLabelsd,
)
from transforms.side_inputs import SideInputsd
from transforms.slices import RandSlice, RandSliced
from transforms.targets import TargetsToTensord
from transforms.text import Tokenised, clean_report, normalise_text, report_sections
from transforms.untracked import Untracked

__all__ = [
    "Boxesd",
    "BrainZScore",
    "BrainZScored",
    "Cine",
    "CineInfo",
    "CineReader",
    "DropSmallComponents",
    "DropSmallComponentsd",
    "ExtractBrain",
    "ExtractBraind",
    "FitInPlane",
    "FitInPlaned",
    "ForegroundOnly",
    "ForegroundOnlyd",
    "LabelsToRegions",
    "LabelsToRegionsd",
    "LoadCase",
    "LoadCased",
    "LoadCined",
    "NestRegions",
    "NestRegionsd",
    "NormaliseCined",
    "PhotoReader",
    "PickCased",
    "PickCined",
    "RandChanneld",
    "RandCineAffined",
    "RandCineIntensityd",
    "RandDropViewd",
    "RandForgetEmptyMaskd",
    "RandHead",
    "RandHeadd",
    "RandModalityDropout",
    "RandModalityDropoutd",
    "RandSlice",
    "RandSliced",
    "RegionsToLabels",
    "RegionsToLabelsd",
    "RequireViewd",
    "ResampleCined",
    "SampleFramesd",
    "SelectChannels",
    "SelectChannelsd",
    "SideInputsd",
    "SoftPositivesd",
    "SpacingSafed",
    "TargetsToTensord",
    "TeacherFeaturesd",
    "Tokenised",
    "Untracked",
    "brain_foreground",
    "brain_in_head",
    "clean_report",
    "is_foreground",
    "normalise_text",
    "open_cine",
    "report_sections",
    "views_of",
]
