"""A synthetic head around an extracted brain, so that a network learns what skull and scalp look like with a mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from monai.utils import ensure_tuple
from scipy import ndimage

from transforms.conventions import check_probability, like

EXTRACTED = ("brats", "msd")
"""How the names of the sources begin whose images show extracted brains, in lower case."""
FLUID_PX, BONE_PX, SCALP_PX = (0.5, 3.0), (1.5, 5.0), (1.5, 6.0)
"""Thickness of the layers around the brain, in pixels of an image of 128."""
LEVELS = {
    "fluid": (0.1, 2.0),
    "bone": (0.02, 0.35),
    "marrow": (0.1, 2.0),
    "scalp": (0.35, 3.0),
    "soft": (0.2, 0.9),
    "hollow": (0.0, 0.2),
    "eye": (0.1, 2.0),
}
"""Brightness of each tissue above the air, as a share of the brain's mean above the air."""


def _field(rng: np.random.RandomState, shape: Sequence[int], cells: int) -> np.ndarray:
    """A smooth random field ``(X, Y[, Z])`` of mean 0 and a standard deviation of about 0.7, ``cells`` bumps a side."""
    coarse = rng.standard_normal([min(cells, side) + 1 for side in shape]).astype(np.float32)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse)[None, None], tuple(shape), mode=mode)
    return fine[0, 0].numpy()


