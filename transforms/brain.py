"""The brain found in a volume of a whole head, for networks that have learnt from extracted brains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import SimpleITK as sitk
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform, get_largest_connected_component_mask
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import convex_hull_image

from transforms.conventions import like

logger = logging.getLogger(__name__)

CONSTANT_BORDER = 0.5
"""Share of the border with one value, below which a volume counts as a whole head. Brain-extracted volumes have at
least 0.97 there (240 phantoms, three real ones), two real whole heads 0.13 and 0.24."""
MIDDLE_DEPTH_MM, MIDDLE_RADIUS_MM = (40.0, 100.0), 45.0
"""Where the level of the brain is read: so deep below the vertex, and so near the middle of the head."""
LEVELS = (0.55, 1.5)
"""Brightness of brain, as a share of its median in the middle, after correction of the bias field."""
RIM_LEVELS = (0.4, 2.5)
"""The same for what is added at the rim: grey matter, lesions, fluid."""
NECK_MM, NECK_DILATION_MM = 3.0, 4.0
"""Radius by which bridges between brain and scalp are cut, and by which what is left grows again."""
CLOSING_MM, OPENING_MM = 10.0, 4.0
"""Radius by which grooves and lesions at the surface are closed, and by which thin appendages are cut off."""
HEIGHT_MM = 135.0
"""The brain ends within this of the vertex."""
OVERHANG_MM, OVERHANG_GROWTH = 10.0, 0.6
"""Below its widest slice the brain may widen by no more than this share of the depth, measured over this depth."""
SMALLEST_MM = (100.0, 100.0, 30.0)
"""Size of a volume, in X, Y and Z, below which no head is looked for."""
SHARE_OF_HEAD, LARGEST_ML = (0.15, 0.95), 2500.0
"""Share of the head's voxels, and volume, within which a mask is believed to be a brain."""
GRID_MM, BIAS_GRID_MM = 1.0, 6.0
"""Voxels of the search, and of the bias field, are brought near this size."""
WHEN = ("auto", "always", "never")


def constant_border(image: np.ndarray) -> float:
    """The largest share of one value among the voxels on the faces of a volume.

    Extraction sets all that is not brain to one value, while a whole head has noise in the air around it, or reaches
    the border. A head whose air was set to 0 is not told from an extracted brain.

    Args:
        image: ``(X, Y, Z)``.

    Returns:
        0 to 1; 1 where extraction has left only background there.
    """
    faces = [image.take(index, axis=axis).ravel() for axis in range(image.ndim) for index in (0, -1)]
    _, counts = np.unique(np.concatenate(faces), return_counts=True)
    return float(counts.max() / counts.sum())


def looks_whole(image: np.ndarray) -> bool:
    """Whether a volume ``(X, Y, Z)`` looks like a whole head."""
    return constant_border(image) < CONSTANT_BORDER


def _without_bias(volume: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The volume divided by its bias field (N4, Tustison et al., IEEE TMI 2010), estimated on a coarse grid."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.T))
    image.SetSpacing([float(step) for step in spacing])
    coarse = sitk.Shrink(image, [max(1, round(BIAS_GRID_MM / step)) for step in spacing])
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([30, 30, 20])
    try:
        n4.Execute(coarse, sitk.OtsuThreshold(coarse, 0, 1, 200))
    except RuntimeError as error:
        logger.warning("the bias field could not be estimated, the brain is looked for without: %s", error)
        return volume
    return volume / np.exp(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T)


def _dilated(mask: np.ndarray, radius: float, spacing: Sequence[float]) -> np.ndarray:
    """The pixels within ``radius`` mm of a mask ``(X, Y)``."""
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius if mask.any() else mask


def _eroded(mask: np.ndarray, radius: float, spacing: Sequence[float]) -> np.ndarray:
    """The pixels of a mask ``(X, Y)`` that lie deeper than ``radius`` mm; outside of the image is outside."""
    return ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1] > radius


