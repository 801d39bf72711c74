"""A C-arm: cone-beam projection of thin tubes onto a detector, by what each piece of tube weighs.

A tube of radius r is a row of discs: the length of a ray inside it is the integral, along the centre line, of whether
the disc of radius r around the projected centre covers the pixel. So pieces are dropped on the pixel grid with their
volume, one grid for each of a few radii, and the grids are convolved with discs in Fourier space; a foreshortened or
overlapping vessel is dark as it should be, and volume is kept at any calibre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CArm:
    """Where source and detector stand.

    Args:
        primary_deg: positioner primary angle: positive LAO (the detector moves to the patient's left), negative RAO.
        secondary_deg: positioner secondary angle: positive cranial, negative caudal.
        size: pixels of a side of the square frame.
        field_mm: side of the frame in the plane of the isocentre.
        centre_mm: ``(u, v)`` in the plane of the isocentre that the middle of the frame shows.
        source_to_patient_mm: distance of the isocentre from the source.
        source_to_detector_mm: distance of the detector from the source.
    """

    primary_deg: float
    secondary_deg: float
    size: int
    field_mm: float
    centre_mm: tuple[float, float] = (0.0, 0.0)
    source_to_patient_mm: float = 765.0
    source_to_detector_mm: float = 1050.0

    def axes(self) -> Array:
        """Rows: to the right of the image, down the image, from source to detector; in Left, Posterior, Superior."""
        a, b = np.deg2rad(self.primary_deg), np.deg2rad(self.secondary_deg)
        right = [np.cos(a), np.sin(a), 0.0]
        up = [-np.sin(a) * np.sin(b), np.cos(a) * np.sin(b), np.cos(b)]
        beam = [np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), np.sin(b)]
        return np.array([right, [-x for x in up], beam])

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel in the plane of the isocentre."""
        return self.field_mm / self.size

    @property
    def imager_pixel_mm(self) -> float:
        """Side of a pixel on the detector."""
        return self.pixel_mm * self.source_to_detector_mm / self.source_to_patient_mm

    def project(self, points_mm: Array) -> tuple[Array, Array]:
        """Project points.

        Args:
            points_mm: ``(..., 3)`` Left, Posterior, Superior of the isocentre.

        Returns:
            ``pixels``: ``(..., 2)`` column and row, 0 in the middle of the first pixel; ``magnification``: ``(...,)``
            against the plane of the isocentre.
        """
        seen = points_mm @ self.axes().T  # (..., 3)
        magnification = self.source_to_patient_mm / (self.source_to_patient_mm + seen[..., 2])
        plane = seen[..., :2] * magnification[..., None] - np.asarray(self.centre_mm)
        return plane / self.pixel_mm + (self.size - 1) / 2, magnification


def disc(radius: float, side: int) -> NDArray[np.float32]:
    """A disc of mass 1 around pixel (0, 0) of a periodic grid ``(side, side)``; edges by area."""
    reach = int(np.ceil(radius)) + 1
    fine = 8
    offsets = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    inside = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float32)
    kernel = inside.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).mean((1, 3))
    out = np.zeros((side, side), np.float32)
    out[: 2 * reach + 1, : 2 * reach + 1] = kernel / kernel.sum()
    return np.roll(out, (-reach, -reach), (0, 1))


class TubeProjector:
    """Draws tubes on frames of one size; the discs are made once.

    Args:
        size: pixels of a side.
        largest: radius in pixels of the widest tube; wider ones are drawn this wide, with their own volume.
        blur: standard deviation of the detector's and the focal spot's blur in pixels.
    """

    def __init__(self, size: int, largest: float, blur: float = 0.45) -> None:
        ratio = 1.8 if largest < 4 else 1.5  # a few pixels need fewer radii, and each costs a transform
        count = max(int(np.ceil(np.log(max(largest, 0.8) / 0.5) / np.log(ratio))) + 1, 2)
        self.radii = np.geomspace(0.5, max(largest, 0.8), count)
        self.size, self.margin = size, int(np.ceil(self.radii[-1])) + 3
        self.side = fft.next_fast_len(size + 2 * self.margin, real=True)
        frequency = fft.fftfreq(self.side)
        square = frequency[:, None] ** 2 + fft.rfftfreq(self.side) ** 2
        soft = np.exp(-2 * (np.pi * blur) ** 2 * square)
        self.discs = np.stack([fft.rfft2(disc(r, self.side)) * soft for r in self.radii]).astype(np.complex64)

    def __call__(self, pixels: Array, radius: Array, volume: Array) -> NDArray[np.float32]:
        """Thickness along each ray.

        Args:
            pixels: ``(T, P, 2)`` column and row of each piece.
            radius: ``(T, P)`` in pixels.
            volume: ``(T, P)`` of each piece, in pixel area times the unit of thickness that is wanted.

        Returns:
            ``(T, size, size)`` in that unit.
        """
        frames, (side, kinds) = len(pixels), (self.side, len(self.radii))
        place = pixels.astype(np.float32) + self.margin
        inside = ((place >= 0) & (place < side - 1)).all(-1) & (volume > 0)  # (T, P)
        place, volume = place[inside], volume[inside].astype(np.float32)
        corner = place.astype(np.int64)  # all are positive
        x, y = (place - corner).T
        kind = np.interp(radius[inside], self.radii, np.arange(kinds)).astype(np.float32)
        lower = np.minimum(kind.astype(np.int64), kinds - 2)
        upper = volume * (kind - lower)
        base = ((np.nonzero(inside)[0] * kinds + lower) * side + corner[:, 1]) * side + corner[:, 0]
        cover = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
        weights = np.stack([cover * (volume - upper), cover * upper])  # (2, 4, points)
        shifts = np.array([0, 1, side, side + 1])[None, :, None] + np.array([0, side * side])[:, None, None]
        grid = np.bincount((base + shifts).ravel(), weights.ravel(), frames * kinds * side * side)
        spectrum = fft.rfft2(grid.astype(np.float32).reshape(frames, kinds, side, side))
        own = slice(self.margin, self.margin + self.size)
        return fft.irfft2((spectrum * self.discs).sum(1), s=(side, side))[:, own, own]
