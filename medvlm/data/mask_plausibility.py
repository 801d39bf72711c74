"""Whether a mask can belong to its image and to its convention: what a wrong file or a wrong number looks like.

Every finding is a doubt, not a proof: a person should look.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medvlm.data.conventions import CONVENTIONS

OUTSIDE_BRAIN = 0.2
"""Share of a mask on empty background above which it looks like another case's."""
FEW_VOXELS = 100
"""Below it nothing is concluded."""


def doubts_about_mask(mask: np.ndarray, channels: Mapping[str, np.ndarray], convention: str) -> list[tuple[str, str]]:
    """Compare a mask with its image and with the anatomy of a tumour.

    Args:
        mask: label map, any number of axes.
        channels: channel name to an image; images of another shape are passed over.
        convention: how the mask's values are read.

    Returns:
        Pairs of what is odd and what to do.
    """
    images = {name: data for name, data in channels.items() if data.shape == mask.shape and data.dtype.kind in "biuf"}
    doubts = _off_the_brain(mask, images) + _dark_on_flair(mask, images)
    if mask.ndim == 3:
        doubts += _oedema_inside(mask, convention)
    return doubts


def _background(data: np.ndarray) -> np.ndarray | None:
    """The empty surroundings of a skull-stripped image: the value of its first corner, if that is a fifth of it."""
    background = data == data[(0,) * data.ndim]
    return background if background.mean() >= 0.2 else None


def _off_the_brain(mask: np.ndarray, images: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    for name, data in images.items():
        background = _background(data)
        if background is None:
            continue
        outside = float(background[mask != 0].mean())
        if outside > OUTSIDE_BRAIN:
            what = f"{outside:.0%} of the mask lies on the empty background of {name}"
            return [(what, "look at both: the mask may belong to another case, or be flipped")]
    return []


def _dark_on_flair(mask: np.ndarray, images: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    """Tumour and oedema are brighter on FLAIR than the brain around."""
    flair = images.get("FLAIR")
    if flair is None or int((mask != 0).sum()) < FEW_VOXELS:
        return []
    background = _background(flair)
    if background is None:
        return []
    tumour = flair[mask != 0]
    brain = flair[(mask == 0) & ~background]
    if brain.size < FEW_VOXELS or not float(brain.std()) > 0:
        return []
    contrast = (float(tumour.mean()) - float(brain.mean())) / float(brain.std())
    if contrast > 0:
        return []
    what = f"the mask is no brighter on FLAIR than the rest of the brain ({contrast:+.2f} standard deviations)"
    return [(what, "look at both: the mask may belong to another case, or the channels be in another order")]


def _oedema_inside(mask: np.ndarray, convention: str) -> list[tuple[str, str]]:
    """Oedema surrounds the core; where the core surrounds the oedema, another convention was meant."""
    if convention not in CONVENTIONS:
        return []
    meanings = CONVENTIONS[convention].meanings
    oedema = [v for v, meaning in meanings.items() if meaning in ("oedema", "FLAIR hyperintensity")]
    core = [v for v, meaning in meanings.items() if "necrosis" in meaning or "non-enhancing" in meaning]
    if not oedema or not core:
        return []
    inner, outer = np.isin(mask, core), np.isin(mask, oedema)
    if inner.sum() < FEW_VOXELS or outer.sum() < FEW_VOXELS:
        return []
    touching = _touches_outside(mask)
    share_core, share_oedema = float(touching[inner].mean()), float(touching[outer].mean())
    if share_core <= 2 * share_oedema or share_core < 0.1:
        return []
    what = (
        f"the core (values {core}) touches the healthy brain more than the oedema (values {oedema}) does: "
        f"{share_core:.0%} against {share_oedema:.0%} of their voxels"
    )
    return [(what, f"check that the convention is {convention}: values may be swapped (msd and brats2023 differ so)")]


def _touches_outside(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask that have a face in common with background."""
    padded = np.pad(mask == 0, 1, constant_values=False)
    middle = (slice(1, -1),) * mask.ndim
    touching = np.zeros(mask.shape, bool)
    for axis in range(mask.ndim):
        for step in (-1, 1):
            touching |= np.roll(padded, step, axis)[middle]
    return touching & (mask != 0)
