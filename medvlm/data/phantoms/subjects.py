"""A person in a scanner: anatomy, mimics and perhaps a tumour, drawn on any grid as four modalities and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medvlm.data.phantoms.brain import Anatomy, Brain, Pose
from medvlm.data.phantoms.geometry import Array, Grid, cover, ellipsoid_mm, length, select, smooth_union
from medvlm.data.phantoms.mimics import Mimics
from medvlm.data.phantoms.scanners import GLIOSIS_CHANGE, MODALITIES, OEDEMA_CHANGE, Scanner, ScannerStyle
from medvlm.data.phantoms.tumours import Lesion, Tumour

MIN_TUMOUR_ML = 3.0
MIN_CONTRAST_TO_NOISE = 2.5
FLAIR = MODALITIES.index("FLAIR")


@dataclass(frozen=True)
class Study:
    """Four modalities and the truth on one grid.

    ``images``: ``(4, X, Y, Z)`` float32 in the order of ``MODALITIES``, background exactly 0; ``labels``:
    ``(X, Y, Z)`` uint8 with the values of ``medvlm.data.phantoms.tumours``; ``white``: ``(X, Y, Z)`` bool, healthy
    white matter; ``facts``: what was drawn.
    """

    images: Array
    labels: np.ndarray
    white: np.ndarray
    grid: Grid
    facts: dict


@dataclass(frozen=True)
class Person:
    """Anatomy, mimics and perhaps a tumour.

    Args:
        seed: entropy, from which everything about the person follows.
        kind: tumour kind, or None for a healthy control.
        faint: whether the tumour is faint and small.
        rich_mimics: whether there are many bright things that are no tumour.
    """

    brain: Brain
    mimics: Mimics
    tumour: Tumour | None
    faint: bool

    @classmethod
    def sample(
        cls, seed: np.random.SeedSequence, kind: str | None = "glioma", faint: bool = False, rich_mimics: bool = False
    ) -> Person:
        """Draw a person; the anatomy does not depend on whether there is a tumour."""
        anatomy, mimics, tumour = (np.random.default_rng(child) for child in seed.spawn(3))
        brain = Brain(anatomy)
        return cls(
            brain,
            Mimics.sample(mimics, rich_mimics),
            Tumour.sample(tumour, brain, kind, faint) if kind else None,
            faint and kind is not None,
        )

    def scan(
        self,
        rng: np.random.Generator,
        style: ScannerStyle,
        grid: Grid,
        noise: float = 1.0,
        growth: float = 1.0,
        skull: bool = False,
    ) -> Study:
        """Draw the person on a grid.

        Args:
            rng: source of the pose, of the scanner's settings and of the noise.
            style: the scanner's ranges.
            grid: where to draw.
            noise: factor on the noise.
            growth: factor on the tumour's size (a later time point).
            skull: draw skull and scalp too, instead of a skull-stripped brain.

        Raises:
            ValueError: if the grid is too coarse or too small to hold a tumour of ``MIN_TUMOUR_ML``.
        """
        pose, scanner = Pose.sample(rng), Scanner(rng, style, noise)
        world = grid.points()
        canonical = pose.to_canonical(world)
        tumour = self.tumour.grown(growth) if self.tumour else None
        reach = np.array((94, 112, 92) if skull else (78, 98, 78), np.float32)
        kept = np.flatnonzero(length(canonical / reach) < 1)  # no head is larger; spares work
        own = self.brain.individual(select(canonical, kept))
        outer = self.brain.outer_mm(own)
        if tumour:
            outer = tumour.envelope_mm(select(canonical, kept), outer)
        seen = np.flatnonzero(_head_mm(own, outer) < 14 if skull else outer < 0)
        kept, own, outer = kept[seen], select(own, seen), outer[seen]
        canonical, world = select(canonical, kept), select(world, kept)
        voxel_mm = float(np.sort(grid.spacing_mm)[:2].mean())
        labels = np.zeros(grid.shape, np.uint8)
        for _ in range(12):
            anatomy = self.brain.anatomy(canonical, own, outer, voxel_mm, tumour.push if tumour else None)
            lesion = tumour.at(canonical, anatomy, _smooth_white(anatomy, kept, grid)) if tumour else None
            if lesion is None:
                break
            labels.flat[kept] = lesion.labels
            labels = _without_fragments(labels, grid)
            if min(grid.shape) == 1 or (labels > 0).sum() * grid.voxel_ml >= MIN_TUMOUR_ML:
                break
            tumour = tumour.grown(1.25)
        else:
            found = (labels > 0).sum() * grid.voxel_ml
            raise ValueError(
                f"a tumour needs {MIN_TUMOUR_ML} mL on the grid, got {found:.1f} mL on shape {grid.shape} with "
                f"spacing_mm {grid.spacing_mm}; let the grid cover the head (about 200 x 200 x 148 mm)."
            )
        signal = self._signal(scanner, canonical, anatomy, lesion, tumour)
        if skull:
            signal = _with_skull(scanner, signal, own, anatomy.outer_mm)
        signal = scanner.shade(signal, world)
        inside = np.zeros(grid.shape, bool)
        inside.flat[kept] = True
        images = np.zeros((len(MODALITIES), *grid.shape), np.float32)
        for channel in range(len(MODALITIES)):
            plain = np.zeros(grid.shape, np.float32)
            plain.flat[kept] = signal[:, channel]
            images[channel] = scanner.image(channel, plain, grid, inside)
        white = np.zeros(grid.shape, bool)
        white.flat[kept] = (anatomy.of("white") > 0.9) & (anatomy.ventricle_mm > 10)
        white &= ~ndimage.binary_dilation(labels > 0, iterations=2)
        return Study(images, labels, white, grid, self._facts(tumour, labels, grid))

    def _signal(
        self, scanner: Scanner, points: Array, anatomy: Anatomy, lesion: Lesion | None, tumour: Tumour | None
    ) -> Array:
        signal = scanner.tissue(anatomy.fractions)  # (N, 4)
        hole, border = self.mimics.fluid_holes(points)
        hole, border = hole * (1 - anatomy.of("csf")), border * anatomy.of("white")
        frays = self.mimics.frays(points)
        gliosis = np.maximum(self.mimics.white_matter(points, anatomy, frays), 0.8 * border)
        signal += gliosis[:, None] * np.asarray(GLIOSIS_CHANGE, np.float32)
        signal += hole[:, None] * (scanner.signal["csf"].astype(np.float32) - signal)
        left = self.mimics.unsuppressed(points, anatomy, frays)
        signal[:, FLAIR] += left * 0.75
        if lesion is None or tumour is None:
            return signal
        least = MIN_CONTRAST_TO_NOISE * np.hypot(float(scanner.noise[FLAIR]), 0.02) / OEDEMA_CHANGE[FLAIR]
        contrast = max(tumour.contrast, least)
        signal += (
            (lesion.oedema - gliosis.clip(0, 1) * lesion.oedema)[:, None]
            * np.float32(contrast)
            * np.asarray(OEDEMA_CHANGE, np.float32)
        )
        white = scanner.signal["white"]
        core_contrast = min(1.1, 0.3 + 0.8 * contrast)
        for name in ("necrosis", "solid", "enhancing"):
            value = scanner.signal[name].copy()
            if name == "necrosis":
                value[FLAIR] += tumour.cystic * (0.45 - value[FLAIR])
            value = white + core_contrast * (value - white)
            signal += getattr(lesion, name)[:, None] * (value.astype(np.float32) - signal)
        return signal

    def _facts(self, tumour: Tumour | None, labels: np.ndarray, grid: Grid) -> dict:
        if tumour is None:
            return {"tumour": 0}
        return {
            "tumour": 1,
            "kind": tumour.kind,
            "grade": tumour.grade,
            "faint": self.faint,
            "foci": len(tumour.foci),
            "volume_ml": round(float((labels > 0).sum() * grid.voxel_ml), 2),
        }


def _smooth_white(anatomy: Anatomy, kept: np.ndarray, grid: Grid, sd_mm: float = 3.0) -> Array:
    """Share of white matter and nuclei around each kept point, ``(N,)``."""
    share = np.zeros(grid.shape, np.float32)
    share.flat[kept] = anatomy.of("white") + anatomy.of("nuclei") + anatomy.of("stem")
    sigma = sd_mm / np.asarray(grid.spacing_mm) * (np.asarray(grid.shape) > 1)
    return ndimage.gaussian_filter(share, sigma, truncate=2).flat[kept]


def _without_fragments(labels: np.ndarray, grid: Grid, least_ml: float = 0.3) -> np.ndarray:
    """Drop specks of the drawn mask, and fill its pinholes with oedema's neighbours left as they are."""
    parts, count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    if count <= 1 or min(grid.shape) == 1:
        return labels
    sizes = np.bincount(parts.ravel()) * grid.voxel_ml
    sizes[0] = 0
    keep = sizes >= min(least_ml, sizes.max())
    return np.where(keep[parts], labels, 0).astype(np.uint8)


