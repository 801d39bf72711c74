"""Pictures of a predicted study: the frame that a sentence rests on, with the captioner's attention."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from medvlm.visualize.style import INK, blank_figure, house_style, to_png

HEAT = "inferno"
BOX = "#56b4e9"
TILE, GAP = 3.0, 0.06  # inches
FULL = 3.0


def evidence_picture(
    frame: np.ndarray,
    heat: np.ndarray,
    edges: tuple[Sequence[float], Sequence[float]],
    box: Mapping[str, float] | None,
    sentence: str,
    place: str,
    dpi: int = 110,
) -> bytes:
    """Show a frame as it is, and beside it with the attention of a sentence and its box.

    Args:
        frame: ``(H, W)`` of the file, 0 black to 1 white.
        heat: ``(h, w)`` not negative; shown is how far it is above its mean, so that an even map shows nothing, and
            brightest is ``FULL`` times the mean, or its largest value where that is more.
        edges: top and bottom, and left and right, of the heat in pixels of the file; it may reach beyond the frame.
        box: ``x``, ``y``, ``width``, ``height`` in pixels of the file; None where no place stands out.
        sentence: stands above.
        place: where the frame comes from; stands below.
        dpi: pixels an inch.

    Returns:
        A PNG.

    Raises:
        ValueError: When an array is no picture.
    """
    frame, heat = np.asarray(frame, dtype=np.float32), np.asarray(heat, dtype=np.float32)
    if frame.ndim != 2 or heat.ndim != 2 or not frame.size or not heat.size:
        raise ValueError(f"frame and heat must be rows and columns, got shapes {frame.shape} and {heat.shape}.")
    rows, columns = frame.shape
    size = (TILE, TILE * rows / columns)
    width = 2 * TILE + 3 * GAP
    above = textwrap.wrap(f"\N{LEFT DOUBLE QUOTATION MARK}{sentence}\N{RIGHT DOUBLE QUOTATION MARK}", int(width * 13))
    below = textwrap.wrap(place, int(width * 16))
    top, bottom = 0.08 + 0.17 * len(above), 0.1 + 0.14 * len(below)
    height = top + size[1] + bottom
    with house_style():
        figure = blank_figure(width, height)
        figure.patch.set_facecolor("white")
        tiles = []
        for number in range(2):
            left = GAP + number * (TILE + GAP)
            tiles.append(figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height)))
            _show_frame(tiles[-1], frame)
        _lay_heat(tiles[1], heat, edges)
        if box is not None:
            corner, sides = (box["x"] - 0.5, box["y"] - 0.5), (box["width"], box["height"])
            tiles[1].add_patch(Rectangle(corner, *sides, fill=False, edgecolor=BOX, linewidth=1.4))
        tiles[1].set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
        style = {"va": "top", "fontsize": 8.5, "weight": "bold", "color": INK, "linespacing": 1.3}
        figure.text(GAP / width, 1 - 0.05 / height, "\n".join(above), **style)
        figure.text(GAP / width, 0.05 / height, "\n".join(below), va="bottom", fontsize=7, color=INK, linespacing=1.3)
    return to_png(figure, dpi)


def _show_frame(axes: Axes, frame: np.ndarray) -> None:
    low, high = (float(value) for value in np.percentile(frame, [0.5, 99.8]))
    limits = {"vmin": low, "vmax": high if high > low else low + 1}
    axes.imshow(frame, cmap="gray", aspect="auto", interpolation="bilinear", **limits)
    axes.set_axis_off()


def _lay_heat(axes: Axes, heat: np.ndarray, edges: tuple[Sequence[float], Sequence[float]]) -> None:
    excess = np.clip(heat / max(float(heat.mean()), 1e-12) - 1, 0, None)
    values = excess / max(float(excess.max()), FULL - 1)
    (top, bottom), (left, right) = edges
    extent = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    alpha = 0.6 * values**0.7
    axes.imshow(values, cmap=HEAT, vmin=0, vmax=1, alpha=alpha, aspect="auto", interpolation="bilinear", extent=extent)
