"""Grids, signed distances and smooth random fields, all evaluated at points in millimetres.

Axes follow the arrays of BraTS: x to the patient's Left, y to Posterior, z to Superior, origin mid-brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Voxel centres in millimetres.

    Args:
        shape: voxels along x, y, z.
        spacing_mm: voxel sizes along x, y, z.
        centre_mm: where the middle of the grid lies.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def points(self) -> Array:
        """All voxel centres, ``(X * Y * Z, 3)``, the last of X, Y, Z fastest; stored column by column, for speed."""
        axes = [
            (np.arange(n, dtype=np.float32) - (n - 1) / 2) * step + centre
            for n, step, centre in zip(self.shape, self.spacing_mm, self.centre_mm, strict=True)
        ]
        return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]).T.astype(np.float32)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000


class Waves:
    """A smooth random field with mean 0 and standard deviation 1: a sum of plane waves.

    It has a value at every point, so the same person can be drawn on any grid or plane.

    Args:
        rng: source of directions, wavelengths and phases.
        wavelength_mm: shortest and longest wavelength, drawn log-uniformly.
        count: how many waves are added.
    """

    def __init__(self, rng: np.random.Generator, wavelength_mm: tuple[float, float], count: int = 12) -> None:
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = np.exp(rng.uniform(*np.log(wavelength_mm), size=(count, 1)))
        self.vectors = (2 * np.pi * direction / length).astype(np.float32)
        self.phases = rng.uniform(0, 2 * np.pi, size=count).astype(np.float32)
        # a product with weights is faster than a sum over a short axis
        self.weights = np.full(count, np.sqrt(2 / count), np.float32)

    def __call__(self, points: Array) -> Array:
        """Values of the field at points ``(N, 3)``, shape ``(N,)``."""
        return np.cos(points @ self.vectors.T + self.phases) @ self.weights

    def sheet_mm(self, points: Array) -> Array:
        """About the distance of points ``(N, 3)`` to the nearest surface where the field is zero, shape ``(N,)``."""
        phase = points @ self.vectors.T + self.phases  # (N, count)
        slope = np.sin(phase) @ (self.vectors * self.weights[:, None])  # (N, 3)
        return np.abs(np.cos(phase) @ self.weights) / np.maximum(length(slope), 1e-4)


def length(vectors: Array) -> Array:
    """Lengths ``(N,)`` of vectors ``(N, D)``."""
    return np.sqrt(sum(vectors[:, axis] ** 2 for axis in range(vectors.shape[1])))


def select(points: Array, index: np.ndarray) -> Array:
    """Rows of points ``(N, 3)``, stored column by column as ``Grid.points`` does."""
    return np.stack([points[:, axis][index] for axis in range(points.shape[1])]).T


def ellipsoid_mm(points: Array, centre: tuple[float, ...] | Array, radii: tuple[float, ...] | Array) -> Array:
    """Approximate signed distance (negative inside) of points ``(N, 3)`` to an ellipsoid, shape ``(N,)``."""
    radii = np.asarray(radii, np.float32)
    scaled = (points - np.asarray(centre, np.float32)) / radii
    k0, k1 = length(scaled), length(scaled / radii)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-6)


def capsule_mm(points: Array, start: tuple[float, ...], end: tuple[float, ...], radii: tuple[float, float]) -> Array:
    """Signed distance of points ``(N, 3)`` to a round-ended tube whose radius goes from one value to another."""
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)  # (N,)
    return length(points - a - along[:, None] * (b - a)) - (radii[0] + (radii[1] - radii[0]) * along)


def smooth_union(first: Array, second: Array, blend_mm: float) -> Array:
    """Union of two bodies given by signed distances, their junction filled over ``blend_mm``."""
    overlap = np.maximum(blend_mm - np.abs(first - second), 0) / blend_mm
    return np.minimum(first, second) - overlap**2 * (blend_mm / 4)


def cover(distance: Array, width_mm: float) -> Array:
    """How much of a voxel a body covers, 0..1, from the signed distance of its centre."""
    return np.clip(0.5 - distance / width_mm, 0, 1)


def rotation(rng: np.random.Generator, degrees: tuple[float, float, float]) -> Array:
    """A random rotation about x, y, z with the given standard deviations, cut at two of them."""
    angles = np.deg2rad(np.clip(rng.normal(size=3), -2, 2) * degrees)
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix.astype(np.float32)
