"""Image panels from arrays: the input, the truth, the prediction, the CAM and the uncertainty of one case.

Arrays are on one grid, LPS oriented as the transforms make them: x to the patient's left, y to the back, z up. They
are shown as a radiologist sees them, front on top and the patient's left on the viewer's right.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medvlm.visualize.forest import shorten
from medvlm.visualize.slices import (
    as_regions,
    as_volume,
    content_box,
    displayable,
    informative_slice,
    slice_words,
    upright,
)
from medvlm.visualize.style import blank_figure, house_style, to_png

TRUTH = "#35d07f"  # lighter than the palette of white pages, for grey images
REGION_COLOURS = ("#f0e442", "#56b4e9", "#ff7f4d", "#cc79a7")
KEYS = {"Truth": "truth", "Prediction": "pred", "Class activation": "cam", "Uncertainty": "uncertainty"}
HEAT, DOUBT = "inferno", "viridis"
TILE_INCHES, LONE_TILE_INCHES, GAP_INCHES = 2.35, 3.6, 0.06


def _names(count: int, regions: Sequence[str] | None) -> list[str]:
    if regions is not None and len(regions) != count:
        raise ValueError(f"regions must name the mask's {count} regions, got {list(regions)}.")
    return (
        list(regions) if regions is not None else ["mask"] if count == 1 else [f"region {i + 1}" for i in range(count)]
    )


def _spacing(spacing: Sequence[float] | None) -> tuple[float, ...]:
    spacing = (1.0, 1.0) if spacing is None else tuple(float(s) for s in spacing)
    if len(spacing) not in (2, 3) or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(f"spacing must be two or three positive millimetres, got {spacing}; None means square pixels.")
    return spacing


def show_plane(axes: Axes, plane: np.ndarray, window: tuple[float, float], spacing: Sequence[float] = (1, 1)) -> None:
    """Show a grey ``(X, Y)`` plane upright, with square millimetres.

    Args:
        axes: where to draw.
        plane: ``(X, Y)``.
        window: the values shown as black and white.
        spacing: millimetres a voxel along x and y.
    """
    aspect = float(spacing[1]) / float(spacing[0])
    axes.imshow(upright(plane), cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect, interpolation="bilinear")
    axes.set_axis_off()


def draw_contours(
    axes: Axes, regions: np.ndarray, colours: Sequence[str], style: str = "-", width: float = 1.4
) -> None:
    """Outline the regions of a plane; what the axes show stays as it is.

    Args:
        axes: where an image of the plane is shown.
        regions: boolean ``(R, X, Y)``.
        colours: one a region.
        style: line style.
        width: line width in points.
    """
    limits = axes.get_xlim(), axes.get_ylim()
    for region, colour in zip(regions, colours, strict=False):
        if region.any():
            framed = np.pad(region.astype(np.float32), 1)  # a region at the border is closed
            x, y = np.arange(-1, region.shape[0] + 1), np.arange(-1, region.shape[1] + 1)
            axes.contour(x, y, upright(framed), [0.5], colors=[colour], linewidths=width, linestyles=style)
    axes.set(xlim=limits[0], ylim=limits[1])  # the frame would widen them, and make this tile smaller than the next


def draw_heat(axes: Axes, plane: np.ndarray, spacing: Sequence[float], top: float, cmap: str = HEAT) -> None:
    """Lay an ``(X, Y)`` map of values from 0 to ``top`` over an image, clear where it is low."""
    values = upright(np.clip(plane, 0, top))
    alpha = (values / top) ** 0.7 * 0.75
    aspect = float(spacing[1]) / float(spacing[0])
    axes.imshow(values, cmap=cmap, vmin=0, vmax=top, alpha=alpha, aspect=aspect, interpolation="bilinear")


def _heat_tile(axes: Axes, bar: Axes, plane: np.ndarray, top: float, spacing: Sequence[float], cmap: str) -> None:
    if top <= 0:
        _remark(axes, "zero everywhere")
        return
    draw_heat(axes, plane, spacing, top, cmap)
    bar.set_axis_on()
    bar.figure.colorbar(ScalarMappable(Normalize(0, top), cmap), cax=bar, orientation="horizontal")
    bar.set_xticks([0, top], ["0", f"{top:.2g}"])
    bar.spines[:].set_visible(False)
    bar.tick_params(labelsize=7, length=0, pad=2)


def _mask_tile(axes: Axes, plane: np.ndarray, names: Sequence[str], truth: np.ndarray | None) -> None:
    colours = [TRUTH] if len(names) == 1 and truth is None else list(REGION_COLOURS)
    draw_contours(axes, plane, colours)
    handles = [Line2D([], [], color=colour, label=name) for name, colour in zip(names, colours, strict=False)]
    if truth is not None:
        draw_contours(axes, truth, ["white"] * len(truth), style=":", width=0.9)
        handles.append(Line2D([], [], color="white", linestyle=":", label="truth"))
    if len(handles) > 1:
        style = {"loc": "lower left", "fontsize": 6.5, "handlelength": 1.1, "borderaxespad": 0.2, "labelspacing": 0.3}
        axes.legend(
            handles=handles,
            labelcolor="white",
            facecolor="black",
            framealpha=0.55,
            frameon=True,
            edgecolor="none",
            **style,
        )
    if not plane.any():
        _remark(axes, "nothing in this slice")


def _remark(axes: Axes, words: str) -> None:
    place = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
    axes.text(0.98, 0.02, words, color="white", fontsize=7, **place)


def _tiles(count: int, tall: float, title: str, footer: str, bars: bool) -> tuple[Figure, list[Axes], list[Axes]]:
    """Lay out tiles of one size in inches, each with room for a colour bar below, under a title and over a footer."""
    wide = TILE_INCHES if count > 1 else LONE_TILE_INCHES
    high = wide * tall
    width = count * wide + (count + 1) * GAP_INCHES
    footer = "\n".join(textwrap.fill(line, int(width * 14)) for line in footer.splitlines())
    below = GAP_INCHES + (0.32 if bars else 0) + (0.08 + 0.15 * len(footer.splitlines()) if footer else 0)
    above = 0.22 + (0.24 if title else 0)
    height = above + high + below
    figure = blank_figure(width, height)
    axes, colour_bars = [], []
    for index in range(count):
        left = GAP_INCHES + index * (wide + GAP_INCHES)
        axes.append(figure.add_axes((left / width, below / height, wide / width, high / height)))
        bar = (left + 0.15 * wide) / width, (below - 0.11) / height, 0.7 * wide / width, 0.07 / height
        colour_bars.append(figure.add_axes(bar))
        colour_bars[-1].set_axis_off()
    if title:
        figure.text(GAP_INCHES / width, 1 - 0.06 / height, title, va="top", fontsize=9, weight="bold")
    if footer:
        figure.text(GAP_INCHES / width, 0.05 / height, footer, va="bottom", fontsize=8, linespacing=1.25)
    return figure, axes, colour_bars


def draw_case(
    image: Any,
    truth: Any = None,
    pred: Any = None,
    cam: Any = None,
    uncertainty: Any = None,
    *,
    title: str = "",
    regions: Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
    slice_index: int | None = None,
    place: str | None = None,
    footer: str = "",
) -> Figure:
    """Draw what ``case_panel`` renders; the arguments are its own."""
    volume, spacing = as_volume(image, "image"), _spacing(spacing)
    masks = {
        n: as_regions(m, KEYS[n], volume.shape) for n, m in (("Truth", truth), ("Prediction", pred)) if m is not None
    }
    given = (("Class activation", cam), ("Uncertainty", uncertainty))
    heats = {n: as_volume(m, KEYS[n]) for n, m in given if m is not None}
    for name, heat in heats.items():
        if heat.shape != volume.shape:
            raise ValueError(
                f"{KEYS[name]} must be {volume.shape} like the image, got {heat.shape}; resample it first."
            )
    index = informative_slice(volume, *masks.values(), *heats.values()) if slice_index is None else int(slice_index)
    if not 0 <= index < volume.shape[2]:
        raise ValueError(f"slice_index must be from 0 to {volume.shape[2] - 1}, got {index}.")
    names = _names(len(next(iter(masks.values()))), regions) if masks else []
    shown, low, high = displayable(volume)
    tops = {name: float(heat.max()) for name, heat in heats.items()}
    marked = [m[..., index].any(axis=0) for m in masks.values()]
    marked += [h[..., index] > 0.5 * tops[n] for n, h in heats.items() if tops[n] > 0]
    box = content_box(shown[..., index], low, high, marked)
    plane = shown[..., index][box]
    tall = float(np.clip(plane.shape[1] * spacing[1] / (plane.shape[0] * spacing[0]), 0.4, 2.5))
    tiles = ["Input", *masks, *heats]
    where = place if place is not None else slice_words(index, volume.shape[2])
    room = 26 * len(tiles) + 10 * (len(tiles) == 1) - len(where)
    heading = " \N{MIDDLE DOT} ".join(t for t in (shorten(title, room), where) if t)
    with house_style():
        figure, panels, bars = _tiles(len(tiles), tall, heading, footer, bool(heats))
        for axes, bar, name in zip(panels, bars, tiles, strict=True):
            show_plane(axes, plane, (low, high), spacing)
            axes.set_title(name, fontsize=8, weight="normal", loc="center", pad=3)
            if name in masks:
                behind = masks.get("Truth") if name == "Prediction" else None
                reference = None if behind is None else behind[..., index][(slice(None), *box)]
                label = names if len(names) > 1 else [name.lower()]
                _mask_tile(axes, masks[name][..., index][(slice(None), *box)], label, reference)
            elif name in heats:
                cmap = HEAT if name == "Class activation" else DOUBT
                _heat_tile(axes, bar, heats[name][..., index][box], tops[name], spacing, cmap)
    return figure


def case_panel(
    image: Any,
    truth: Any = None,
    pred: Any = None,
    cam: Any = None,
    uncertainty: Any = None,
    *,
    title: str = "",
    regions: Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
    slice_index: int | None = None,
    place: str | None = None,
    footer: str = "",
    dpi: int = 110,
) -> bytes:
    """Show one case as a row of pictures of its most informative slice.

    Args:
        image: ``(X, Y)`` or ``(X, Y, Z)``, LPS oriented, any intensity scale.
        truth: mask ``(X, Y[, Z])`` or regions ``(R, X, Y, Z)``; above 0.5 is inside.
        pred: the same for the prediction.
        cam: class activation ``(X, Y[, Z])``, not negative.
        uncertainty: the same for an uncertainty map.
        title: written above the pictures, as it is.
        regions: names of the R regions.
        spacing: millimetres a voxel along x, y, z; square pixels when None.
        slice_index: slice to show; the one with most truth and prediction when None.
        place: which part of the case is shown, where the plane was taken out before; from the volume when None.
        footer: a line below the pictures.
        dpi: pixels an inch; a tile is 2.35 inches wide.

    Returns:
        A PNG.

    Raises:
        ValueError: when an array is not on the image's grid.
    """
    figure = draw_case(
        image, truth, pred, cam, uncertainty,
        title=title, regions=regions, spacing=spacing, slice_index=slice_index, place=place, footer=footer,
    )  # fmt: skip
    return to_png(figure, dpi)


def montage(
    image: Any,
    mask: Any = None,
    *,
    count: int = 12,
    columns: int = 6,
    title: str = "",
    spacing: Sequence[float] | None = None,
    dpi: int = 110,
) -> bytes:
    """Show evenly spaced axial slices of a volume, from the lowest with content to the highest.

    Args:
        image: ``(X, Y)`` or ``(X, Y, Z)``, LPS oriented.
        mask: outlined when given; ``(X, Y[, Z])`` or ``(R, X, Y, Z)``.
        count: how many slices at most.
        columns: slices a row.
        title: written above.
        spacing: millimetres a voxel along x, y, z; square pixels when None.
        dpi: pixels an inch.

    Returns:
        A PNG.
    """
    volume, spacing = as_volume(image, "image"), _spacing(spacing)
    regions = None if mask is None else as_regions(mask, "mask", volume.shape)
    shown, low, high = displayable(volume)
    content = np.flatnonzero((shown > low + 0.1 * (high - low)).mean(axis=(0, 1)) > 0.02)
    first, last = (content[0], content[-1]) if content.size else (0, volume.shape[2] - 1)
    chosen = np.unique(np.linspace(first, last, min(count, last - first + 1)).round().astype(int))
    columns = min(columns, len(chosen))
    lines = -(-len(chosen) // columns)
    box = content_box(shown[..., chosen], low, high, [] if regions is None else [regions.any(axis=(0, 3))])
    shape = shown[..., 0][box].shape
    high_inches = 1.5 * shape[1] * spacing[1] / (shape[0] * spacing[0])
    width, above = 1.5 * columns, 0.05 + 0.24 * bool(title)
    height = above + (high_inches + 0.16) * lines
    with house_style():
        figure = blank_figure(width, height)
        for position, index in enumerate(chosen):
            line, column = divmod(position, columns)
            bottom = height - above - (line + 1) * (high_inches + 0.16)
            axes = figure.add_axes(((1.5 * column + 0.03) / width, bottom / height, 1.44 / width, high_inches / height))
            show_plane(axes, shown[..., index][box], (low, high), spacing)
            axes.set_title(f"{index + 1}", fontsize=7, weight="normal", loc="center", pad=2)
            if regions is not None:
                draw_contours(axes, regions[..., index][(slice(None), *box)], REGION_COLOURS, width=1.0)
        if title:
            heading = shorten(title, 18 * columns)
            figure.text(0.03 / width, 1 - 0.05 / height, heading, va="top", fontsize=9, weight="bold")
    return to_png(figure, dpi)
