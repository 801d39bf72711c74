"""One run of a coronary angiogram: person, projection, motion, contrast and laboratory brought together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medvlm.data.phantoms.coronary_anatomy import LEFT, RIGHT, Tree
from medvlm.data.phantoms.coronary_disease import Disease, Lumen, diseased_lumen
from medvlm.data.phantoms.coronary_dynamics import Injection, Motion
from medvlm.data.phantoms.coronary_projection import CArm, TubeProjector
from medvlm.data.phantoms.coronary_scene import Room, background, catheter, detected

Array = NDArray[np.float64]

PROJECTIONS = {
    LEFT: ((38, 24), (-25, -22), (-8, 34), (45, -28), (0, -30), (-30, 20)),
    RIGHT: ((40, 0), (-30, 0), (6, 28), (30, 20)),
}
"""Usual C-arm angles (primary, secondary) for each artery; those that spread its branches best come first."""
IODINE_PER_MM = 0.13
CALCIUM_PER_MM = 0.16
CATHETER_MM = 1.0


@dataclass(frozen=True)
class Look:
    """How the frames look, apart from the person.

    Attributes:
        size: pixels of a side.
        field_mm: side of the frame in the plane of the isocentre.
        contrast: factor on the contrast's attenuation.
        variation: factor on how much the middle of the frame strays.
    """

    size: int = 96
    field_mm: float = 108.0
    contrast: float = 1.0
    variation: float = 1.0

    @property
    def step_mm(self) -> float:
        """Length of a piece of vessel that is short enough for the pixels."""
        return float(np.clip(0.6 * self.field_mm / self.size, 0.25, 0.8))


@dataclass(frozen=True)
class View:
    """What is chosen for a run before it is drawn, whatever the disease.

    Attributes:
        side: artery that is injected.
        primary_deg: LAO positive.
        secondary_deg: cranial positive.
        frames: number of frames.
        frame_time_ms: between two frames.
        seed: of motion, injection, surroundings and noise.
    """

    side: int
    primary_deg: float
    secondary_deg: float
    frames: int
    frame_time_ms: float
    seed: tuple[int, ...]


@lru_cache(maxsize=4)
def _projector(size: int, largest: float) -> TubeProjector:
    return TubeProjector(size, largest)


def draw_cine(tree: Tree, disease: Disease, view: View, look: Look, room: Room, bits: int) -> NDArray:
    """Draw one run.

    Args:
        tree: the person.
        disease: the lesions.
        view: projection and timing.
        look: size, field, contrast.
        room: laboratory.
        bits: stored bits, 8 to 16.

    Returns:
        ``(frames, size, size)`` as the detector stores it, bright background and dark vessels.
    """
    rng = np.random.default_rng(view.seed)
    lumen = diseased_lumen(tree, disease)
    seconds = np.arange(view.frames) * view.frame_time_ms / 1000
    motion = Motion.draw(rng)
    injection = Injection.draw(rng, view.side, view.frames * view.frame_time_ms / 1000)
    points = motion.moved(tree.points_mm, tree.frame, tree.length_mm, tree.length_mm / 3, seconds)  # (T, P, 3)
    arm = _aimed(rng, tree, view, look, points)
    tip = tree.ostium_mm(view.side)
    wire, follows = catheter(rng, _resting(tree, motion, tip), look.step_mm)
    moved = motion.moved(tip[None], tree.frame, tree.length_mm, tree.length_mm / 3, seconds)  # (T, 1, 3)
    wire = wire + follows[:, None] * (moved - wire[0])  # (T, C, 3)
    contrast = injection.concentration(tree, lumen, seconds)
    absorbed = [
        _vessels(tree, lumen, contrast, look),
        _calcium(np.random.default_rng([*view.seed, 1]), tree, disease),
        _catheter_wall(injection.opacity(seconds), wire.shape[1], look),
    ]
    offsets = [np.zeros((len(tree.side), 3)), _wall(rng, tree), np.zeros((wire.shape[1], 3))]
    places = [points + offsets[0], points + offsets[1], wire]
    thickness = _thickness(arm, places, absorbed)
    spine = np.array([-24.0, 66.0]) + rng.normal(0, 4, 2)
    scene = background(rng, arm, spine, motion.descent_mm(seconds), room.texture)
    return detected(rng, scene + thickness, room, bits)


def _resting(tree: Tree, motion: Motion, point: Array) -> Array:
    still = Motion(motion.heart_rate_hz, 0.0, 0.0, 0.0, 0.0, 0.0)
    return still.moved(point[None], tree.frame, tree.length_mm, tree.length_mm / 3, np.zeros(1))[0, 0]


def _aimed(rng: np.random.Generator, tree: Tree, view: View, look: Look, points: Array) -> CArm:
    """Move the table so that the injected artery fills the frame, not quite in its middle."""
    arm = CArm(view.primary_deg, view.secondary_deg, look.size, look.field_mm)
    own = (tree.side == view.side) & (tree.segment >= 0)
    pixels, _ = arm.project(points[:, own])
    middle = (pixels.reshape(-1, 2).min(0) + pixels.reshape(-1, 2).max(0)) / 2 - (look.size - 1) / 2
    centre = middle * arm.pixel_mm + look.variation * rng.normal(0, 3, 2)
    return CArm(view.primary_deg, view.secondary_deg, look.size, look.field_mm, (float(centre[0]), float(centre[1])))


Tube = tuple[Array, Array]
"""Radius in mm ``(P,)`` and attenuation times volume in mm^2 ``(T, P)`` or ``(P,)`` of every piece."""


def _vessels(tree: Tree, lumen: Lumen, contrast: Array, look: Look) -> Tube:
    volume = np.pi * lumen.radius_mm**2 * tree.step_mm
    return lumen.radius_mm, IODINE_PER_MM * look.contrast * contrast * volume


def _calcium(rng: np.random.Generator, tree: Tree, disease: Disease) -> Tube:
    """Broken plates in the wall of calcified segments; they are there before the contrast comes."""
    plate = np.zeros(len(tree.side))
    for segment in sorted(disease.calcified):
        own = np.flatnonzero(tree.segment == segment)
        start, share = rng.uniform(0, 0.4), rng.uniform(0.3, 0.6)
        chosen = own[int(start * len(own)) : int((start + share) * len(own)) + 1]
        waves = np.sin(tree.path_mm[chosen] * rng.uniform(0.5, 0.9)) + np.sin(tree.path_mm[chosen] * 1.7)
        plate[chosen] = np.clip(waves + 0.6, 0, 1)
    return np.full(len(plate), 0.7), CALCIUM_PER_MM * np.pi * 1.4 * plate * tree.step_mm


def _wall(rng: np.random.Generator, tree: Tree) -> Array:
    """From the centre line to the wall, ``(P, 3)``, the same way over some millimetres."""
    way = rng.normal(size=3) + 0.4 * np.sin(tree.path_mm[:, None] * rng.uniform(0.2, 0.5, 3))
    return 0.8 * tree.radius_mm[:, None] * way / np.linalg.norm(way, axis=1, keepdims=True)


def _catheter_wall(opacity: Array, pieces: int, look: Look) -> Tube:
    """The wall shows a little by itself, and more while contrast runs through it."""
    radius = np.full(pieces, CATHETER_MM)
    volume = np.pi * CATHETER_MM**2 * look.step_mm
    return radius, volume * (0.09 + 0.08 * look.contrast * opacity[:, None]) * np.ones(pieces)


def _thickness(arm: CArm, places: list[Array], tubes: list[Tube]) -> NDArray[np.float32]:
    """Attenuation ``(T, size, size)`` of all tubes together."""
    frames = len(places[0])
    points, radii, weights = [], [], []
    for place, (radius, weight) in zip(places, tubes, strict=True):
        weight = np.broadcast_to(weight, (frames, len(radius)))
        seen = weight.max(0) > 0
        points.append(place[:, seen])
        radii.append(radius[seen])
        weights.append(weight[:, seen])
    pixels, magnification = arm.project(np.concatenate(points, 1))
    radius = np.concatenate(radii) * magnification / arm.pixel_mm  # (T, P)
    weight = np.concatenate(weights, 1) * (magnification / arm.pixel_mm) ** 2
    return _projector(arm.size, float(np.round(3.4 / arm.pixel_mm, 3)))(pixels, radius, weight)
