"""Brain foreground and its z-score: one normalisation for every source of MR images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from scipy import ndimage

from transforms.conventions import like

FRAME_DEPTH = 0.12  # a drawn frame or a bar lies within this share of a side
CLEAN_SHARE = 0.04  # dim voxels per bright one; skull-stripped scans < 0.03, pictures and whole heads > 0.06
CLEAN_RIM_SHARE = 0.25  # dim voxels on the rim; z-scored brains < 0.08, pictures and whole heads > 0.7
NOISE_WIDTHS = 4.0  # background noise widths that the foreground must exceed
CONTRAST_SHARE = 0.1  # of the bright end of the image, which the foreground must exceed on a noisy background
IN_PLANE = np.zeros((3, 3, 3), dtype=bool)  # 4-neighbours within an axial slice
IN_PLANE[:, 1, 1] = IN_PLANE[1, :, 1] = True


def is_foreground(image: torch.Tensor) -> torch.Tensor:
    """Select the foreground of an image that ``BrainZScore`` normalised, for MONAI's ``CropForeground``.

    Args:
        image: ``(C, X, Y[, Z])``, background exactly 0.

    Returns:
        Boolean tensor of the same shape.
    """
    return image != 0


def _bar_end(middle: np.ndarray, spread: np.ndarray, lo: float, hi: float) -> int:
    """Index just inside the drawn bars at the start of one side, 0 where there is none.

    ``middle`` and ``spread`` are the median and the spread of each line from the edge inwards. A white margin is
    bright and uniform from the edge on; a frame is a bright, nearly uniform line with something darker inside of it.
    """
    contrast = hi - lo
    bright = (middle > lo + 0.25 * contrast) & (spread < 0.15 * contrast)
    margin = (middle > lo + 0.8 * contrast) & (spread < 0.05 * contrast)
    start = int(np.argmin(margin)) if not margin.all() else 0
    step = max(2, len(middle) // 64)
    depth = min(start + max(2, int(len(middle) * FRAME_DEPTH)), len(middle) - step - 1)
    for i in range(depth - 1, start - 1, -1):
        if bright[i] and middle[i] - middle[i + 1 : i + 1 + step].min() > 0.2 * contrast:
            return i + 1 + step // 2
    return start


def _peel_frame(volume: np.ndarray) -> tuple[slice, slice]:
    """In-plane window of ``(X, Y, Z)`` inside drawn frames and bars."""
    plane = volume.mean(axis=2)
    lo, hi = np.percentile(plane, (1, 98))
    window = []
    for axis in (0, 1):
        low, middle, high = np.percentile(plane, (10, 50, 90), axis=1 - axis)
        start = _bar_end(middle, high - low, lo, hi)
        stop = _bar_end(middle[::-1], (high - low)[::-1], lo, hi)
        window.append(slice(start, plane.shape[axis] - stop))
    return window[0], window[1]


def _background(volume: np.ndarray) -> tuple[float, float]:
    """Value and noise width of the background, from the second darkest of the four in-plane corners.

    The darkest may be an odd one; up to two of them may hold a neck or a letter.
    """
    cx, cy = (max(2, side // 16) for side in volume.shape[:2])
    corners = [volume[x, y] for x in (slice(None, cx), slice(-cx, None)) for y in (slice(None, cy), slice(-cy, None))]
    medians = [float(np.median(corner)) for corner in corners]
    chosen = int(np.argsort(medians)[1])
    noise = 1.4826 * float(np.median(np.abs(corners[chosen] - medians[chosen])))
    return medians[chosen], noise


def _threshold(distance: np.ndarray, noise: float) -> float:
    """Distance from the background that a foreground voxel exceeds: 0 where the background is one exact value.

    A background is exact where hardly any voxel is near its value without being equal to it: anywhere (a
    skull-stripped scan), or at least on the rim of what differs from it (a z-scored brain, whose mean is 0 as well).
    """
    sample = distance[::2, ::2] if distance.size > 1 << 16 else distance
    bright = float(np.percentile(sample, 98)) or float(sample.max())
    contrast = CONTRAST_SHARE * bright
    dim = np.count_nonzero(sample < contrast) - np.count_nonzero(sample == 0)
    if dim < CLEAN_SHARE * np.count_nonzero(sample >= contrast):
        return 0.0
    differs = distance > 0
    entering, leaving = differs[1:] & ~differs[:-1], differs[:-1] & ~differs[1:]
    rim = np.concatenate([distance[1:][entering], distance[:-1][leaving]])
    if np.count_nonzero(rim < contrast) < CLEAN_RIM_SHARE * rim.size:
        return 0.0
    return float(np.clip(NOISE_WIDTHS * noise, contrast, 2 * contrast))


def _keep_large(mask: np.ndarray, share: float) -> np.ndarray:
    """Drop components smaller than ``share`` of the largest (letters, rulers, specks)."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= share * sizes.max())[labels]


