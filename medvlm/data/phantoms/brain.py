"""One person's brain: folded cortex, white matter, deep nuclei, ventricles, fissures, cerebellum, stem and vessels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medvlm.data.phantoms.geometry import (
    Array,
    Waves,
    capsule_mm,
    cover,
    ellipsoid_mm,
    length,
    rotation,
    select,
    smooth_union,
)

TISSUES = ("csf", "grey", "white", "nuclei", "stem", "vessel", "plexus")
CEREBRUM = ((0.0, 0.0, 6.0), (67.0, 84.0, 58.0))


@dataclass(frozen=True)
class Pose:
    """How the head lies in the scanner: ``canonical = (world - shift) @ turn``."""

    turn: Array
    shift_mm: Array

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Pose:
        """A head turned by a few degrees and shifted by a few millimetres."""
        return cls(rotation(rng, (3, 2, 4)), (np.clip(rng.normal(size=3), -2, 2) * (2, 2, 1.5)).astype(np.float32))

    def to_canonical(self, points: Array) -> Array:
        """World points ``(N, 3)`` in the head's own frame."""
        return (self.turn.T @ (points - self.shift_mm).T).T

    def to_world(self, points: Array) -> Array:
        """Points ``(N, 3)`` of the head's own frame in the world."""
        return (self.turn @ points.T).T + self.shift_mm


@dataclass(frozen=True)
class Anatomy:
    """What a brain holds at N points.

    ``fractions`` is ``(N, T)`` in the order of ``TISSUES`` and sums to 1; distances are ``(N,)`` in millimetres,
    negative inside: ``outer_mm`` to the brain's envelope, ``ventricle_mm`` to the lateral ventricles; ``pial_mm`` is
    the depth below the nearest pial surface.
    """

    fractions: Array
    outer_mm: Array
    ventricle_mm: Array
    pial_mm: Array

    def of(self, tissue: str) -> Array:
        """The fraction ``(N,)`` of one tissue."""
        return self.fractions[:, TISSUES.index(tissue)]