def _closed(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """A mask ``(X, Y)`` without grooves and holes."""
    edge = int(np.ceil(CLOSING_MM / min(spacing))) + 1
    wide = _dilated(np.pad(mask, edge), CLOSING_MM, spacing)
    return ndimage.binary_fill_holes(_eroded(wide, CLOSING_MM, spacing))[edge:-edge, edge:-edge]


def _opened(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """A mask ``(X, Y)`` without thin appendages."""
    return _dilated(_eroded(mask, OPENING_MM, spacing), OPENING_MM, spacing) & mask


def _each_slice(change: Callable[..., np.ndarray], mask: np.ndarray, *args: object) -> np.ndarray:
    """``change`` applied to every axial slice of ``(X, Y, Z)`` in which something is marked."""
    out = np.zeros_like(mask)
    for z in np.flatnonzero(mask.any((0, 1))):
        out[..., z] = change(mask[..., z], *args)
    return out


def _middle(head: np.ndarray, depth: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The part ``(X, Y, Z)`` of a head that holds brain whatever its shape."""
    slices = (depth > MIDDLE_DEPTH_MM[0]) & (depth < MIDDLE_DEPTH_MM[1])
    if not slices.any():
        slices = depth >= 0
    centre = [np.median(where) for where in np.nonzero(head[:, :, slices])[:2]]
    x, y = ((np.arange(side) - mid) * step for side, mid, step in zip(head.shape[:2], centre, spacing[:2], strict=True))
    return head & (np.hypot(x[:, None], y[None]) < MIDDLE_RADIUS_MM)[..., None] & slices


def _without_overhang(brain: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """A mask that does not spread out into face and neck below its widest slice."""
    step = max(1, round(OVERHANG_MM / spacing[2]))
    growth = OVERHANG_GROWTH * step * spacing[2]
    for z in range(int(brain.sum((0, 1)).argmax()) - step, -1, -1):
        brain[..., z] &= _dilated(brain[..., z + step], growth, spacing[:2])
    return brain


def _without_bites(brain: np.ndarray) -> np.ndarray:
    """A mask whose slices from the widest on upwards are convex: a bright lesion at the surface belongs to it."""
    for z in range(int(brain.sum((0, 1)).argmax()), brain.shape[2]):
        if brain[..., z].any():
            brain[..., z] = convex_hull_image(brain[..., z])
    return brain


def brain_in_head(volume: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Find the brain in a volume of a head.

    Nothing is learnt: after correction of the bias field the brain is what is about as bright as the middle of the
    head and hangs together with it once bridges of a few millimetres are cut; grooves, ventricles and lesions are
    closed within slices, and what spreads out below, face and neck, is left out. It holds for T1, T2, FLAIR and
    post-contrast T1 of adults whose vertex is in the picture, not for a head with its calvarium opened.

    Args:
        volume: ``(X, Y, Z)``, Z pointing to the vertex, finite.
        spacing: size of a voxel in mm, three numbers.

    Returns:
        Boolean ``(X, Y, Z)``; all False where nothing was found that can be a brain.
    """
    above = volume.astype(np.float32) - np.float32(volume.min())
    sides = [side * step for side, step in zip(volume.shape, spacing, strict=True)]
    if not above.any() or min(volume.shape) < 4 or any(np.less(sides, SMALLEST_MM)):
        return np.zeros(volume.shape, dtype=bool)
    steps = [max(1, round(GRID_MM / step)) for step in spacing]
    coarse = above[tuple(slice(None, None, step) for step in steps)]
    brain = _coarse_brain(coarse, [step * size for step, size in zip(steps, spacing, strict=True)])
    if max(steps) == 1:
        return brain
    scale, shape = [1 / step for step in steps], volume.shape
    return ndimage.affine_transform(brain.astype(np.float32), scale, output_shape=shape, order=1, mode="nearest") > 0.5


def _coarse_brain(volume: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """``brain_in_head`` on voxels of about 1 mm, of brightness from 0 on."""
    nothing = np.zeros(volume.shape, dtype=bool)
    even = _without_bias(volume, spacing)
    head = even > 0.5 * threshold_otsu(np.minimum(even, np.percentile(even, 99)))
    filled = np.flatnonzero(head.mean((0, 1)) > 0.02)
    if not filled.size:
        return nothing
    depth = (filled.max() - np.arange(volume.shape[2])) * spacing[2]
    middle = _middle(head, depth, spacing)
    level = np.median(even[middle]) if middle.any() else 0.0
    seed = _each_slice(_eroded, (even > LEVELS[0] * level) & (even < LEVELS[1] * level), NECK_MM, spacing[:2])
    seed[..., depth > HEIGHT_MM] = False
    labels, count = ndimage.label(seed)
    votes = np.bincount(labels[middle], minlength=count + 1)
    votes[0] = 0
    if not votes.any():
        return nothing
    brain = _each_slice(_dilated, labels == votes.argmax(), NECK_DILATION_MM, spacing[:2])
    brain &= (even > RIM_LEVELS[0] * level) & (even < RIM_LEVELS[1] * level)
    brain = _without_overhang(_each_slice(_closed, brain, spacing[:2]), spacing)
    brain = get_largest_connected_component_mask(_each_slice(_opened, brain, spacing[:2]), connectivity=1)
    brain = _without_bites(brain)
    share, millilitres = brain.sum() / head.sum(), brain.sum() * np.prod(spacing) / 1000
    believed = SHARE_OF_HEAD[0] < share < SHARE_OF_HEAD[1] and millilitres < LARGEST_ML
    return brain if believed else nothing


class ExtractBrain(Transform):
    """Set all but the brain to one value below it, where a volume shows a whole head.

    A volume that is extracted already and a picture (one slice) stay as they are, and so does a head in which no brain
    was found. The channels have one mask: what most of them show as brain (see ``brain_in_head``).

    Args:
        when: ``auto`` (where the border of the volume is not constant, see ``constant_border``), ``always`` (every
            volume) or ``never``.

    Raises:
        ValueError: for another ``when``.
    """

    def __init__(self, when: str = "auto") -> None:
        if when not in WHEN:
            raise ValueError(f"when to extract the brain must be one of {', '.join(WHEN)}, got {when!r}.")
        self.when = when

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Extract the brain of one case; see ``noted``."""
        return self.noted(image)[0]

    def noted(self, image: torch.Tensor) -> tuple[torch.Tensor, bool, float]:
        """Extract the brain of one case, and tell what was found.

        Args:
            image: ``(C, X, Y, Z)`` or ``(C, X, Y)``; in LPS or RAS, so that Z points to the vertex. A ``MetaTensor``
                tells the voxel's size, else it is 1 mm.

        Returns:
            The same shape, float32 where something was set; whether it looked like a whole head; the volume of the
            brain in mL, 0 where the image was left as it is.
        """
        if image.ndim != 4 or image.shape[-1] == 1:
            return image, False, 0.0
        array = torch.as_tensor(image).detach().cpu().numpy()
        shown = [channel for channel in array if np.isfinite(channel).all() and np.ptp(channel)]
        whole = bool(shown) and all(looks_whole(channel) for channel in shown)
        if not shown or self.when == "never" or (self.when == "auto" and not whole):
            return image, whole, 0.0
        spacing = [float(step) for step in image.pixdim] if isinstance(image, MetaTensor) else [1.0, 1.0, 1.0]
        brain = np.mean([brain_in_head(channel, spacing) for channel in shown], axis=0) > 0.5
        if not brain.any():
            return image, whole, 0.0
        out = array.astype(np.float32)
        for channel in out:
            inside = channel[brain]  # the background lies apart from every voxel of the brain, for ``BrainZScore``
            channel[~brain] = inside.min() - 0.5 * np.ptp(inside)
        return like(torch.from_numpy(out), image), whole, float(brain.sum() * np.prod(spacing) / 1000)


class ExtractBraind(MapTransform):
    """Dictionary form of ``ExtractBrain``, which notes what it did.

    ``whole_head`` of the case tells whether the last of the images looked like a whole head, ``extracted_ml`` the
    volume in mL that was left of it, 0 where nothing was changed.

    Args:
        keys: images.
        when: see ``ExtractBrain``.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(self, keys: KeysCollection = "image", when: str = "auto", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.extract = ExtractBrain(when)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Extract the brain of ``data[key]`` for each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key], d["whole_head"], d["extracted_ml"] = self.extract.noted(d[key])
        return d
