"""A seeded three-dimensional coronary tree: the 18 named segments, small side branches, three kinds of dominance.

The heart is half an ellipsoid. A place on it is ``(theta, phi, k)``: ``theta`` runs from 0 degrees at the groove
between atria and ventricles to 90 at the apex, ``phi`` runs around the long axis (0 anterior groove, 90 left lateral
wall, 180 and -180 crux, -90 right side), ``k`` is the distance from the axis as a multiple of the ellipsoid's. In the
heart's own frame the axes point to the apex, to the anterior groove and to the lateral wall.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medvlm.coronary import DOMINANCE, SEGMENTS

Array = NDArray[np.float64]

LEFT, RIGHT = 0, 1
SEGMENT_INDEX = {segment.name: index for index, segment in enumerate(SEGMENTS)}
MINOR = -1
"""Segment of a branch without a name, which is never diseased."""


@dataclass(frozen=True)
class Tree:
    """Centre lines of both coronary arteries, cut into short pieces.

    Attributes:
        points_mm: ``(P, 3)`` in the heart's frame, end of diastole.
        radius_mm: ``(P,)`` of the healthy lumen.
        step_mm: ``(P,)`` length of each piece.
        path_mm: ``(P,)`` way from the ostium.
        segment: ``(P,)`` index into ``SEGMENTS`` or ``MINOR``.
        side: ``(P,)`` ``LEFT`` or ``RIGHT``.
        branch: ``(P,)`` number of the branch; a branch follows the one that it leaves.
        joints: for each branch the point that it leaves from, -1 for an ostium.
        frame: ``(3, 3)`` rows are the heart's axes in patient coordinates (Left, Posterior, Superior).
        length_mm: from groove to apex.
        dominance: index into ``DOMINANCE``.
    """

    points_mm: Array
    radius_mm: Array
    step_mm: Array
    path_mm: Array
    segment: NDArray[np.int64]
    side: NDArray[np.int64]
    branch: NDArray[np.int64]
    joints: tuple[int, ...]
    frame: Array
    length_mm: float
    dominance: int

    def beyond(self, point: int) -> NDArray[np.bool_]:
        """Which points blood reaches only through a point: the rest of its branch and all that leaves there."""
        mask = (self.branch == self.branch[point]) & (np.arange(len(self.branch)) > point)
        for number, joint in enumerate(self.joints):
            if joint >= 0 and mask[joint]:
                mask |= self.branch == number
        return mask

    def segments(self, side: int | None = None) -> list[int]:
        """Named segments that this person has, on one side or both."""
        own = self.segment if side is None else self.segment[self.side == side]
        return sorted(int(index) for index in np.unique(own) if index != MINOR)

    def ostium_mm(self, side: int) -> Array:
        """``(3,)`` in the heart's frame."""
        return self.points_mm[np.flatnonzero(self.side == side)[0]]


@dataclass
class _Branch:
    polar: Array  # (n, 3) theta, phi, k
    points: Array  # (n, 3)
    radius: Array
    path: Array
    segment: NDArray[np.int64]
    side: int
    joint: tuple[str, int] | None


