"""How scanners see: tissue contrast, coil shading, resolution, ghosts, noise and the numbers that end up on disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medvlm.data.phantoms.brain import TISSUES
from medvlm.data.phantoms.geometry import Array, Grid, Waves

MODALITIES = ("T1", "T1c", "T2", "FLAIR")
SIGNAL = {  # relative to white matter on T1; one value a modality
    "csf": (0.28, 0.29, 1.45, 0.17),
    "grey": (0.71, 0.74, 0.74, 0.76),
    "white": (1.00, 1.00, 0.50, 0.62),
    "nuclei": (0.77, 0.80, 0.62, 0.73),
    "stem": (0.92, 0.92, 0.53, 0.64),
    "vessel": (0.55, 1.75, 0.28, 0.42),
    "plexus": (0.55, 1.50, 1.00, 0.72),
    "necrosis": (0.46, 0.44, 1.25, 0.95),
    "solid": (0.72, 0.76, 1.05, 1.12),
    "enhancing": (0.70, 1.65, 0.90, 1.02),
    "muscle": (0.55, 0.60, 0.35, 0.40),
    "bone": (0.16, 0.18, 0.12, 0.12),
    "scalp": (1.25, 1.35, 0.85, 0.75),
}
OEDEMA_CHANGE = (-0.19, -0.19, 0.55, 0.48)
GLIOSIS_CHANGE = (-0.10, -0.10, 0.38, 0.40)


@dataclass(frozen=True)
class ScannerStyle:
    """The spread of one source's scanners; pairs are ranges to draw from.

    Args:
        noise: standard deviation of the noise relative to white matter on T1.
        bias: standard deviation of the coil shading (log scale).
        blur_mm: full width at half maximum of the in-plane resolution.
        slice_mm: the same across slices, added to the grid's own spacing.
        gamma: exponent of the intensity scale.
        t1_grey: grey/white ratio on T1 (0.6 gradient echo, 0.85 spin echo).
        flair_grey: grey/white ratio on FLAIR.
        ghost: largest amplitude of motion ghosts.
        jitter: relative scatter of each tissue's signal.
        units: white matter's value on disk.
    """

    noise: tuple[float, float] = (0.02, 0.04)
    bias: tuple[float, float] = (0.04, 0.14)
    blur_mm: tuple[float, float] = (0.8, 2.0)
    slice_mm: tuple[float, float] = (0.5, 3.0)
    gamma: tuple[float, float] = (0.9, 1.15)
    t1_grey: tuple[float, float] = (0.64, 0.80)
    flair_grey: tuple[float, float] = (1.08, 1.26)
    ghost: tuple[float, float] = (0.0, 0.05)
    jitter: float = 0.04
    units: tuple[float, float] = (150.0, 700.0)


STYLES = {
    "mixed": ScannerStyle(),
    "sharp": ScannerStyle((0.015, 0.035), (0.03, 0.10), (0.5, 1.5), (0.3, 1.5), (0.9, 1.1), (0.60, 0.74)),
    "thick": ScannerStyle((0.02, 0.045), (0.05, 0.16), (1.0, 2.4), (2.0, 5.0), (0.95, 1.25), (0.70, 0.84)),
    "noisy": ScannerStyle((0.03, 0.06), (0.06, 0.20), (0.8, 2.2), (0.5, 3.0), (0.8, 1.1), (0.66, 0.82), (1.12, 1.3)),
    "shaded": ScannerStyle((0.02, 0.04), (0.10, 0.20), (0.8, 2.0), (0.5, 3.0), (0.85, 1.2), (0.64, 0.80), (1.04, 1.2)),
    "clean": ScannerStyle((0.005, 0.01), (0.0, 0.02), (0.3, 0.8), (0.1, 0.5), (1.0, 1.0), (0.7, 0.7), (1.2, 1.2),
                          (0.0, 0.0), 0.0),
}  # fmt: skip


class Scanner:
    """One session on one machine: four acquisitions that share a style.

    Args:
        rng: source of the session's settings and of its noise.
        style: ranges to draw from.
        noise: factor on the style's noise.
    """

    def __init__(self, rng: np.random.Generator, style: ScannerStyle, noise: float = 1.0) -> None:
        channels = len(MODALITIES)
        self.signal = {
            name: np.asarray(values, np.float32) * np.clip(rng.normal(1, style.jitter, channels), 0.8, 1.2)
            for name, values in SIGNAL.items()
        }
        t1, flair = MODALITIES.index("T1"), MODALITIES.index("FLAIR")
        grey, white = self.signal["grey"], self.signal["white"]
        grey[[t1, t1 + 1]] = white[[t1, t1 + 1]] * rng.uniform(*style.t1_grey)
        grey[flair] = white[flair] * rng.uniform(*style.flair_grey)
        self.noise = (rng.uniform(*style.noise) * rng.uniform(0.8, 1.25, channels) * noise).astype(np.float32)
        self.bias = rng.uniform(*style.bias) * rng.uniform(0.7, 1.3, channels)
        self.coil = Waves(rng, (140, 320), 4)
        self.coils = [Waves(rng, (120, 280), 3) for _ in range(channels)]
        self.texture = Waves(rng, (7, 30), 8)
        self.blur_mm = rng.uniform(*style.blur_mm, channels)
        self.slice_mm = rng.uniform(*style.slice_mm, channels)
        self.gamma = rng.uniform(*style.gamma, channels)
        self.ghost = rng.uniform(*style.ghost, channels) * (rng.random(channels) < 0.5)
        self.ghost_shift = rng.uniform(0.15, 0.45, channels)
        self.units = np.exp(rng.uniform(*np.log(style.units), channels))
        self._rng = rng

    def tissue(self, fractions: Array) -> Array:
        """Signal ``(N, 4)`` of tissue fractions ``(N, T)``."""
        table = np.stack([self.signal[name] for name in TISSUES], 1).astype(np.float32)  # (4, T)
        return (table @ fractions.T).T  # stored modality by modality

    def shade(self, signal: Array, points: Array) -> Array:
        """Signal ``(N, 4)`` with coil shading and the fine unevenness of tissue at world points ``(N, 3)``."""
        common = self.coil(points)
        shaded = signal * (1 + 0.02 * self.texture(points))[:, None]
        for channel, wave in enumerate(self.coils):
            shaded[:, channel] *= np.exp(self.bias[channel] * (0.8 * common + 0.6 * wave(points)))
        return shaded

    def image(self, channel: int, signal: Array, grid: Grid, inside: np.ndarray) -> Array:
        """Blur, ghost, add noise and scale one modality.

        Args:
            channel: index in ``MODALITIES``.
            signal: ``(X, Y, Z)`` signal on the grid.
            grid: the grid.
            inside: ``(X, Y, Z)`` where the image has a value; outside it is exactly 0.

        Returns:
            ``(X, Y, Z)`` positive values in the scanner's units, 0 outside.
        """
        fwhm = np.array([self.blur_mm[channel]] * 2 + [self.slice_mm[channel]])
        sigma = fwhm / 2.355 / np.asarray(grid.spacing_mm) * (np.asarray(grid.shape) > 1)
        weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma, truncate=3)
        seen = ndimage.gaussian_filter(signal, sigma, truncate=3) / np.maximum(weight, 0.3)
        if self.ghost[channel] > 0:
            axis = 1 if grid.shape[1] > 1 else 0
            shift = int(self.ghost_shift[channel] * grid.shape[axis])
            ghost = np.roll(seen, shift, axis) + np.roll(seen, -shift, axis)
            seen = seen + np.float32(self.ghost[channel]) * (ghost - ndimage.uniform_filter(ghost, 7))
        sd = float(self.noise[channel])
        seen = seen[inside]
        real = self._rng.standard_normal(len(seen), dtype=np.float32) * sd
        imaginary = self._rng.standard_normal(len(seen), dtype=np.float32) * sd
        value = np.hypot(seen + real, imaginary) ** np.float32(self.gamma[channel])
        out = np.zeros(grid.shape, np.float32)
        out[inside] = np.maximum(value * self.units[channel], 1)
        return out