def _plane(shape: Sequence[int]) -> list[np.ndarray]:
    """X and Y from -1 to 1, each ``(X, Y)`` or for a volume ``(X, Y, 1)``."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape[:2]), indexing="ij")
    return [axis[..., None] for axis in axes] if len(shape) == 3 else axes


class RandHead(Randomizable):
    """Draw a head around an extracted brain: fluid, bone with marrow, scalp, and in half of the draws a face.

    Data sets with tumour masks hold extracted brains, so that a network trained on them outlines scalp, or a whole
    bright brain, in an image of a head. Layers of random thickness and brightness around the brain (in the manner of
    SynthSeg's random contrasts, Billot et al., Medical Image Analysis 2023) show it both with the same masks. The
    brain shrinks to make room, a coil's shading falls on all of it, and what results is z-scored over the head, each
    slice by itself where slices are given. A volume of 144 x 176 x 144 and four channels takes about 2 s.

    Args:
        brain_share: range of the factor by which the brain shrinks in plane.
        shading: largest factor of the coil's shading (log scale), whose standard deviation is about 1 times it.
    """

    def __init__(self, brain_share: tuple[float, float] = (0.6, 0.9), shading: float = 0.35) -> None:
        if len(tuple(brain_share)) != 2 or not 0 < brain_share[0] <= brain_share[1] <= 1:
            raise ValueError(f"brain_share must be a range within 0 to 1, got {tuple(brain_share)}.")
        if not 0 <= shading < np.inf:
            raise ValueError(f"shading must be a number of at least 0, got {shading}; 0 is none.")
        low, high = brain_share
        self.brain_share, self.shading = (float(low), float(high)), float(shading)
        self.share, self.shift = self.brain_share[1], (0.0, 0.0)

    def randomize(self, data: object = None) -> None:
        """Draw how far the brain shrinks, and where it comes to lie."""
        self.share = float(self.R.uniform(*self.brain_share))
        room = 0.6 * (1 - self.share)
        self.shift = tuple(self.R.uniform(-room, room, 2))

    def shrunk(self, image: torch.Tensor, smooth: bool) -> torch.Tensor:
        """The image in its smaller place, by the last draw.

        Args:
            image: ``(C, X, Y[, Z])``, background exactly 0.
            smooth: bilinear, with the background kept exactly 0; otherwise nearest, for labels.

        Returns:
            float32 of the same shape.
        """
        plain = (image.as_tensor() if isinstance(image, MetaTensor) else image).to(torch.float32)
        flat = plain if plain.ndim == 3 else plain.permute(0, 3, 1, 2).flatten(0, 1)  # (C * Z, X, Y)
        (x, y), scale = self.shift, 1 / self.share
        theta = torch.tensor([[[scale, 0, -y * scale], [0, scale, -x * scale]]], dtype=torch.float32)
        grid = torch.nn.functional.affine_grid(theta, [1, len(flat), *flat.shape[1:]], align_corners=False)

        def sampled(what: torch.Tensor, mode: str) -> torch.Tensor:
            return torch.nn.functional.grid_sample(what[None], grid, mode=mode, align_corners=False)[0]

        out = sampled(flat, "bilinear" if smooth else "nearest")
        if smooth:
            out *= sampled((flat != 0).to(torch.float32), "nearest")
        return out if plain.ndim == 3 else out.unflatten(0, (len(plain), -1)).permute(0, 2, 3, 1)

    def around(self, image: torch.Tensor) -> torch.Tensor:
        """Draw the head.

        Args:
            image: ``(C, X, Y[, Z])``, z-scored, background exactly 0; what lies inside in any channel is the brain.

        Returns:
            The same shape; a channel that is all background stays 0.
        """
        array = image.numpy()
        brain = (array != 0).any(0)
        if not brain.any():
            return image
        head, layers = self._layers(brain)
        out = np.zeros_like(array)
        for channel, target in zip(array, out, strict=True):
            if channel.any():
                raw = self._weighting(channel, brain, head & ~brain, layers)
                inside = raw[head]
                target[head] = (inside - inside.mean()) / max(float(inside.std()), 1e-6)
        return torch.from_numpy(out)

    def _weighting(
        self, channel: np.ndarray, brain: np.ndarray, outside: np.ndarray, layers: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """One channel's brightness above the air ``(X, Y[, Z])``, in standard deviations of the brain."""
        rng, shape = self.R, brain.shape
        depth = rng.uniform(2.5, 5.0)  # the brain's mean above the air
        levels = {name: rng.uniform(*ends) for name, ends in LEVELS.items()}
        raw = np.where(brain, channel + depth, 0).astype(np.float32)
        for name, where in layers.items():
            raw[where] = depth * levels[name]
        sigma = [rng.uniform(0.3, 1.0)] * 2 + [0.0] * (len(shape) - 2)
        blurred = ndimage.gaussian_filter(raw, sigma, truncate=2)
        texture = 1 + rng.uniform(0, 0.25) * _field(rng, shape, max(2, min(shape[:2]) // 6))
        raw = np.where(outside, blurred * texture, raw)
        raw = raw + np.float32(rng.uniform(0, 0.12)) * outside * rng.standard_normal(shape) * depth
        return np.maximum(raw, 0.01) * np.exp(self._coil(shape)).astype(np.float32)

    def _layers(self, brain: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The head, and what fills it outside the brain, as masks ``(X, Y[, Z])``; later ones lie over earlier ones."""
        rng, shape = self.R, brain.shape
        far = ndimage.distance_transform_edt(~brain).astype(np.float32)
        far *= 1 + 0.25 * np.clip(_field(rng, shape, 4), -1.5, 1.5)
        across = rng.uniform(1, self._obliquity(brain))
        thickness = [across * rng.uniform(*ends) * max(shape[:2]) / 128 for ends in (FLUID_PX, BONE_PX, SCALP_PX)]
        fluid, bone, scalp = np.cumsum(thickness)
        face, rim, extras = self._face(brain, far > bone) if rng.random() < 0.5 else (None, None, {})
        head = far < scalp if face is None else (far < scalp) | face
        outside = head & ~brain
        skin = far >= bone if face is None else rim | ((far >= bone) & ~face)
        layers = {
            "soft": outside,
            "scalp": outside & skin,
            "bone": outside & (far < bone),
            "marrow": outside & (np.abs(far - (fluid + bone) / 2) < 0.2 * (bone - fluid)),
            "fluid": outside & (far < fluid),
        }
        return head, layers | {name: outside & where for name, where in extras.items()}

    @staticmethod
    def _obliquity(brain: np.ndarray) -> float:
        """How many times thicker the layers may look: a slice through the top of the head cuts them at a slant."""
        if brain.ndim == 3:
            return 1.0
        radius_px = np.sqrt(brain.sum() / np.pi) * 128 / max(brain.shape)
        return float(np.clip(40 / radius_px, 1.0, 3.5))

    def _face(self, brain: np.ndarray, beyond_bone: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """An oval of face or neck, mostly wider than the brain: it, its skin, and the air and the eyes inside.

        In a volume it lies below the middle of the brain, with the eyes in its upper half.
        """
        rng, shape = self.R, brain.shape
        x, y = _plane(shape)
        middle = np.argwhere(brain.any(tuple(range(2, len(shape))))).mean(0)
        cx, cy = (2 * at / (n - 1) - 1 for at, n in zip(middle, shape[:2], strict=True))
        wide, long = rng.uniform(0.55, 0.9), rng.uniform(0.65, 1.0)
        oval = ((x - cx) / wide) ** 2 + ((y - cy + rng.uniform(-0.1, 0.25)) / long) ** 2
        below, level = self._below(brain)
        oval = np.where(below, oval, np.inf)
        face = np.broadcast_to(oval < 1, shape)
        rim = np.broadcast_to((oval > rng.uniform(0.75, 0.95)) & (oval < 1), shape)
        extras = {"hollow": (_field(rng, shape, 10) > rng.uniform(0.8, 2.0)) & beyond_bone & ~rim & face}
        if rng.random() < 0.5:
            apart, size, front = rng.uniform(0.2, 0.4), rng.uniform(0.1, 0.18), cy - rng.uniform(0.5, 0.8)
            eyes = np.minimum((x - cx - apart) ** 2, (x - cx + apart) ** 2) + (y - front) ** 2 < size**2
            extras["eye"] = np.broadcast_to(eyes & level, shape)
        return face, rim, extras

    @staticmethod
    def _below(brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where a face may lie, and where its eyes: everywhere in a slice, by its height ``(Z,)`` in a volume."""
        if brain.ndim == 2:
            return np.True_, np.True_
        levels = np.flatnonzero(brain.any((0, 1)))
        height = (np.arange(brain.shape[2]) - levels[0]) / max(1, levels[-1] - levels[0])
        return height < 0.5, (height > 0.2) & (height < 0.4)

    def _coil(self, shape: Sequence[int]) -> np.ndarray:
        """Log of the coil's shading ``(X, Y[, Z])``: a slope, a surface coil's dark middle, and some unevenness."""
        axes = _plane(shape)
        slope = sum(self.R.normal() * axis for axis in axes)
        bowl = self.R.normal(0.3, 1) * sum(axis**2 for axis in axes)
        field = 0.6 * slope + bowl
        return self.R.uniform(0, self.shading) * (field + 0.5 * _field(self.R, shape, 3))


class RandHeadd(RandomizableTransform, MapTransform):
    """Dictionary form of ``RandHead``: the brain shrinks in every key, and the head is drawn in the images.

    Only cases of sources with extracted brains get one, since a head around a head is none. Several images get heads of
    their own.

    Args:
        keys: images ``(C, X, Y[, Z])``, z-scored, background exactly 0, first axis to the Left and second to Posterior,
            and masks.
        prob: chance that a case gets a head.
        label_keys: which of the keys are masks; by default ``label``.
        sources: beginnings of the names of sources whose images show extracted brains, capitals or not; None for every
            case.
        brain_share: see ``RandHead``.
        shading: see ``RandHead``.
        allow_missing_keys: skip keys that the case does not have.

    Raises:
        ValueError: if a setting is out of its range.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image", "label"),
        prob: float = 0.3,
        label_keys: KeysCollection | None = None,
        sources: Sequence[str] | None = EXTRACTED,
        brain_share: tuple[float, float] = (0.6, 0.9),
        shading: float = 0.35,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        check_probability(prob)
        if isinstance(sources, str) or (sources is not None and not len(sources)):
            raise ValueError(
                f"sources must be a list of beginnings of names such as {list(EXTRACTED)}, or None for every case, "
                f"got {sources!r}."
            )
        self.label_keys = (
            tuple(k for k in self.keys if k == "label") if label_keys is None else ensure_tuple(label_keys)
        )
        if strangers := sorted(set(map(str, self.label_keys)) - set(map(str, self.keys))):
            raise ValueError(f"label_keys must be among the keys {self.keys}, got {strangers}; name the masks there.")
        self.sources = None if sources is None else tuple(str(name).lower() for name in sources)
        self.head = RandHead(brain_share, shading)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandHeadd:
        """Seed this transform and the one it wraps."""
        super().set_random_state(seed, state)
        self.head.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Put a head around ``data[key]``, or leave it.

        Returns:
            The same entries and shapes; a ``MetaTensor`` keeps its affine, which no longer tells voxel sizes where the
            brain has shrunk.
        """
        d = dict(data)
        self.randomize(None)
        wanted = self.sources is None or str(d.get("source", "")).lower().startswith(self.sources)
        if not self._do_transform or not wanted:
            return d
        self.head.randomize()
        for key in self.key_iterator(d):
            given, label = d[key], key in self.label_keys
            out = self.head.shrunk(given, smooth=not label)
            out = out.to(given.dtype) if label else self.head.around(out)
            d[key] = like(out, given)
        return d
