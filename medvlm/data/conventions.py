"""What the numbers of a tumour mask mean, and what the channels of an image are called.

The values 1, 2, 3 alone cannot tell BraTS 2023 from the Medical Segmentation Decathlon, so that a convention is
always named: by the layout that proves it, or by the user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from medvlm.spelling import did_you_mean


@dataclass(frozen=True)
class Convention:
    """How the values of a label map are read.

    Attributes:
        name: the word used in datalists and on the command line.
        meanings: value to its meaning, background left out.
        regions: region name (``TC``, ``WT``, ``ET``) to the values that form it.
    """

    name: str
    meanings: dict[int, str]
    regions: dict[str, tuple[int, ...]]

    @property
    def values(self) -> tuple[int, ...]:
        """Every value that a mask may hold, background 0 first."""
        return (0, *self.meanings)

    def as_dict(self) -> dict[str, object]:
        """The convention as a datalist writes it: ``values`` and ``regions``."""
        return {"values": list(self.values), "regions": self.regions_as_lists()}

    def regions_as_lists(self) -> dict[str, list[int]]:
        """The regions as JSON holds them."""
        return {region: list(values) for region, values in self.regions.items()}


CONVENTIONS = {
    entry.name: entry
    for entry in (
        Convention(
            "brats2015",
            {1: "necrosis", 2: "oedema", 3: "non-enhancing tumour", 4: "enhancing tumour"},
            {"TC": (1, 3, 4), "WT": (1, 2, 3, 4), "ET": (4,)},
        ),
        Convention(
            "brats2017_2021",
            {1: "necrosis and non-enhancing tumour", 2: "oedema", 4: "enhancing tumour"},
            {"TC": (1, 4), "WT": (1, 2, 4), "ET": (4,)},
        ),
        Convention(
            "brats2023",
            {1: "necrosis", 2: "oedema", 3: "enhancing tumour"},
            {"TC": (1, 3), "WT": (1, 2, 3), "ET": (3,)},
        ),
        Convention(
            "brats2024",
            {1: "non-enhancing tumour core", 2: "FLAIR hyperintensity", 3: "enhancing tumour", 4: "resection cavity"},
            {"TC": (1, 3), "WT": (1, 2, 3), "ET": (3,)},
        ),
        Convention(
            "msd",
            {1: "oedema", 2: "non-enhancing tumour", 3: "enhancing tumour"},
            {"TC": (2, 3), "WT": (1, 2, 3), "ET": (3,)},
        ),
        Convention("binary_wt", {1: "tumour", 255: "tumour"}, {"WT": (1, 255)}),
    )
}

CHANNELS = ("FLAIR", "T1", "T1c", "T2")
UNNAMED_CHANNEL = "MRI"
_CHANNEL_SPELLINGS = {
    "flair": "FLAIR", "fla": "FLAIR", "t2f": "FLAIR", "t2flair": "FLAIR",
    "t1": "T1", "t1w": "T1", "t1n": "T1",
    "t1c": "T1c", "t1ce": "T1c", "t1gd": "T1c", "t1post": "T1c", "t1wce": "T1c", "t1wgd": "T1c",
    "t2": "T2", "t2w": "T2",
    "mri": UNNAMED_CHANNEL,
}  # fmt: skip


def convention(name: str) -> Convention:
    """Look a label convention up by its name.

    Raises:
        ValueError: no convention has this name; the message lists those that exist.
    """
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    hint = did_you_mean(str(name), CONVENTIONS)
    raise ValueError(f"No label convention is called {name!r}; there are {', '.join(CONVENTIONS)}{hint}")


def canonical_channel(name: str) -> str:
    """Give the canonical name (``FLAIR``, ``T1``, ``T1c``, ``T2``, ``MRI``) of a modality in any usual spelling.

    Raises:
        ValueError: the spelling is not known.
    """
    key = re.sub(r"[^a-z0-9]", "", str(name).lower())
    if key in _CHANNEL_SPELLINGS:
        return _CHANNEL_SPELLINGS[key]
    raise ValueError(
        f"{name!r} is no channel name that is known; use {', '.join((*CHANNELS, UNNAMED_CHANNEL))} "
        f"({UNNAMED_CHANNEL} is an MR image of unstated weighting)."
    )


def foreign_values(values: Iterable[int], name: str) -> tuple[list[int], str]:
    """Find the values of a mask that its convention does not know.

    Args:
        values: the values found in the mask.
        name: the convention that was declared.

    Returns:
        The foreign values, ascending, and a remedy that names the conventions in which all values would fit
        (an empty text when nothing is foreign).
    """
    found = {int(v) for v in values}
    foreign = sorted(found - set(convention(name).values))
    if not foreign:
        return [], ""
    fitting = [entry.name for entry in CONVENTIONS.values() if found <= set(entry.values)]
    if fitting:
        return foreign, f"declare the right convention (all values fit {', '.join(fitting)}) or correct the mask"
    return foreign, "give the file that holds the label map, not an image or probabilities, or correct the mask"
