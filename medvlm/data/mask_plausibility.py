"""Whether a mask can belong to its image and to its convention: what a wrong file or a wrong number looks like.

Every finding is a doubt, not a proof: a person should look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medvlm.data.conventions import CONVENTIONS
from medvlm.data.mirrored_masks import better_mirror, rests_on_labels
from medvlm.data.swapped_labels import ENHANCING, better_labels, roles_of

OUTSIDE_BRAIN = 0.2
"""Share of a mask on empty background above which it looks like another case's."""
FEW_VOXELS = 100
"""Below it the whole mask's brightness says nothing."""
AXES = ("first", "second", "third")


def doubts_about_mask(
    mask: np.ndarray,
    channels: Mapping[str, np.ndarray],
    convention: str,
    spacing_mm: Sequence[float] | None = None,
) -> list[tuple[str, str]]:
    """Compare a mask with its image and with the anatomy of a tumour.

    Args:
        mask: label map, any number of axes.
        channels: channel name to an image; images of another shape are passed over.
        convention: how the mask's values are read.
        spacing_mm: voxel sizes; equal by default.

    Returns:
        Pairs of what is odd and what to do.
    """
    if not mask.any():
        return []
    images = {name: data for name, data in channels.items() if data.shape == mask.shape and data.dtype.kind in "biuf"}
    backgrounds = {name: found for name, data in images.items() if (found := _background(data)) is not None}
    roles = roles_of(convention)
    doubts = _off_the_brain(mask, backgrounds)
    where = _mirrored(mask, images, backgrounds, roles) or _dark_on_flair(mask, images, backgrounds)
    if mask.ndim == 3 and (not where or rests_on_labels(images)):
        where += _swapped(mask, images, backgrounds, roles, spacing_mm)
    return doubts + where


def _background(data: np.ndarray) -> np.ndarray | None:
    """The empty surroundings of a skull-stripped image: the value of its first corner, if that is a fifth of it."""
    background = data == data[(0,) * data.ndim]
    return background if background.mean() >= 0.2 else None


def _off_the_brain(mask: np.ndarray, backgrounds: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    for name, background in backgrounds.items():
        outside = float(background[mask != 0].mean())
        if outside > OUTSIDE_BRAIN:
            what = f"{outside:.0%} of the mask lies on the empty background of {name}"
            return [(what, "look at both: the mask may belong to another case, or be flipped")]
    return []


def _mirrored(
    mask: np.ndarray,
    images: Mapping[str, np.ndarray],
    backgrounds: Mapping[str, np.ndarray],
    roles: Mapping[int, str],
) -> list[tuple[str, str]]:
    enhancing = [value for value, role in roles.items() if role == ENHANCING]
    found = better_mirror(mask, images, backgrounds, enhancing)
    if found is None:
        return []
    names = " and ".join(AXES[axis] for axis in found.alternative)
    what = f"the mask fits the image better when mirrored along its {names} {'axis' if ' ' not in names else 'axes'}"
    remedy = "look at both: mirror the mask, unless it belongs to another case or the channels are in another order"
    return [(f"{what}: {found.evidence}", remedy)]


def _dark_on_flair(
    mask: np.ndarray, images: Mapping[str, np.ndarray], backgrounds: Mapping[str, np.ndarray]
) -> list[tuple[str, str]]:
    """Tumour and oedema are brighter on FLAIR than the brain around."""
    if "FLAIR" not in backgrounds or int((mask != 0).sum()) < FEW_VOXELS:
        return []
    flair = images["FLAIR"]
    tumour = flair[mask != 0]
    brain = flair[(mask == 0) & ~backgrounds["FLAIR"]]
    if brain.size < FEW_VOXELS or not float(brain.std()) > 0:
        return []
    contrast = (float(tumour.mean()) - float(brain.mean())) / float(brain.std())
    if contrast > 0:
        return []
    what = f"the mask is no brighter on FLAIR than the rest of the brain ({contrast:+.2f} standard deviations)"
    return [(what, "look at both: the mask may belong to another case, or the channels be in another order")]


def _swapped(
    mask: np.ndarray,
    images: Mapping[str, np.ndarray],
    backgrounds: Mapping[str, np.ndarray],
    roles: Mapping[int, str],
    spacing_mm: Sequence[float] | None,
) -> list[tuple[str, str]]:
    found = better_labels(mask, images, backgrounds, roles, spacing_mm) if roles else None
    if found is None:
        return []
    a, b = found.alternative
    meant = {**roles, a: roles[b], b: roles[a]}
    others = [name for name in CONVENTIONS if roles_of(name) == meant]
    remedy = "look at both: exchange the two values"
    if others:
        remedy += f", or declare the convention {' or '.join(others)}, in which they mean that"
    return [(f"labels {a} and {b} look swapped: {found.evidence}", remedy)]