@dataclass
class _Growth:
    """Grows one branch after the other; every branch takes the same number of random numbers whatever the step."""

    rng: np.random.Generator
    length_mm: float
    radius_mm: float
    step_mm: float
    tortuosity: float
    calibre: float
    variation: float
    branches: dict[str, _Branch] = field(default_factory=dict)

    def place(self, polar: Array) -> Array:
        """Heart coordinates ``(n, 3)`` of places ``(n, 3)``."""
        theta, phi = np.deg2rad(polar[:, 0]), np.deg2rad(polar[:, 1])
        across = self.radius_mm * np.cos(theta) * polar[:, 2]
        return np.stack([self.length_mm * np.sin(theta), across * np.cos(phi), across * np.sin(phi)], 1)

    def grow(
        self,
        name: str,
        controls: list[tuple[float, float, float]],
        radii_mm: tuple[float, ...],
        parts: list[tuple[str | None, float]],
        side: int = LEFT,
        leaves: tuple[str, float] | None = None,
    ) -> None:
        """Add a branch.

        Args:
            name: of the branch.
            controls: places on its way; the first is its origin, left out where it leaves another branch.
            radii_mm: evenly spaced on its way.
            parts: segment (None for a small branch) and the share of the way at which it ends.
            side: of the ostium.
            leaves: branch and share of its way at which this one leaves.
        """
        wanted = np.array(controls, float)
        wanted += self.variation * self.rng.normal(size=wanted.shape).clip(-2, 2) * (2.0, 3.0, 0.015)
        waves = self.rng.normal(size=(3, 3)), self.rng.uniform(0, 2 * np.pi, 3), self.rng.uniform(14, 38, 3)
        origin, joint, start = None, None, 0.0
        if leaves is not None:
            parent = self.branches[leaves[0]]
            at = min(int(leaves[1] * len(parent.points)), len(parent.points) - 1)
            wanted = np.vstack([parent.polar[at], wanted])
            origin, joint, start = parent.points[at], (leaves[0], at), float(parent.path[at])
        polar, way = self._sampled(wanted)
        points = self.place(polar)
        vectors, phases, wavelengths = waves
        swing = np.sin(2 * np.pi * way[:, None] / wavelengths + phases) - np.sin(phases)  # (n, 3) waves
        swell = self.tortuosity * np.clip(way / 30, 0, 1)[:, None]
        points = points + swell * (swing @ (vectors * (1.0, 0.6, 0.8) / 2))
        if origin is not None:
            points = points + (origin - points[0]) * np.exp(-way / 12)[:, None]
        share = way / way[-1]
        ends = np.array([end for _, end in parts])
        codes = np.array([MINOR if part is None else SEGMENT_INDEX[part] for part, _ in parts])
        self.branches[name] = _Branch(
            polar=polar,
            points=points,
            radius=self.calibre * np.interp(share, np.linspace(0, 1, len(radii_mm)), radii_mm),
            path=start + way,
            segment=codes[np.searchsorted(ends, share, side="left").clip(0, len(parts) - 1)],
            side=side,
            joint=joint,
        )

    def _sampled(self, controls: Array) -> tuple[Array, Array]:
        """Places and way in mm, evenly stepped, on a smooth curve through the controls."""
        coarse = np.linspace(0, len(controls) - 1, 20 * len(controls))
        places = _smooth(controls, coarse)
        way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(self.place(places), axis=0), axis=1))])
        steps = np.linspace(0, way[-1], max(int(np.ceil(way[-1] / self.step_mm)), 4))
        return _smooth(controls, np.interp(steps, way, coarse)), steps

    def finish(self, frame: Array, dominance: int) -> Tree:
        """The tree of all branches."""
        starts, joints, total = {}, [], 0
        for name, branch in self.branches.items():
            starts[name] = total
            joints.append(-1 if branch.joint is None else starts[branch.joint[0]] + branch.joint[1])
            total += len(branch.points)
        rows = list(self.branches.values())
        steps = [np.gradient(row.path) for row in rows]
        return Tree(
            points_mm=np.concatenate([row.points for row in rows]),
            radius_mm=np.concatenate([row.radius for row in rows]),
            step_mm=np.concatenate(steps),
            path_mm=np.concatenate([row.path for row in rows]),
            segment=np.concatenate([row.segment for row in rows]),
            side=np.concatenate([np.full(len(row.points), row.side) for row in rows]),
            branch=np.concatenate([np.full(len(row.points), number) for number, row in enumerate(rows)]),
            joints=tuple(joints),
            frame=frame,
            length_mm=self.length_mm,
            dominance=dominance,
        )


def _smooth(controls: Array, at: Array) -> Array:
    """A Catmull-Rom curve through ``controls (K, D)`` at ``(n,)`` in 0..K-1."""
    slopes = np.gradient(controls, axis=0)
    start = np.minimum(at.astype(int), len(controls) - 2)
    t = (at - start)[:, None]
    rise = controls[start + 1] - controls[start]
    bend = t * (1 - t) * ((1 - t) * (slopes[start] - rise) + t * (rise - slopes[start + 1]))
    return controls[start] + t * rise + bend


