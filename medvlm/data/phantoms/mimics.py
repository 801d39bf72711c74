"""Bright things that are no tumour: white-matter hyperintensities, lacunes, and fluid that FLAIR fails to null."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlm.data.phantoms.brain import CEREBRUM, Anatomy
from medvlm.data.phantoms.geometry import Array, Waves, cover, ellipsoid_mm, length, select


@dataclass(frozen=True)
class Mimics:
    """What one person, with or without a tumour, shows besides.

    Args:
        caps_mm: reach of periventricular caps and bands; 0 for none.
        strength: brightness of white-matter lesions against oedema, about 0.3..0.9.
        spots: centres and radii ``(M, 4)`` of punctate to confluent lesions in white matter.
        lacunes: centres and radii ``(L, 4)`` of old small infarcts: fluid with a bright border.
        inflow: how much FLAIR fails to null fluid near the base and ventricles, 0..0.7.
        frays: field that breaks the borders.
    """

    caps_mm: float
    strength: float
    spots: Array
    lacunes: Array
    inflow: float
    frays: Waves

    @classmethod
    def sample(cls, rng: np.random.Generator, rich: bool) -> Mimics:
        """Draw them; ``rich`` persons have much, others little."""
        spots = cls._places(rng, int(rng.integers(5, 22)) if rich else int(rng.integers(0, 4)), (1.5, 4.0))
        if rich and len(spots):
            large = rng.random(len(spots)) < 0.15
            spots[large, 3] *= rng.uniform(1.5, 2.2)
        return cls(
            caps_mm=rng.uniform(2, 5.5) if rich else rng.uniform(0, 2.5),
            strength=rng.uniform(0.4, 0.85) if rich else rng.uniform(0.3, 0.7),
            spots=spots,
            lacunes=cls._places(rng, int(rng.integers(0, 3)) if rich else 0, (2.5, 4.5)),
            inflow=rng.uniform(0.15, 0.7) if rich else rng.uniform(0, 0.2),
            frays=Waves(rng, (8, 22), 12),
        )

    @staticmethod
    def _places(rng: np.random.Generator, count: int, radii_mm: tuple[float, float]) -> Array:
        way = rng.normal(size=(count, 3)) * (1, 1, 0.5)
        way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
        out = rng.uniform(0.35, 0.75, (count, 1))  # how far out, as a share of the cerebrum's radius
        where = np.asarray(CEREBRUM[0]) + (0, 0, 10) + way * np.asarray(CEREBRUM[1]) * out
        return np.concatenate([where, rng.uniform(*radii_mm, (count, 1))], 1).astype(np.float32)

    def white_matter(self, points: Array, anatomy: Anatomy, frays: Array) -> Array:
        """Amount ``(N,)``, 0..1, of hyperintensity in white matter at canonical points ``(N, 3)``.

        Args:
            points: ``(N, 3)``.
            anatomy: the brain at these points.
            frays: ``self.frays(points)``.
        """
        white = anatomy.of("white")
        amount = np.zeros(len(points), np.float32)
        if self.caps_mm > 0:
            ends = 0.45 + 0.55 * np.clip(np.abs(points[:, 1]) / 30, 0, 1)  # caps at the horns, thin bands between
            amount = cover(anatomy.ventricle_mm - self.caps_mm * ends * np.clip(1 + 0.5 * frays, 0.2, 2), 3)
        for x, y, z, radius in self.spots:
            box = np.flatnonzero(np.abs(points[:, 2] - z) < radius + 4)
            close = ellipsoid_mm(select(points, box), (x, y, z), (radius, 1.3 * radius, radius))
            amount[box] = np.maximum(amount[box], cover(close + 0.3 * radius * frays[box], 2.5))
        return amount * white * np.float32(self.strength)

    def fluid_holes(self, points: Array) -> tuple[Array, Array]:
        """Lacunes at canonical points ``(N, 3)``: the amount ``(N,)`` of fluid and of bright border."""
        hole, border = np.zeros(len(points), np.float32), np.zeros(len(points), np.float32)
        for x, y, z, radius in self.lacunes:
            distance = length(points - np.array((x, y, z), np.float32)) - radius
            hole = np.maximum(hole, cover(distance, 2))
            border = np.maximum(border, cover(distance - 1.8, 2))
        return hole, border - hole

    def unsuppressed(self, points: Array, anatomy: Anatomy, frays: Array) -> Array:
        """Amount ``(N,)``, 0..1, of fluid signal that FLAIR leaves; arguments as for ``white_matter``."""
        place = np.clip(0.3 + 0.5 * frays - points[:, 2] / 60, 0, 1)
        return anatomy.of("csf") * place * np.float32(self.inflow)