class Brain:
    """A person's anatomy, drawn once from a generator and then the same at any point in space.

    Args:
        rng: source of the person's sizes, asymmetry, folds and vessels.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.size = np.clip(rng.normal(1, 0.04, 3), 0.92, 1.05).astype(np.float32)
        self.egg = rng.uniform(0.05, 0.14)
        self.ventricles = float(np.clip(rng.lognormal(0.0, 0.3), 0.55, 1.9))
        self.side = rng.uniform(0.85, 1.15, 2)
        self.sulcus_mm = rng.uniform(0.35, 1.3)
        self.sulcus_depth_mm = rng.uniform(13, 20)
        self.cortex_mm = rng.uniform(2.6, 3.4)
        self.rim_mm = rng.uniform(0.5, 2.5)
        self.vessel_mm = rng.uniform(0.5, 1.1)
        self.bends = [Waves(rng, (60, 140), 6) for _ in range(3)]
        self.bend_mm = rng.uniform(1.5, 3.0)
        self.folds = Waves(rng, (19, 32), 32)
        self.vessels = Waves(rng, (25, 45), 10)
        self.edge = Waves(rng, (15, 40), 8)

    def individual(self, canonical: Array) -> Array:
        """Canonical points ``(N, 3)`` moved into this person's size and asymmetry."""
        bend = np.stack([wave(canonical) for wave in self.bends]).T * np.float32(self.bend_mm)
        return canonical / self.size + bend

    def outer_mm(self, own: Array) -> Array:
        """Signed distance ``(N,)`` to the skull-stripped envelope, which bridges fissures and cisterns."""
        cerebrum, temporal, cerebellum, stem = self._bodies(own)
        body = smooth_union(smooth_union(cerebrum, temporal, 14), smooth_union(cerebellum, stem, 12), 16)
        return body - self.rim_mm + 0.45 * self.edge(own)

    def anatomy(
        self,
        canonical: Array,
        own: Array,
        outer: Array,
        voxel_mm: float,
        push: Callable[[Array, Array], Array] | None = None,
    ) -> Anatomy:
        """Draw the brain at canonical points.

        Args:
            canonical: ``(N, 3)`` points.
            own: ``individual(canonical)``.
            outer: ``outer_mm(own)``.
            voxel_mm: in-plane voxel size: the width over which tissues mix.
            push: mass effect, ``push(points (N, 3), depth_mm (N,)) -> points (N, 3)``: where the tissue came from.
        """
        if push is not None:
            own = self.individual(push(canonical, -outer))
        mirror = own.copy()
        mirror[:, 0] = np.abs(own[:, 0])
        width = max(voxel_mm, 1.2)
        cerebrum, temporal, cerebellum, stem = self._bodies(own)
        pial, sulcus = self._pial_mm(own, mirror, np.minimum(cerebrum, temporal))
        fractions = np.zeros((len(own), len(TISSUES)), np.float32, order="F")
        fractions[:, 0] = 1

        def paint(tissue: str, amount: Array) -> None:
            fractions[...] *= (1 - amount)[:, None]
            fractions[:, TISSUES.index(tissue)] += amount

        paint("grey", cover(-pial, width))
        paint("white", cover(self.cortex_mm - pial, width))
        self._paint_hindbrain(paint, own, cerebellum, stem, width)
        paint("nuclei", self._nuclei(mirror, width))
        ventricle = self._lateral_ventricle_mm(own, mirror)
        middle = np.minimum(
            ellipsoid_mm(own, (0, 4, 2), (1.6 * self.ventricles, 15, 9)), ellipsoid_mm(own, (0, 34, -40), (6, 4, 8))
        )
        paint("csf", cover(np.minimum(ventricle, middle), width))
        paint("plexus", 0.8 * cover(ellipsoid_mm(mirror, (21, 29, 15), (2.2, 6, 3)), width))
        self._paint_vessels(paint, own, mirror, outer, pial, sulcus, width)
        return Anatomy(fractions, outer, ventricle, pial)

    def _bodies(self, own: Array) -> tuple[Array, Array, Array, Array]:
        shaped = own.copy()
        shaped[:, 0] = np.abs(own[:, 0]) / (1 + self.egg * np.clip(own[:, 1] / 84, -1, 0.6))
        cerebrum = np.maximum(ellipsoid_mm(shaped, *CEREBRUM), -18 - 0.06 * own[:, 1] - own[:, 2])
        cerebrum = np.minimum(cerebrum, ellipsoid_mm(shaped, (0, -42, -12), (34, 33, 15)))
        temporal = ellipsoid_mm(shaped, (38, -10, -24), (26, 38, 25))
        cerebellum = ellipsoid_mm(shaped, (16, 46, -38), (36, 32, 25))
        stem = capsule_mm(own, (0, 12, -14), (0, 27, -68), (14, 10))
        return cerebrum, temporal, cerebellum, stem

    def _pial_mm(self, own: Array, mirror: Array, surface: Array) -> tuple[Array, Array]:
        """Depth below the nearest pial surface (outer, sulcal or fissural), and distance to the sulcal sheets."""
        hidden = np.hypot(own[:, 0] / 24, (own[:, 1] - 4) / 34) < 1  # the brain's middle has no cortex below it
        surface = np.where(hidden & (own[:, 2] > -30), -30, surface)
        depth = -surface
        centre = np.asarray(CEREBRUM[0], np.float32)
        radius = length((own - centre) / np.asarray(CEREBRUM[1], np.float32))
        radial = centre + (own - centre) * (np.maximum(radius, 0.2) ** -0.75)[:, None]  # sulci run inwards
        sheet = np.full(len(own), 99, np.float32)
        folded = np.flatnonzero((depth < self.sulcus_depth_mm) & (depth > -3))
        sheet[folded] = self.folds.sheet_mm(select(radial, folded))
        sulcus = np.maximum(
            sheet - self.sulcus_mm * np.clip(1.4 - depth / self.sulcus_depth_mm, 0, 1.4), depth - self.sulcus_depth_mm
        )
        commissures = (np.hypot((own[:, 1] - 3) / 46, (own[:, 2] - 4) / 27) - 1) * 33
        fissure = np.maximum(mirror[:, 0] - 0.5 - 0.5 * self.sulcus_mm, -commissures)
        sylvian = np.minimum(
            ellipsoid_mm(mirror, (54, -8, -2), (13, 20, 1 + self.sulcus_mm)),
            ellipsoid_mm(mirror, (42, -6, 2), (0.6 + self.sulcus_mm, 17, 12)),
        )
        return np.minimum(np.minimum(depth, sulcus), np.minimum(fissure, sylvian)), sheet

    def _lateral_ventricle_mm(self, own: Array, mirror: Array) -> Array:
        size = np.where(own[:, 0] > 0, *self.side).astype(np.float32) * np.float32(self.ventricles)
        tubes = (
            ((15, -34, 10), (7, -14, 17), (4.5, 7)),
            ((6.5, -14, 18), (14, 16, 21), (6, 6.5)),
            ((14, 16, 20), (25, 42, 10), (6.5, 5.5)),
            ((26, 34, 4), (34, 4, -14), (3, 1.5)),
        )
        distance = np.full(len(own), 1e3, np.float32)
        for start, end, radii in tubes:
            distance = smooth_union(distance, capsule_mm(mirror, start, end, radii) - (size - 1) * radii[1], 4)
        return np.maximum(distance, 1.0 - mirror[:, 0])  # the septum

    def _nuclei(self, mirror: Array, width: float) -> Array:
        amount = np.zeros(len(mirror), np.float32)
        box = np.flatnonzero((np.abs(mirror[:, 2] - 8) < 18) & (mirror[:, 0] < 40))
        deep = select(mirror, box)
        caudate = ellipsoid_mm(deep, (16, -17, 12), (6, 13, 9))
        putamen = ellipsoid_mm(deep, (28, -5, 4), (5.5, 16, 10))
        thalamus = ellipsoid_mm(deep, (10, 11, 7), (9, 13, 9))
        amount[box] = 0.9 * cover(np.minimum(np.minimum(caudate, putamen), thalamus), width)
        return amount

    def _paint_hindbrain(
        self, paint: Callable[[str, Array], None], own: Array, cerebellum: Array, stem: Array, width: float
    ) -> None:
        folia = np.cos(2 * np.pi * np.hypot(own[:, 2] + 30, own[:, 1] - 20) / 7.5)
        paint("grey", cover(cerebellum + 1, width))
        paint("white", 0.3 * cover(cerebellum + 2, width) * np.clip(0.4 + 0.6 * folia, 0, 1))
        paint("white", 0.85 * cover(cerebellum + 15 + 2 * folia, 4))
        paint("csf", 0.4 * cover(np.maximum(np.abs(own[:, 0]) - 1, cerebellum), width) * (own[:, 1] > 40))
        paint("stem", cover(stem, width))

    def _paint_vessels(
        self,
        paint: Callable[[str, Array], None],
        own: Array,
        mirror: Array,
        outer: Array,
        pial: Array,
        sulcus: Array,
        width: float,
    ) -> None:
        in_sulci = np.zeros(len(own), np.float32)
        near = np.flatnonzero((np.abs(pial) < 3) & (sulcus < 3) & (outer < 0))
        line = np.hypot(sulcus[near], self.vessels.sheet_mm(select(own, near))) - self.vessel_mm
        in_sulci[near] = 0.8 * cover(np.maximum(line, np.abs(pial[near]) - 2), width)
        paint("vessel", in_sulci)
        sinus = np.hypot(own[:, 0], outer + 2.2) - 2.4
        paint("vessel", cover(sinus, width) * ((own[:, 2] > -5) & (own[:, 1] > -62)))
        artery = capsule_mm(mirror, (4, -12, -24), (42, -10, -12), (1.5, 0.8))
        basilar = capsule_mm(own, (0, -2, -26), (0, 8, -60), (1.6, 1.4))
        vein = capsule_mm(own, (0, 4, 11), (0, 30, 14), (0.8, 1.8))
        paint("vessel", 0.9 * cover(np.minimum(np.minimum(artery, basilar), vein), width))
