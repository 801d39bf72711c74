"""What else an X-ray of the heart shows: spine, ribs, heart shadow, lungs, diaphragm, catheter, leads; the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvlm.data.phantoms.coronary_projection import CArm

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Room:
    """What a laboratory's images have in common; drawn for each study, whatever its disease.

    Attributes:
        noise: standard deviation of the noise at unit brightness.
        scatter: veil of scattered radiation, as a share of the mean.
        gamma: of the display.
        edge: ``circle`` (image intensifier), ``blades`` (collimator) or ``none``.
        vignetting: loss of brightness towards the corners.
        texture: strength of lung markings.
    """

    noise: float
    scatter: float
    gamma: float
    edge: str
    vignetting: float
    texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator, noise: float = 1.0) -> Room:
        """A random laboratory; ``noise`` is a factor."""
        return cls(
            noise=float(noise * rng.uniform(0.012, 0.028)),
            scatter=float(rng.uniform(0.02, 0.12)),
            gamma=float(rng.uniform(0.75, 1.05)),
            edge=str(rng.choice(("circle", "blades", "none"), p=(0.35, 0.4, 0.25))),
            vignetting=float(rng.uniform(0.05, 0.35)),
            texture=float(rng.uniform(0.02, 0.06)),
        )


def catheter(rng: np.random.Generator, ostium_mm: Array, step_mm: float) -> tuple[Array, Array]:
    """A catheter from above to an ostium.

    Args:
        rng: own stream.
        ostium_mm: ``(3,)`` in the room.
        step_mm: length of a piece.

    Returns:
        ``points``: ``(C, 3)`` from the ostium upwards; ``follows``: ``(C,)`` how much of the heart's motion a point
        takes part in, 1 at the tip.
    """
    lean, bend = rng.uniform(-14, 14), rng.uniform(8, 16)
    to_aorta = np.array([-ostium_mm[0], 5.0, 0.0]) + [rng.uniform(-12, 2), 0, 0]
    to_aorta *= bend / np.linalg.norm(to_aorta)
    controls = np.stack([
        ostium_mm,
        ostium_mm + to_aorta + [0, 0, -2],
        ostium_mm + to_aorta * 1.5 + [0, 4, 16],
        ostium_mm + to_aorta * 1.2 + [lean / 2, 10, 60],
        ostium_mm + to_aorta + [lean, 16, 130],
    ])  # fmt: skip
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(controls, axis=0), axis=1))])
    way = np.arange(0, knots[-1], step_mm)
    points = np.stack([np.interp(way, knots, controls[:, axis]) for axis in range(3)], 1)
    points = ndimage.gaussian_filter1d(points, 5 / step_mm, axis=0, mode="nearest")
    points += (ostium_mm - points[0]) * np.exp(-way / 6)[:, None]
    return points, np.exp(-way / 35)


def background(
    rng: np.random.Generator, arm: CArm, spine_mm: Array, descent_mm: Array, texture: float
) -> NDArray[np.float32]:
    """Attenuation of everything but the vessels.

    Args:
        rng: the view's own stream.
        arm: projection.
        spine_mm: ``(2,)`` Left and Posterior of the spine's axis from the isocentre.
        descent_mm: ``(T,)`` how far the diaphragm has moved down.
        texture: strength of lung markings.

    Returns:
        ``(T, size, size)``.
    """
    size, pixel = arm.size, arm.pixel_mm
    axis = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    u, v = axis[None, :] + arm.centre_mm[0], axis[:, None] + arm.centre_mm[1]
    still = np.zeros((size, size), np.float32) + rng.normal(0, 0.003) * u + rng.normal(0, 0.0015) * v
    right, down, beam = arm.axes()
    spine = np.array([*spine_mm, 0.0])
    magnification = arm.source_to_patient_mm / (arm.source_to_patient_mm + beam @ spine)
    middle = float(right @ spine) * magnification
    away = np.abs(u - middle - 3 * np.sin(v / 40 + rng.uniform(0, 6)))
    discs = 1 - 0.22 * np.exp(-(((v + rng.uniform(0, 30)) % 31 - 15) ** 2) / 12)
    still += rng.uniform(0.18, 0.34) * discs / (1 + np.exp(np.clip((away - 19) / 3, -30, 30)))
    heart = np.hypot((u - rng.normal(0, 5)) / rng.uniform(42, 56), (v - rng.normal(4, 5)) / rng.uniform(44, 58))
    still += rng.uniform(0.1, 0.25) / (1 + np.exp(np.clip((heart - 1) * 14, -30, 30)))
    for number in range(4):  # ribs
        height = (
            -60 + 36 * number + rng.uniform(-8, 8) - 0.004 * rng.uniform(0.5, 2) * u**2 + rng.uniform(-0.3, 0.3) * u
        )
        still += rng.uniform(0.02, 0.06) * np.exp(-(((v - height) / 5) ** 4))
    coarse = rng.normal(size=(4 + size // 24, 4 + size // 24)), rng.normal(size=(size // 5, size // 5))
    for grid, strength in zip(coarse, (texture, texture * 0.5), strict=True):
        still += strength * _stretched(grid.astype(np.float32), size)
    if rng.random() < 0.25:  # the lead of an electrocardiogram
        slope, shift = rng.uniform(-0.6, 0.6), rng.uniform(-45, 45)
        still += 0.12 * np.exp(-((((u - shift) - slope * v) / 0.9) ** 2))
    dome = 44 + rng.normal(0, 7) + 0.003 * (u - rng.uniform(-30, 30)) ** 2 - 18 * np.sin(np.deg2rad(arm.secondary_deg))
    edge = (v - dome)[None] - descent_mm[:, None, None].astype(np.float32)  # (T, size, size)
    return still + rng.uniform(0.15, 0.4) * np.clip(edge / 7 + 0.5, 0, 1)


def _stretched(grid: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """A coarse grid laid smoothly over ``(size, size)``."""
    places = np.linspace(0.5, len(grid) - 1.5, size)
    lower = places.astype(int)
    share = places - lower
    share = share * share * (3 - 2 * share)
    weights = np.zeros((size, len(grid)), np.float32)
    weights[np.arange(size), lower] = 1 - share
    weights[np.arange(size), lower + 1] = share
    return weights @ grid @ weights.T


def detected(
    rng: np.random.Generator, attenuation: NDArray[np.float32], room: Room, bits: int
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Turn attenuation into stored values, bright where little is absorbed.

    Args:
        rng: the view's own stream.
        attenuation: ``(T, size, size)``.
        room: laboratory.
        bits: stored bits, 8 to 16.

    Returns:
        ``(T, size, size)``, ``uint8`` for 8 bits, otherwise ``uint16``.
    """
    size = attenuation.shape[-1]
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    radius = np.hypot(axis[:, None], axis)
    light = np.exp(-attenuation)
    light *= 1 - room.vignetting * (radius / np.sqrt(2)) ** 2
    light *= 0.62 / light[0].mean()  # exposure is set before the contrast comes, so it knows nothing of the arteries
    light += room.scatter * 0.62
    grain = rng.standard_normal(attenuation.shape, dtype=np.float32)
    grain[..., 1:] += 0.35 * grain[..., :-1]
    light += room.noise * np.sqrt(light) * grain
    if room.edge == "circle":
        light *= np.clip((rng.uniform(1.02, 1.18) - radius) * size / 4, 0.03, 1)
    elif room.edge == "blades":
        reach = rng.uniform(0.9, 1.02, 2)
        gap = np.minimum(reach[0] - np.abs(axis)[:, None], reach[1] - np.abs(axis)[None])
        light *= np.clip(gap * size / 6, 0.06, 1)
    light = np.clip(light / 1.25, 0, 1) ** room.gamma
    top = (1 << bits) - 1
    return (light * top + 0.5).astype(np.uint8 if bits == 8 else np.uint16)
