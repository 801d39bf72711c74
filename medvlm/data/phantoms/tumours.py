"""Brain tumours: noise-warped foci with necrosis, an enhancing rim, oedema along white matter, and mass effect."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medvlm.data.phantoms.brain import CEREBRUM, Anatomy, Brain
from medvlm.data.phantoms.geometry import Array, Waves, cover, ellipsoid_mm, length, rotation, select

KINDS = ("glioma", "meningioma", "pituitary")
NECROSIS, SOLID, OEDEMA, ENHANCING = 1, 2, 3, 4
"""Our own label values; each layout maps them to its convention (``SOLID`` is non-enhancing tumour)."""


@dataclass(frozen=True)
class Focus:
    """One irregular mass.

    Args:
        centre: canonical position (3,) in millimetres.
        radii: semi-axes (3,) in millimetres, before roughness.
        turn: rotation (3, 3) of the axes.
        surface: field that warps the surface.
        roughness: size of the warp as a fraction of the mean radius.
    """

    centre: Array
    radii: Array
    turn: Array
    surface: Waves
    roughness: float

    @property
    def radius_mm(self) -> float:
        """Mean radius in millimetres."""
        return float(self.radii.mean())

    def distance_mm(self, points: Array) -> Array:
        """Signed distance ``(N,)`` of canonical points ``(N, 3)``."""
        own = (self.turn.T @ (points - self.centre).T).T
        return ellipsoid_mm(own, (0, 0, 0), self.radii) + self.roughness * self.radius_mm * self.surface(points)


@dataclass(frozen=True)
class Lesion:
    """What a tumour does at N points: soft amounts 0..1 for the image, and hard labels (0 where there is none)."""

    oedema: Array
    necrosis: Array
    solid: Array
    enhancing: Array
    labels: np.ndarray


@dataclass(frozen=True)
class Tumour:
    """A tumour of one person, at rest in the canonical frame.

    Args:
        kind: one of ``KINDS``.
        grade: ``"high"`` enhances, ``"low"`` does not.
        foci: one to three masses.
        rim_mm: thickness of the enhancing rim of a high-grade glioma.
        oedema_mm: how far oedema reaches in white matter.
        blur_mm: width of the border of the oedema.
        contrast: 1 is typical, below 0.5 is faint.
        cystic: 0 = necrosis looks like tissue on FLAIR, 1 = like fluid.
        pressure: mass effect, 0..0.4.
        patchiness: field that interrupts the rim and frays the oedema.
        rater: field that moves the drawn border, as human raters do.
    """

    kind: str
    grade: str
    foci: tuple[Focus, ...]
    rim_mm: float
    oedema_mm: float
    blur_mm: float
    contrast: float
    cystic: float
    pressure: float
    patchiness: Waves
    rater: Waves

    @classmethod
    def sample(cls, rng: np.random.Generator, brain: Brain, kind: str = "glioma", faint: bool = False) -> Tumour:
        """Draw a tumour that fits into a brain.

        Args:
            rng: source of randomness.
            brain: the person who has it.
            kind: one of ``KINDS``.
            faint: whether it is low in contrast and rather small.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {kind!r}; a healthy person gets no Tumour.")
        low_grade = kind == "glioma" and rng.random() < (0.5 if faint else 0.25)
        count = 1 if kind != "glioma" else int(rng.choice([1, 2, 3], p=[0.8, 0.13, 0.07]))
        radius = float(np.clip(rng.lognormal(np.log(10 if faint else 13.5), 0.3), 7.5, 24))
        if kind == "pituitary":
            radius = rng.uniform(5.5, 12)
        foci = []
        for index in range(count):
            size = radius * (1 if index == 0 else rng.uniform(0.4, 0.8))
            foci.append(cls._focus(rng, brain, kind, size, foci[0] if foci else None))
        low, high = (2, 7) if kind != "glioma" else (3, 10) if low_grade else (5, 16)
        return cls(
            kind=kind,
            grade="low" if low_grade else "high",
            foci=tuple(foci),
            rim_mm=rng.uniform(2.0, 5.0) if kind == "glioma" and rng.random() < 0.8 else 99.0,
            oedema_mm=0.0 if kind == "pituitary" else rng.uniform(low, high) * (0.7 if faint else 1),
            blur_mm=rng.uniform(2, 4.5),
            contrast=rng.uniform(0.42, 0.6) if faint else rng.uniform(0.75, 1.2),
            cystic=rng.uniform(0, 1),
            pressure=rng.uniform(0.05, 0.2) if low_grade or faint else rng.uniform(0.12, 0.36),
            patchiness=Waves(rng, (12, 30), 14),
            rater=Waves(rng, (10, 30), 8),
        )

    @staticmethod
    def _focus(rng: np.random.Generator, brain: Brain, kind: str, radius: float, beside: Focus | None) -> Focus:
        middle, radii = (np.asarray(value, np.float32) for value in CEREBRUM)
        for _ in range(200):
            way = rng.normal(size=3)
            way /= np.linalg.norm(way)
            if kind == "pituitary":
                point = np.array([rng.normal(0, 1.5), -15 + rng.normal(0, 1.5), -28 + rng.normal(0, 2)])
            elif kind == "meningioma":
                point = middle + way * radii * rng.uniform(0.86, 0.98)
            elif beside is not None:
                point = beside.centre + way * (beside.radius_mm + rng.uniform(6, 45))
            else:
                point = middle + way * radii * rng.uniform(0.35, 0.85)
            point = point.astype(np.float32)[None]
            own = brain.individual(point)
            depth = -float(brain.outer_mm(own)[0])
            wanted = {"pituitary": -99.0, "meningioma": 0.15 * radius, "glioma": 0.55 * radius + 2}[kind]
            clear = np.linalg.norm(np.abs(own[0]) - (10, 0, 18)) > 12 if kind == "glioma" else True
            if depth >= wanted and clear and (kind == "pituitary" or -34 < point[0, 2] < 50):
                break
        shape = rng.uniform(0.75, 1.25, 3) if kind == "glioma" else rng.uniform(0.88, 1.12, 3)
        roughness = rng.uniform(0.10, 0.22) if kind == "glioma" else rng.uniform(0.04, 0.09)
        surface = Waves(rng, (1.1 * radius, 3.2 * radius), 14)
        turn = rotation(rng, (60, 60, 60))
        return Focus(point[0], (radius * shape).astype(np.float32), turn, surface, roughness)

    def grown(self, factor: float) -> Tumour:
        """The same tumour with radii and oedema multiplied by ``factor``."""
        foci = tuple(replace(focus, radii=focus.radii * np.float32(factor)) for focus in self.foci)
        return replace(self, foci=foci, oedema_mm=self.oedema_mm * factor)

    def envelope_mm(self, points: Array, outer: Array) -> Array:
        """Distance ``(N,)`` to the brain's envelope; a tumour of the sella bulges out of it below."""
        if self.kind != "pituitary":
            return outer
        return np.minimum(outer, self.foci[0].distance_mm(points) - 2)

    def push(self, points: Array, depth_mm: Array) -> Array:
        """Where the tissue at canonical points ``(N, 3)`` came from; the skull's side holds still."""
        hold = np.clip(depth_mm / 10, 0, 1)[:, None]
        moved = points.copy()
        for focus in self.foci:
            offset = points - focus.centre
            reach = focus.radius_mm + 0.5 * self.oedema_mm
            near = np.exp(-((length(offset) / (1.7 * reach)) ** 2))
            moved -= hold * offset * np.float32(self.pressure) * near[:, None]
        return moved

    def at(self, points: Array, anatomy: Anatomy, smooth_white: Array) -> Lesion:
        """What the tumour does at canonical points ``(N, 3)`` of a drawn brain.

        Args:
            points: ``(N, 3)``.
            anatomy: the brain at these points.
            smooth_white: ``(N,)`` share of white matter and nuclei in the neighbourhood, along which oedema spreads.
        """
        count = len(points)
        amounts = {name: np.zeros(count, np.float32) for name in ("oedema", "necrosis", "solid", "enhancing")}
        labels = np.zeros(count, np.uint8)
        reach = np.full(count, 1e3, np.float32)
        for focus in self.foci:
            offset = length(points - focus.centre)
            reach = np.minimum(reach, offset - 1.6 * float(focus.radii.max()) - 1.5 * self.oedema_mm - 4)
        near = np.flatnonzero((reach < 0) & (anatomy.outer_mm < 1))
        if len(near):
            here = select(points, near)
            core = np.min([focus.distance_mm(here) for focus in self.foci], 0)
            fluid, grey = anatomy.of("csf")[near], anatomy.of("grey")[near]
            soft, hard = self._compartments(here, core, smooth_white[near], fluid, grey)
            for name, amount in soft.items():
                amounts[name][near] = amount
            labels[near] = np.where(anatomy.outer_mm[near] < 0, hard, 0)
        return Lesion(labels=labels, **amounts)

    def _compartments(
        self, points: Array, core: Array, white: Array, fluid: Array, grey: Array
    ) -> tuple[dict[str, Array], np.ndarray]:
        patchy, rater = self.patchiness(points), 0.5 * self.rater(points)
        edge_mm = 2.5 if self.kind == "glioma" else 1.5
        oedema_reach = self.oedema_mm * np.clip(0.3 + 0.95 * white + 0.2 * patchy, 0, 1.6)
        oedema = core - oedema_reach
        inside = cover(core, edge_mm)
        if self.grade == "low":
            necrotic = enhanced = np.zeros_like(core)
        else:
            rim = self.rim_mm * np.clip(1 + 0.45 * patchy, 0.3, 2)
            necrotic = inside * cover(core + rim, 1.5)
            gaps = np.clip(0.5 + 2 * (patchy + 1.3), 0, 1) if self.kind == "glioma" else 1.0
            enhanced = (inside - necrotic) * gaps
        solid = inside - necrotic - enhanced
        spread = cover(oedema, self.blur_mm) * (1 - inside) * (1 - 0.35 * grey) * (1 - fluid)
        soft = {"oedema": spread, "necrosis": necrotic, "solid": solid, "enhancing": enhanced}
        hard = np.where((oedema + rater < 0) & (fluid < 0.5) & (self.oedema_mm > 0), OEDEMA, 0)
        parts = np.stack([necrotic, solid, enhanced])  # (3, N)
        best = np.array([NECROSIS, SOLID, ENHANCING])[parts.argmax(0)]
        return soft, np.where(core + 0.5 * rater < 0, best, hard).astype(np.uint8)
