"""Who is in a set of coronary phantoms: persons, studies, views, disease; each choice from a stream of its own.

What is not disease (views, angles, laboratory, file format, boilerplate) is drawn from streams that know nothing of
the disease, so that none of it tells the class.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvlm.coronary import DOMINANCE, SEGMENTS
from medvlm.data.phantoms.coronary_anatomy import LEFT, RIGHT, Tree, coronary_tree
from medvlm.data.phantoms.coronary_cine import PROJECTIONS, View
from medvlm.data.phantoms.coronary_disease import Disease, Rates, draw_disease
from medvlm.data.phantoms.coronary_reports import Shown

SPLITS = ("train", "val", "test")
_NAME = zlib.crc32(b"coronary")
_ANATOMY, _DISEASE, _VIEWS, _ROOM, _WRITING, _REPORT = range(6)


@dataclass(frozen=True)
class Study:
    """One study to draw.

    Attributes:
        index: place in the set, from 0.
        patient: the person, from 0; a repeated study shares person and disease.
        positive: whether there is a stenosis over 70%.
        split: ``train``, ``val`` or ``test``.
        sides: arteries that are injected.
        runs: number of views.
        seed: of the set.
    """

    index: int
    patient: int
    positive: bool
    split: str
    sides: tuple[int, ...]
    runs: int
    seed: int

    @property
    def name(self) -> str:
        """Of the study's folder."""
        return f"study_{self.index:04d}"

    @property
    def patient_id(self) -> str:
        """``PatientID``."""
        return f"CORO{self.patient:04d}"

    def person(self, step_mm: float, calibre: float, variation: float = 1.0) -> Tree:
        """The coronary tree; depends on the patient only."""
        rng = np.random.default_rng([self.seed, _NAME, _ANATOMY, self.patient])
        dominance = DOMINANCE[int(rng.choice(3, p=(0.78, 0.12, 0.10)))]
        return coronary_tree(rng, dominance, step_mm, calibre, variation)

    def shown(self, tree: Tree, rates: Rates) -> Shown:
        """What the study shows."""
        rng = np.random.default_rng([self.seed, _NAME, _DISEASE, self.patient])
        imaged = [index for side in sorted(self.sides) for index in tree.segments(side)]
        disease: Disease = draw_disease(rng, tree, imaged, self.positive, rates)
        return Shown(tree, disease, frozenset(self.sides))

    def views(
        self, frames: Sequence[int], fps: Sequence[float], projections: int = 6, variation: float = 1.0
    ) -> list[View]:
        """The runs, left artery first, angles within some degrees of the usual ones.

        Args:
            frames: least and most frames of a run.
            fps: rates to choose from.
            projections: how many of the usual angles of each artery are in use.
            variation: factor on how far the angles stray from these.
        """
        rng = self.rng(_VIEWS)
        further = rng.choice(self.sides, self.runs, p=_shares(self.sides))
        sides = sorted([*self.sides, *(int(side) for side in further)][: self.runs])
        orders = {side: _order(rng, len(PROJECTIONS[side]), projections) for side in (LEFT, RIGHT)}
        out = []
        for number, side in enumerate(sides):
            primary, secondary = PROJECTIONS[side][orders[side].pop()]
            shift = variation * rng.normal(0, 4, 2).clip(-8, 8)
            out.append(
                View(
                    side=side,
                    primary_deg=round(float(primary + shift[0]), 1),
                    secondary_deg=round(float(secondary + shift[1]), 1),
                    frames=int(rng.integers(frames[0], frames[-1] + 1)),
                    frame_time_ms=1000 / float(rng.choice(fps)),
                    seed=(self.seed, _NAME, 10, self.index, number),
                )
            )
        return out

    def rng(self, purpose: int) -> np.random.Generator:
        """This study's own stream for one purpose."""
        return np.random.default_rng([self.seed, _NAME, 20 + purpose, self.index])

    @property
    def room_rng(self) -> np.random.Generator:
        """For the laboratory."""
        return self.rng(_ROOM)

    @property
    def writing_rng(self) -> np.random.Generator:
        """For the way files are written."""
        return self.rng(_WRITING)

    @property
    def report_rng(self) -> np.random.Generator:
        """For the wording."""
        return self.rng(_REPORT)


