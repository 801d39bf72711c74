"""What is wrong with a coronary tree: stenoses, occlusions with and without collaterals, calcification."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlm.coronary import SEGMENTS
from medvlm.data.phantoms.coronary_anatomy import Tree

Array = NDArray[np.float64]

COLLATERALS = ("none", "ipsilateral", "contralateral")
TRUNKS = {
    "left_main": 0.25, "proximal_lad": 1.6, "mid_lad": 1.4, "distal_lad": 0.5, "proximal_lcx": 1.2, "distal_lcx": 1.0,
    "proximal_rca": 1.4, "mid_rca": 1.6, "distal_rca": 1.0,
}  # fmt: skip
"""Segments of the large arteries and how often each has the worst lesion there: about as in clinical series."""
MILD, MODERATE, SEVERE = (20, 25, 30, 35, 40, 45), (50, 55, 60, 65, 70), (75, 80, 85, 90, 95, 99)
FLOW = {90: 0.9, 95: 0.75, 99: 0.5}
"""Severity of a stenosis -> share of the contrast that passes it; milder ones let all of it pass."""
_HOW_OFTEN = {75: 0.1, 80: 0.2, 85: 0.2, 90: 0.25, 95: 0.15, 99: 0.1}


@dataclass(frozen=True)
class Lesion:
    """One narrowing.

    Attributes:
        segment: index into ``SEGMENTS``.
        percent: diameter stenosis, 100 is an occlusion.
        place: share of the segment's way at which it is narrowest.
        length_mm: of the narrowing.
        chronic: an occlusion that tapers and is bridged by collaterals, if there are any; otherwise it ends bluntly.
        collaterals: one of ``COLLATERALS``: where the bed beyond an occlusion fills from, late and faintly.
    """

    segment: int
    percent: int
    place: float
    length_mm: float
    chronic: bool = False
    collaterals: str = "none"

    @property
    def name(self) -> str:
        """Of the segment."""
        return SEGMENTS[self.segment].name


@dataclass(frozen=True)
class Disease:
    """All lesions of a person and the calcified segments (indices)."""

    lesions: tuple[Lesion, ...]
    calcified: frozenset[int]

    def percent(self, segment: int) -> int:
        """Worst diameter stenosis of a segment."""
        return max((lesion.percent for lesion in self.lesions if lesion.segment == segment), default=0)

    def worst(self, segments: list[int] | None = None) -> int:
        """Worst diameter stenosis of all or some segments."""
        wanted = [one for one in self.lesions if segments is None or one.segment in segments]
        return max((lesion.percent for lesion in wanted), default=0)


@dataclass(frozen=True)
class Rates:
    """How much disease there is.

    Attributes:
        stenosis: share of studies with a severe stenosis (over 70%) or an occlusion.
        occlusion: share of these whose worst lesion is an occlusion.
        faint: share of the others whose worst lesion is short and 75 or 80%.
        branch: share of the worst lesions that are in a side branch, where fewer pixels show them.
        calcification: mean number of calcified segments, the same in both classes; diseased ones come first.
        extra_lesions: mean number of further lesions that are mild or moderate, the same in both classes.
        moderate: share of these that are of 50 to 70%, which look much like 75%.
        severe_from: least percentage of a severe stenosis that is not faint.
        lesion_length: factor on the length of narrowings, 8 to 16 mm, in both classes.
    """

    stenosis: float = 0.5
    occlusion: float = 0.25
    faint: float = 0.15
    branch: float = 0.2
    calcification: float = 0.5
    extra_lesions: float = 1.2
    moderate: float = 0.3
    severe_from: int = 75
    lesion_length: float = 1.0


@dataclass(frozen=True)
class Lumen:
    """The tree as contrast finds it, one entry a point.

    Attributes:
        radius_mm: of the lumen; 0 inside an occlusion.
        blocked: True beyond an occlusion.
        flow: share of the contrast that comes past the narrowings upstream; it comes later, too.
        collateral: ``COLLATERALS`` index that fills a blocked point.
        beyond_mm: way from the occlusion, 0 elsewhere.
    """

    radius_mm: Array
    blocked: NDArray[np.bool_]
    flow: Array
    collateral: NDArray[np.int64]
    beyond_mm: Array


def draw_disease(rng: np.random.Generator, tree: Tree, imaged: list[int], positive: bool, rates: Rates) -> Disease:
    """Draw lesions in segments that the study shows; none lies beyond an occlusion.

    Args:
        rng: own stream.
        tree: the person.
        imaged: indices of segments on injected sides.
        positive: whether there is a stenosis over 70%.
        rates: how much disease.
    """
    lesions: list[Lesion] = []
    if positive:
        lesions.append(_worst(rng, imaged, rates))
        if rng.random() < 0.3:
            lesions.append(_lesion(rng, _place(rng, imaged, rates), _percent(rng, rates), rates))
    for _ in range(rng.poisson(rates.extra_lesions)):
        percent = int(rng.choice(MODERATE if rng.random() < rates.moderate else MILD))
        lesions.append(_lesion(rng, int(rng.choice(imaged)), percent, rates))
    lesions = _one_a_segment(lesions)
    hidden = _hidden(tree, lesions)
    lesions = [one for one in lesions if one.segment not in hidden or one.percent == 100]
    diseased = {one.segment for one in lesions}
    free = [index for index in imaged if index not in hidden]
    order = sorted(free, key=lambda index: rng.random() - 0.5 * (index in diseased))
    calcified = frozenset(order[: rng.poisson(rates.calcification)])
    return Disease(tuple(sorted(lesions, key=lambda one: one.segment)), calcified)


def _place(rng: np.random.Generator, imaged: list[int], rates: Rates, main: bool = True) -> int:
    """A segment for a severe lesion."""
    weights = np.array([TRUNKS.get(SEGMENTS[index].name, 0.0) for index in imaged])
    if not main:
        weights[[SEGMENTS[index].name == "left_main" for index in imaged]] = 0
    branches = weights == 0
    if rng.random() < rates.branch and (side := [x for x, leaf in zip(imaged, branches, strict=True) if leaf]):
        return int(rng.choice([index for index in side if SEGMENTS[index].name != "left_main"]))
    return int(rng.choice(imaged, p=weights / weights.sum()))


def _worst(rng: np.random.Generator, imaged: list[int], rates: Rates) -> Lesion:
    kind = rng.random(2)
    if kind[0] < rates.occlusion:
        segment = _place(rng, imaged, rates, main=False)
        chronic = bool(rng.random() < 0.6)
        collaterals = COLLATERALS[int(rng.choice(3, p=(0.2, 0.4, 0.4) if chronic else (1, 0, 0)))]
        place, length = float(rng.uniform(0.25, 0.7)), float(rng.uniform(9, 20))
        return Lesion(segment, 100, place, length, chronic, collaterals)
    segment = _place(rng, imaged, rates)
    if kind[1] < rates.faint:
        return Lesion(segment, int(rng.choice((75, 80))), float(rng.uniform(0.2, 0.8)), float(rng.uniform(5, 7)))
    return _lesion(rng, segment, _percent(rng, rates), rates)


def _percent(rng: np.random.Generator, rates: Rates) -> int:
    values = [percent for percent in SEVERE if percent >= rates.severe_from]
    weights = np.array([_HOW_OFTEN[percent] for percent in values])
    return int(rng.choice(values, p=weights / weights.sum()))


def _lesion(rng: np.random.Generator, segment: int, percent: int, rates: Rates) -> Lesion:
    length_mm = rates.lesion_length * float(rng.uniform(8, 16))
    return Lesion(segment, percent, float(rng.uniform(0.2, 0.8)), length_mm)


def _one_a_segment(lesions: list[Lesion]) -> list[Lesion]:
    """The worst of each segment, so that a column holds one number; only the first may be an occlusion."""
    best: dict[int, Lesion] = {}
    for lesion in lesions:
        if lesion.segment not in best or lesion.percent > best[lesion.segment].percent:
            best[lesion.segment] = lesion
    return list(best.values())


def _centre(tree: Tree, lesion: Lesion) -> int:
    own = np.flatnonzero(tree.segment == lesion.segment)
    return int(own[min(int(lesion.place * len(own)), len(own) - 1)])


def _hidden(tree: Tree, lesions: list[Lesion]) -> set[int]:
    """Segments that an occlusion keeps from filling, in whole or in part, itself included."""
    out: set[int] = set()
    for lesion in lesions:
        if lesion.percent == 100:
            out |= {int(index) for index in np.unique(tree.segment[tree.beyond(_centre(tree, lesion))])}
    return out


def diseased_lumen(tree: Tree, disease: Disease) -> Lumen:
    """Narrow the tree.

    A narrowing has the shape of a raised cosine with a flat half, so that its least diameter is exactly
    ``1 - percent / 100`` of the healthy one.
    """
    radius = tree.radius_mm.copy()
    count = len(radius)
    blocked, flow = np.zeros(count, bool), np.ones(count)
    collateral, beyond_mm = np.zeros(count, np.int64), np.zeros(count)
    for lesion in disease.lesions:
        centre = _centre(tree, lesion)
        same = tree.branch == tree.branch[centre]
        away = np.where(same, tree.path_mm - tree.path_mm[centre], np.inf)
        if lesion.percent < 100:
            radius *= 1 - lesion.percent / 100 * _dip(2 * np.abs(away) / lesion.length_mm)
            flow[tree.beyond(centre)] *= FLOW.get(lesion.percent, 1.0)
            continue
        after = tree.beyond(centre)
        after[centre] = True
        blocked |= after
        collateral[after] = COLLATERALS.index(lesion.collaterals)
        beyond_mm[after] = tree.path_mm[after] - tree.path_mm[centre]
        if lesion.chronic:  # the stump tapers; an acute occlusion is cut off
            radius *= np.where((away <= 0) & (away > -8), np.clip(-away / 8, 0.1, 1), 1)
        radius[same & (away >= 0) & (away < lesion.length_mm)] = 0
    return Lumen(radius, blocked, flow, collateral, beyond_mm)


def _dip(share: Array) -> Array:
    """1 at the middle, flat to half way, 0 from 1 on."""
    return np.where(share < 1, (1 + np.cos(np.pi * np.clip(2 * share - 1, 0, 1))) / 2, 0)