def coronary_tree(
    rng: np.random.Generator,
    dominance: str = "right",
    step_mm: float = 0.8,
    calibre: float = 1.0,
    variation: float = 1.0,
) -> Tree:
    """Grow one person's coronary arteries.

    Args:
        rng: the person's own stream; the person is the same for every ``step_mm``.
        dominance: ``right`` (posterior descending and posterolateral arteries leave the right coronary artery),
            ``left`` (both leave the circumflex, and the right one ends early) or ``codominant`` (the posterior
            descending leaves the right, the posterolateral the circumflex).
        step_mm: length of a piece.
        calibre: factor on all radii.
        variation: factor on how much persons differ in shape; 0 gives everybody of one dominance the same arteries.

    Raises:
        ValueError: no such dominance.
    """
    if dominance not in DOMINANCE:
        raise ValueError(f"dominance must be one of {', '.join(DOMINANCE)}, got {dominance!r}.")
    size, width = 1 + variation * rng.normal(0, 0.06, 2).clip(-0.12, 0.14)
    growth = _Growth(
        rng=rng,
        length_mm=76 * size,
        radius_mm=35 * size,
        step_mm=step_mm,
        tortuosity=float(variation * rng.uniform(0.5, 2.2)),
        calibre=calibre * width,
        variation=variation,
    )
    frame = _heart_frame(rng, variation)
    # rarer branches come and go less where persons vary less
    chances = 0.5 + (np.array([0.3, 0.8, 0.75]) - 0.5) / max(variation, 0.4) ** 0.5
    has_ramus, has_second_diagonal, has_second_marginal = rng.random(3) < chances
    _grow_left(growth, dominance, has_ramus, has_second_diagonal, has_second_marginal)
    _grow_right(growth, dominance)
    return growth.finish(frame, DOMINANCE.index(dominance))


def _heart_frame(rng: np.random.Generator, variation: float) -> Array:
    """Axes of a heart whose apex points to Left, anterior and inferior, as rows, in patient coordinates."""
    apex = np.array([0.60, -0.50, -0.62]) + rng.normal(size=3).clip(-2, 2) * 0.06 * variation
    apex /= np.linalg.norm(apex)
    groove = np.array([0.10, -0.55, 0.80]) + rng.normal(size=3).clip(-2, 2) * 0.05 * variation
    groove -= apex * (groove @ apex)
    groove /= np.linalg.norm(groove)
    lateral = np.cross(apex, groove)
    return np.stack([apex, groove, lateral if lateral[0] + lateral[1] > 0 else -lateral])