def _fill_in_plane(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of every axial slice (dark ventricles, skull, air), all slices in one labelling."""
    labels, count = ndimage.label(~mask, structure=IN_PLANE)
    outside = np.zeros(count + 1, dtype=bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[edge.ravel()] = True
    outside[0] = False
    return ~outside[labels]


def brain_foreground(volume: np.ndarray) -> np.ndarray:
    """Find the brain (skull-stripped image) or the head (anything else).

    The background value is that of the darkest in-plane corner inside drawn frames. Where nearly every voxel is
    either that exact value or far from it, the background is clean and the foreground is all that differs from it;
    otherwise it must exceed the noise, and thin things such as letters and rulers are removed. Holes are filled
    within slices, so that dark ventricles are not mistaken for background.

    Args:
        volume: ``(X, Y, Z)``, Z axial; a 2D image has Z = 1.

    Returns:
        Boolean ``(X, Y, Z)``; all False where the image is constant.
    """
    found = np.zeros(volume.shape, dtype=bool)
    window = _peel_frame(volume)
    inner = volume[window]
    value, noise = _background(inner)
    distance = inner - np.float32(value)
    threshold = _threshold(np.abs(distance), noise)
    if threshold == 0:
        mask = distance != 0
    else:  # one side only: a background that is brighter than the corner does not make the corner foreground
        low, high = np.percentile(distance, (2, 98))
        mask = distance > threshold if high >= -low else distance < -threshold
    if not mask.any():
        return found
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    mask = np.pad(mask[box], ((1, 1), (1, 1), (0, 0)))  # the rim joins the outside of every slice
    if threshold == 0:
        mask = _keep_large(mask, 0.005)
    else:
        radius = max(1, round(min(inner.shape[:2]) / 100))
        solid = ndimage.binary_opening(mask, structure=IN_PLANE, iterations=radius)
        solid = _keep_large(solid, 0.05) if solid.any() else mask
        mask &= ndimage.binary_dilation(solid, structure=IN_PLANE, iterations=radius + 1)
    found[window][box] = _fill_in_plane(mask)[1:-1, 1:-1]
    return found


class BrainZScore(Transform):
    """Normalise each channel to mean 0 and standard deviation 1 inside its foreground, background exactly 0.

    The same code serves skull-stripped volumes, volumes that were z-scored before (the background being whatever
    constant it became), whole-head volumes, and pictures with noisy or grey backgrounds, white frames and letters.
    A constant channel, such as a missing modality, becomes 0. On a skull-stripped image, applying it twice is
    applying it once.

    Args:
        foreground: function from a ``(X, Y, Z)`` array to a boolean array of that shape.
    """

    def __init__(self, foreground: Callable[[np.ndarray], np.ndarray] = brain_foreground) -> None:
        self.foreground = foreground

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise one image.

        Args:
            image: ``(C, X, Y, Z)``, or ``(C, X, Y)``; any real type.

        Returns:
            float32 of the same shape; a ``MetaTensor`` keeps its affine and history.

        Raises:
            ValueError: where the image has another number of dimensions or holds NaN or infinity.
        """
        if image.ndim not in (3, 4):
            raise ValueError(f"BrainZScore needs (C, X, Y, Z) or (C, X, Y), got shape {tuple(image.shape)}.")
        array = np.asarray(torch.as_tensor(image).detach().cpu().numpy(), dtype=np.float32)
        scored = np.zeros(array.shape, dtype=np.float32)
        for channel, out in zip(array, scored, strict=True):
            volume, target = (channel, out) if channel.ndim == 3 else (channel[..., None], out[..., None])
            lowest, highest = volume.min(), volume.max()
            if not np.isfinite([lowest, highest]).all():
                raise ValueError("BrainZScore needs finite values; mend NaN and infinite voxels before it.")
            if lowest == highest:
                continue
            mask = self.foreground(volume)
            if not mask.any() or np.ptp(volume[mask]) == 0:  # nothing to scale by inside, as in a binary picture
                mask = np.ones_like(mask)
            inside = volume[mask]
            target[mask] = (inside - inside.mean(dtype=np.float64)) / inside.std(dtype=np.float64)
        out = torch.from_numpy(scored)
        return like(out, image)


class BrainZScored(MapTransform):
    """Dictionary form of ``BrainZScore``.

    Args:
        keys: images to normalise.
        foreground: see ``BrainZScore``.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        foreground: Callable[[np.ndarray], np.ndarray] = brain_foreground,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.normalise = BrainZScore(foreground)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Normalise ``data[key]`` for each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.normalise(d[key])
        return d
