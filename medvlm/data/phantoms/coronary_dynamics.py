"""How the heart beats and breathes, and how contrast fills it and washes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlm.data.phantoms.coronary_anatomy import Tree
from medvlm.data.phantoms.coronary_disease import COLLATERALS, Lumen

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """One run's heart beat and breathing.

    Attributes:
        heart_rate_hz: beats a second.
        phase: of the first frame, 0..1; 0 is the end of diastole.
        strength: factor on the contraction.
        breathing_hz: breaths a second; 0 when the breath is held.
        breathing_mm: amplitude, towards the feet when breathing in.
        breathing_phase: 0..1.
    """

    heart_rate_hz: float
    phase: float
    strength: float
    breathing_hz: float
    breathing_mm: float
    breathing_phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Motion:
        """A random run; the breath is held in two of three."""
        held = rng.random() < 0.67
        return cls(
            heart_rate_hz=float(rng.uniform(0.9, 1.6)),
            phase=float(rng.random()),
            strength=float(rng.uniform(0.6, 1.1)),
            breathing_hz=float(rng.uniform(0.2, 0.33)),
            breathing_mm=float(rng.uniform(0, 1) if held else rng.uniform(3, 8)),
            breathing_phase=float(rng.random()),
        )

    def contraction(self, seconds: Array) -> Array:
        """0 at the end of diastole to ``strength`` at the end of systole, ``(T,)``: fast in, slower out."""
        beat = (seconds * self.heart_rate_hz + self.phase) % 1
        into, out = np.clip(beat / 0.32, 0, 1), np.clip((beat - 0.36) / 0.36, 0, 1)
        return self.strength * (np.sin(np.pi / 2 * into) ** 2) * (np.cos(np.pi / 2 * out) ** 2)

    def descent_mm(self, seconds: Array) -> Array:
        """How far breathing has moved heart and diaphragm towards the feet, ``(T,)``."""
        return self.breathing_mm * np.sin(2 * np.pi * (seconds * self.breathing_hz + self.breathing_phase))

    def moved(self, points_mm: Array, frame: Array, length_mm: float, centre: float, seconds: Array) -> Array:
        """Carry points of the heart's frame into the room.

        The base comes down to the apex, the wall moves in, the heart twists about its axis.

        Args:
            points_mm: ``(P, 3)`` in the heart's frame.
            frame: ``(3, 3)`` the heart's axes.
            length_mm: from groove to apex.
            centre: place on the axis, in mm, that lies in the isocentre.
            seconds: ``(T,)``.

        Returns:
            ``(T, P, 3)`` Left, Posterior, Superior of the isocentre.
        """
        squeeze = self.contraction(seconds)[:, None]  # (T, 1)
        along, groove, lateral = points_mm.T
        height = along / length_mm
        twist = np.deg2rad(9) * squeeze * (height - 0.2)
        inward = 1 - 0.13 * squeeze * np.clip(height + 0.35, 0, 1)
        turned = inward * (groove * np.cos(twist) - lateral * np.sin(twist))
        across = inward * (groove * np.sin(twist) + lateral * np.cos(twist))
        axial = along + 9 * squeeze * np.clip(1 - height, 0, 1.1) - centre
        room = np.stack([axial, turned, across], -1) @ frame  # (T, P, 3)
        room[..., 2] -= self.descent_mm(seconds)[:, None]
        return room


@dataclass(frozen=True)
class Injection:
    """One hand injection.

    Attributes:
        side: of the catheter.
        start_s: contrast leaves the catheter.
        stop_s: the syringe stops.
        speed_mm_s: of the front.
        wash_out_s: time in which contrast fades at a place.
    """

    side: int
    start_s: float
    stop_s: float
    speed_mm_s: float
    wash_out_s: float

    @classmethod
    def draw(cls, rng: np.random.Generator, side: int, duration_s: float) -> Injection:
        """A random injection that fills the arteries within a run and lets them begin to wash out."""
        start, share = rng.uniform(0.04, 0.14), rng.uniform(0.5, 0.66)
        return cls(
            side=side,
            start_s=float(start * duration_s),
            stop_s=float((start + share) * duration_s),
            speed_mm_s=float(rng.uniform(260, 420) * np.clip(2.0 / duration_s, 0.5, 2)),
            wash_out_s=float(rng.uniform(0.15, 0.3) * duration_s),
        )

    def opacity(self, seconds: Array) -> Array:
        """Of the contrast in the catheter, 0..1, ``(T,)``."""
        return _rise((seconds - self.start_s + 0.1) / 0.1) * (1 - _rise((seconds - self.stop_s) / 0.2))

    def concentration(self, tree: Tree, lumen: Lumen, seconds: Array) -> Array:
        """Contrast in every point, 0..1, ``(T, P)``.

        Beyond an occlusion there is none, unless collaterals fill it: late, faint, and from the far end; those that
        come from the other artery fill the bed when that one is injected.
        """
        travel = tree.path_mm / self.speed_mm_s + 0.8 * (1 - lumen.flow)
        own = (tree.side == self.side) & ~lumen.blocked
        arrival, strength = self.start_s + travel, np.where(own, lumen.flow, 0.0)
        ipsilateral = (lumen.collateral == COLLATERALS.index("ipsilateral")) & (tree.side == self.side)
        contralateral = (lumen.collateral == COLLATERALS.index("contralateral")) & (tree.side != self.side)
        fed = lumen.blocked & (ipsilateral | contralateral)
        if fed.any():
            backwards = (lumen.beyond_mm[fed].max() - lumen.beyond_mm) / self.speed_mm_s
            late = self.start_s + 0.5 * (self.stop_s - self.start_s) + backwards
            arrival, strength = np.where(fed, late, arrival), np.where(fed, 0.45, strength)
        time = seconds[:, None]
        fading = _rise((time - self.stop_s - 1.5 * travel) / self.wash_out_s)
        return strength * _rise((time - arrival) / 0.12) * (1 - 0.97 * fading)


def _rise(share: Array) -> Array:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