def _grow_left(growth: _Growth, dominance: str, ramus: bool, second_diagonal: bool, second_marginal: bool) -> None:
    supplies = {"right": (1.4, 0.8), "codominant": (1.5, 1.0), "left": (1.65, 1.35)}[dominance]
    end = {"right": 126, "codominant": 150, "left": 176}[dominance]
    growth.grow("lm", [(-16, 48, 0.38), (-9, 34, 0.66), (-3, 23, 0.92)], (2.3, 2.2), [("left_main", 1)])
    first, second = (0.28, 0.51) + growth.variation * growth.rng.uniform((-0.04, -0.05), (0.04, 0.05))
    growth.grow(
        "lad",
        [(4, 8, 1.02), (24, 0, 1.02), (48, -3, 1), (72, 0, 1), (96, 0, 1)],
        (1.95, 1.7, 1.45, 1.1, 0.65),
        [("proximal_lad", first), ("mid_lad", second), ("distal_lad", 1)],
        leaves=("lm", 1),
    )
    growth.grow("d1", [(34, 24, 1.03), (52, 40, 1.03), (66, 44, 1)], (1.2, 0.9, 0.55), [("diagonal_1", 1)],
                leaves=("lad", first))  # fmt: skip
    if second_diagonal:
        growth.grow("d2", [(58, 20, 1.02), (74, 34, 1.02)], (1.0, 0.8, 0.5), [("diagonal_2", 1)],
                    leaves=("lad", second))  # fmt: skip
    if ramus:
        growth.grow("ramus", [(8, 38, 1.03), (30, 52, 1.03), (54, 58, 1.02)], (1.2, 0.95, 0.5), [("ramus", 1)],
                    leaves=("lm", 1))  # fmt: skip
    turns = np.linspace(46, end, 4)
    growth.grow(
        "lcx",
        [(-3, float(turns[0]), 1.04), *((-2.0, float(turn), 1.07) for turn in turns[1:])],
        (1.75, 1.6, *supplies),
        [("proximal_lcx", (78 - 24) / (end - 24)), ("distal_lcx", 1)],
        leaves=("lm", 1),
    )

    def at(phi: float) -> float:
        return min((phi - 24) / (end - 24), 0.97)

    growth.grow("om1", [(14, 84, 1.04), (38, 90, 1.04), (60, 92, 1)], (1.35, 1.0, 0.55), [("marginal_1", 1)],
                leaves=("lcx", at(74)))  # fmt: skip
    if second_marginal:
        growth.grow("om2", [(14, 116, 1.04), (34, 121, 1.04), (52, 122, 1)], (1.1, 0.85, 0.5), [("marginal_2", 1)],
                    leaves=("lcx", at(106)))  # fmt: skip
    if dominance != "right":
        growth.grow("lpl", [(12, 146, 1.04), (32, 150, 1.04), (54, 152, 1)], (1.2, 0.95, 0.5),
                    [("lcx_posterolateral", 1)], leaves=("lcx", at(138)))  # fmt: skip
    if dominance == "left":
        growth.grow("lpda", [(10, 180, 1.03), (36, 182, 1.03), (64, 181, 1)], (1.25, 1.0, 0.55), [("lcx_pda", 1)],
                    leaves=("lcx", 0.98))  # fmt: skip
    for number, place in enumerate((0.2, 0.36, 0.48)):  # septal branches dive into the wall
        theta = 8 + 90 * place
        growth.grow(f"septal_{number}", [(theta + 8, -8, 0.8), (theta + 22, -22, 0.5)], (0.55, 0.3), [(None, 1)],
                    leaves=("lad", place))  # fmt: skip


def _grow_right(growth: _Growth, dominance: str) -> None:
    small = dominance == "left"
    way = [(-15, -38, 0.5), (-7, -46, 1.0), (-2, -66, 1.3), (1, -96, 1.36)]
    way += [(2, -118, 1.32)] if small else [(1, -128, 1.3), (0, -156, 1.16), (0, -179, 1.03)]
    parts = [("proximal_rca", 0.5), ("mid_rca", 1)] if small else [("proximal_rca", 0.33), ("mid_rca", 0.67)]
    radii = (1.6, 1.3, 0.7) if small else (2.05, 1.95, 1.8, 1.65, 1.5)
    growth.grow("rca", way, radii, parts if small else [*parts, ("distal_rca", 1)], side=RIGHT)
    scale = 1.5 if small else 1.0
    for name, controls, leaves in (
        ("conus", [(4, -30, 1.12), (18, -28, 1.15)], 0.12),
        ("sinus", [(-26, -66, 0.95), (-44, -100, 0.8)], 0.16),
        ("ventricular", [(16, -66, 1.3), (34, -56, 1.22)], 0.33),
        ("acute", [(18, -102, 1.3), (44, -96, 1.15), (62, -90, 1.0)], 0.55),
    ):
        radii = (0.95, 0.4) if name == "acute" else (0.6, 0.3)
        growth.grow(name, controls, radii, [(None, 1)], side=RIGHT, leaves=("rca", min(leaves * scale, 0.95)))
    if not small:
        growth.grow("rpda", [(12, -181, 1.03), (36, -181, 1.03), (64, -179, 1)], (1.25, 1.0, 0.55), [("rca_pda", 1)],
                    side=RIGHT, leaves=("rca", 0.96))  # fmt: skip
    if dominance == "right":
        growth.grow("rpl", [(-3, -192, 1.05), (6, -208, 1.06), (26, -217, 1.04), (48, -219, 1.0)],
                    (1.3, 1.1, 0.8, 0.5), [("rca_posterolateral", 1)], side=RIGHT, leaves=("rca", 1))  # fmt: skip
