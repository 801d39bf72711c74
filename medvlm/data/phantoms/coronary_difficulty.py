"""How hard coronary phantoms are: three settings by name, and every number of them by itself."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from medvlm.data.phantoms.coronary_disease import SEVERE, Rates


@dataclass(frozen=True)
class Difficulty:
    """What makes stenoses hard to find.

    Attributes:
        variation: factor on how much persons, angles and framing differ.
        projections: how many of the usual angles of each artery are in use, 1 to 6.
        severe_from: least percentage of a severe stenosis that is not faint.
        occlusion_fraction: share of the patients with a severe stenosis whose worst lesion is a total occlusion.
        faint_fraction: share of the others whose worst lesion is short and 75 or 80%.
        branch_fraction: share of the severe lesions in side branches, where few pixels show them.
        extra_lesions: mean number of mild and moderate lesions, the same in both classes.
        moderate_fraction: share of these that are of 50 to 70% and look much like 75%.
        calcification: mean number of calcified segments, the same in both classes.
        lesion_length: factor on the length of narrowings, 8 to 16 mm.
        calibre: factor on the diameter of the arteries; 1 is life size.
        contrast: factor on what the contrast absorbs.
        noise: factor on the noise.
    """

    variation: float = 1.0
    projections: int = 6
    severe_from: int = 75
    occlusion_fraction: float = 0.25
    faint_fraction: float = 0.15
    branch_fraction: float = 0.2
    extra_lesions: float = 1.2
    moderate_fraction: float = 0.3
    calcification: float = 0.5
    lesion_length: float = 1.0
    calibre: float = 1.25
    contrast: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        for name in ("occlusion_fraction", "faint_fraction", "branch_fraction", "moderate_fraction"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {share}; it is a share.")
        for name in ("variation", "extra_lesions", "calcification", "contrast", "noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}; 0 is none.")
        for name in ("calibre", "lesion_length"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}; 1 is life size.")
        if not 1 <= self.projections <= 6:
            raise ValueError(f"projections must lie in 1..6, got {self.projections}; 6 uses all that there are.")
        if not 70 < self.severe_from <= SEVERE[-1]:
            raise ValueError(f"severe_from must lie in 71..{SEVERE[-1]} percent, got {self.severe_from}.")

    def rates(self, stenosis_fraction: float) -> Rates:
        """How much disease there is."""
        return Rates(
            stenosis=float(stenosis_fraction),
            occlusion=self.occlusion_fraction,
            faint=self.faint_fraction,
            branch=self.branch_fraction,
            calcification=self.calcification,
            extra_lesions=self.extra_lesions,
            moderate=self.moderate_fraction,
            severe_from=self.severe_from,
            lesion_length=self.lesion_length,
        )


DIFFICULTIES = {
    "easy": Difficulty(
        variation=0.3,
        projections=1,
        severe_from=90,
        occlusion_fraction=0.35,
        faint_fraction=0.0,
        branch_fraction=0.0,
        extra_lesions=0.5,
        moderate_fraction=0.0,
        lesion_length=1.5,
        calibre=1.5,
        noise=0.7,
    ),
    "typical": Difficulty(),
    "hard": Difficulty(
        occlusion_fraction=0.15,
        faint_fraction=0.3,
        branch_fraction=0.35,
        extra_lesions=1.8,
        moderate_fraction=0.4,
        calibre=1.0,
        noise=1.4,
    ),
}
"""``easy`` is for networks that train for minutes on some hundred studies: persons are much alike, each artery is seen
in one projection, severe lesions are of 90% and more and lie in the trunks."""


def difficulty_named(name: str, **changes: float | None) -> Difficulty:
    """A setting, with some of its numbers changed.

    Args:
        name: one of ``DIFFICULTIES``.
        changes: attributes of ``Difficulty``; None leaves the setting's own.

    Raises:
        ValueError: no such setting, or a number is out of range.
    """
    if name not in DIFFICULTIES:
        raise ValueError(f"difficulty must be one of {', '.join(DIFFICULTIES)}, got {name!r}; typical is the default.")
    kinds = {field.name: int if field.type == "int" else float for field in fields(Difficulty)}
    given = {key: kinds[key](value) for key, value in changes.items() if value is not None}
    return replace(DIFFICULTIES[name], **given)