def _head_mm(own: Array, outer: Array) -> Array:
    """Distance ``(N,)`` to the brain's envelope and the face below it; skin lies at about 11 mm."""
    return smooth_union(outer, ellipsoid_mm(own, (0, -28, -48), (48, 58, 34)), 20)


def _with_skull(scanner: Scanner, signal: Array, own: Array, outer: Array) -> Array:
    """Add fluid, bone, marrow, face, scalp and eyes outside the brain's envelope, by distance from it."""
    signal, head = signal.copy(), _head_mm(own, outer)
    bone = (outer > 2) & (outer < 9)
    skin = (outer > 2) & (head > 8.5)
    for name, where in (("csf", outer > 0), ("muscle", outer > 2), ("bone", bone), ("scalp", skin)):
        signal[where] = scanner.signal[name].astype(np.float32)
    marrow = 0.45 * cover(np.abs(outer - 5) - 0.8, 1.5) * bone
    signal += marrow[:, None] * (scanner.signal["scalp"].astype(np.float32) - signal)
    eye = length(np.stack([np.abs(own[:, 0]) - 32, own[:, 1] + 80, own[:, 2] + 36]).T) - 12
    inside = cover(eye, 1.5) * (outer > 1)
    return signal + inside[:, None] * (scanner.signal["csf"].astype(np.float32) - signal)