def _order(rng: np.random.Generator, there: int, used: int) -> list[int]:
    """Places in a list of projections, in random order, none twice before each has been once."""
    kinds = min(there, used)
    return [int(place) for _ in range(-(-6 // kinds)) for place in rng.permutation(kinds)]


def _shares(sides: Sequence[int]) -> list[float]:
    weights = [0.62 if side == LEFT else 0.38 for side in sides]
    return [weight / sum(weights) for weight in weights]


def draw_studies(
    count: int,
    stenosis_fraction: float,
    repeat_fraction: float,
    views: Sequence[int],
    fractions: Sequence[float],
    seed: int,
) -> list[Study]:
    """List the studies of a set.

    Args:
        count: how many.
        stenosis_fraction: share of patients with a stenosis over 70%, kept in each split as nearly as numbers allow.
        repeat_fraction: share of studies that are a second one of the patient before.
        views: least and most runs of a study; where there is one run, one artery is injected, and so in a tenth of
            the other patients.
        fractions: of the patients for train, val, test.
        seed: of the set.
    """
    rng = np.random.default_rng([seed, _NAME])
    repeats = rng.random(count) < repeat_fraction
    repeats[:1] = False
    repeats[1:] &= ~repeats[:-1]
    patients = np.cumsum(~repeats) - 1
    persons = int(patients[-1]) + 1
    positive = rng.permutation(persons) < round(persons * stenosis_fraction)
    split = _splits(rng, positive, fractions)
    runs = rng.integers(views[0], views[-1] + 1, persons)
    single = rng.random((persons, 2)) < (0.1, 0.6)
    out = []
    for index in range(count):
        who = int(patients[index])
        one = LEFT if single[who, 1] else RIGHT
        sides = (one,) if runs[who] == 1 or single[who, 0] else (LEFT, RIGHT)
        out.append(Study(index, who, bool(positive[who]), split[who], sides, int(runs[who]), seed))
    return out


def _splits(rng: np.random.Generator, positive: np.ndarray, fractions: Sequence[float]) -> list[str]:
    """A split for each person, with the same share of each class."""
    out = [""] * len(positive)
    for kind in (False, True):
        mixed = rng.permutation(np.flatnonzero(positive == kind))
        ends = np.round(np.cumsum(fractions) / sum(fractions) * len(mixed)).astype(int)
        for name, start, end in zip(SPLITS, (0, *ends[:-1]), ends, strict=True):
            for who in mixed[start:end]:
                out[who] = name
    return out


def table_row(shown: Shown) -> dict[str, int | str]:
    """Columns of the manifest that hold the truth; empty where the study does not show a segment or nobody has it."""
    seen = set(shown.segments)
    worst = shown.disease.worst(shown.segments)
    row: dict[str, int | str] = {
        "dominance": shown.tree.dominance,
        "max_stenosis": worst,
        "stenosis": int(worst > 70),
        "occlusion": int(worst == 100),
        "calcification": int(bool(shown.disease.calcified & seen)),
    }
    for vessel in ("LM", "LAD", "LCX", "RCA"):
        own = max((lesion.percent for lesion in shown.lesions(vessel)), default=0)
        row[f"{vessel.lower()}_max_stenosis"] = own if vessel in shown.vessels else ""
    chronic = {lesion.segment for lesion in shown.disease.lesions if lesion.percent == 100 and lesion.chronic}
    for index, segment in enumerate(SEGMENTS):
        known = index in seen
        row[f"{segment.name}_stenosis"] = shown.disease.percent(index) if known else ""
        row[f"{segment.name}_calcif_binary"] = int(index in shown.disease.calcified) if known else ""
        row[f"{segment.name}_cto"] = int(index in chronic) if known else ""
    return row
