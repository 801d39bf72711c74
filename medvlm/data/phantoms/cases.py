"""Who is in a data set: which cases are healthy, faint, a later visit or a near-duplicate, and each one's own seed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from medvlm.data.phantoms.layouts import VOLUME_LAYOUTS
from medvlm.data.phantoms.subjects import Person
from medvlm.data.phantoms.tumours import KINDS

SOURCES = (*VOLUME_LAYOUTS, "kaggle_yes_no", "kaggle_four_class", "brats_slices")


@dataclass(frozen=True)
class Difficulty:
    """What makes a data set hard.

    Args:
        faint_fraction: share of the tumours that are faint and small.
        mimic_fraction: share of all persons with many bright things that are no tumour.
        noise: factor on every scanner's noise.
    """

    faint_fraction: float = 0.15
    mimic_fraction: float = 0.4
    noise: float = 1.0


@dataclass(frozen=True)
class Case:
    """One case to draw.

    Args:
        index: place in the source, from 0.
        patient: the person, from 0; a later visit shares it.
        visit: 0, or 1 for a second time point.
        kind: tumour kind, None for a healthy control.
        faint: whether the tumour is faint.
        rich_mimics: whether there are many mimics.
        copy_of: index of the case that this one is a near-duplicate of.
        entropy: the source's and the seed's part of every random stream.
    """

    index: int
    patient: int
    visit: int
    kind: str | None
    faint: bool
    rich_mimics: bool
    copy_of: int | None
    entropy: tuple[int, int]

    def person(self) -> Person:
        """The person; depends on the patient only."""
        seed = np.random.SeedSequence([*self.entropy, 1, self.patient])
        return Person.sample(seed, self.kind, self.faint, self.rich_mimics)

    def rng(self, purpose: int = 0) -> np.random.Generator:
        """This case's own stream for the scan and, with another ``purpose``, for other choices."""
        return np.random.default_rng([*self.entropy, 2, self.index, purpose])


def source_cases(source: str, count: int, healthy_fraction: float, seed: int, difficulty: Difficulty) -> list[Case]:
    """List a source's cases, with healthy controls and tumours in each.

    Args:
        source: one of ``SOURCES``.
        count: how many cases, at least 4.
        healthy_fraction: share of healthy controls, above 0 and below 1; at least one case of each stays.
        seed: the data set's seed.
        difficulty: shares of faint tumours and of persons with many mimics.
    """
    entropy = (seed, zlib.crc32(source.encode()))
    rng = np.random.default_rng([*entropy, 0])
    healthy = int(np.clip(round(count * healthy_fraction), 1, count - 1))
    kinds: list[str | None] = [None] * healthy + [_kind(source, index, rng) for index in range(count - healthy)]
    order = rng.permutation(count)
    draws = rng.random((count, 2))
    cases = [
        Case(
            index=index,
            patient=index,
            visit=0,
            kind=kinds[order[index]],
            faint=bool(draws[index, 0] < difficulty.faint_fraction),
            rich_mimics=bool(draws[index, 1] < difficulty.mimic_fraction),
            copy_of=None,
            entropy=entropy,
        )
        for index in range(count)
    ]
    if source in VOLUME_LAYOUTS and VOLUME_LAYOUTS[source].visits:
        return _with_visits(cases)
    return _with_copies(cases) if source == "kaggle_yes_no" else cases


def _kind(source: str, index: int, rng: np.random.Generator) -> str:
    if source == "kaggle_four_class":
        return KINDS[index % len(KINDS)]
    if source == "kaggle_yes_no":
        return str(rng.choice(KINDS, p=(0.75, 0.2, 0.05)))
    return "glioma"


def _with_visits(cases: list[Case]) -> list[Case]:
    """About every eighth case becomes the second time point of the one before it, healthy or not."""
    patient, out = -1, []
    for case in cases:
        second = case.index % 8 == 3
        patient += 0 if second else 1
        first = out[-1] if second else case
        out.append(
            Case(case.index, patient, int(second), first.kind, first.faint, first.rich_mimics, None, case.entropy)
        )
    short = {None: None, "glioma": "glioma"}.keys() - {case.kind for case in out}
    for kind in short:  # both classes stay in the source, whatever the visits replaced
        last = out[-1]
        out[-1] = Case(last.index, patient + 1, 0, kind, last.faint, last.rich_mimics, None, last.entropy)
    return out


def _with_copies(cases: list[Case]) -> list[Case]:
    """About every seventh picture becomes a near-duplicate of an earlier one of its own class."""
    out: list[Case] = []
    for case in cases:
        same = [other for other in out if (other.kind is None) == (case.kind is None) and other.copy_of is None]
        if case.index % 7 == 4 and same:
            like = same[-1]
            case = Case(case.index, like.patient, 0, like.kind, like.faint, like.rich_mimics, like.index, case.entropy)
        out.append(case)
    return out
