"""Image panels from arrays: the input, the truth, the prediction, the CAM and the uncertainty of one case.

Arrays are on one grid, LPS oriented as the transforms make them: x to the patient's left, y to the back, z up. They
are shown as a radiologist sees them, front on top and the patient's left on the viewer's right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medvlm.visualize.forest import shorten
from medvlm.visualize.slices import as_regions, as_volume, display_window, informative_slice, upright
from medvlm.visualize.style import house_style, new_figure, to_png

TRUTH = "#35d07f"  # on grey images: lighter than the palette of white pages
REGION_COLOURS = ("#f0e442", "#56b4e9", "#ff7f4d", "#cc79a7")
FALLBACK_REGIONS = ("region 1", "region 2", "region 3", "region 4")
HEAT, DOUBT = "inferno", "viridis"
TILE_INCHES = 2.35


def _names(count: int, regions: Sequence[str] | None) -> list[str]:
    if regions is not None and len(regions) != count:
        raise ValueError(f"regions must name the mask's {count} regions, got {list(regions)}.")
    return list(regions) if regions is not None else ["mask"] if count == 1 else list(FALLBACK_REGIONS[:count])


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
    """Outline the regions of a plane.

    Args:
        axes: where an image of the plane is shown.
        regions: boolean ``(R, X, Y)``.
        colours: one a region.
        style: line style.
        width: line width in points.
    """
    for region, colour in zip(regions, colours, strict=False):
        if region.any():
            framed = np.pad(region.astype(np.float32), 1)  # a region at the border is closed
            x, y = np.arange(-1, region.shape[0] + 1), np.arange(-1, region.shape[1] + 1)
            axes.contour(x, y, upright(framed), [0.5], colors=[colour], linewidths=width, linestyles=style)


def draw_heat(axes: Axes, plane: np.ndarray, spacing: Sequence[float], top: float, cmap: str = HEAT) -> Any:
    """Lay a map of non-negative values over an image, clear where it is low.

    Returns:
        The mappable of the colour bar, from 0 to ``top``.
    """
    values = upright(np.clip(plane, 0, top))
    alpha = np.clip(values / top, 0, 1) ** 0.7 * 0.75
    aspect = float(spacing[1]) / float(spacing[0])
    axes.imshow(values, cmap=cmap, vmin=0, vmax=top, alpha=alpha, aspect=aspect, interpolation="bilinear")
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, top), cmap)


def _heat_tile(figure: Figure, axes: Axes, values: np.ndarray, index: int, spacing, cmap: str, unit: str) -> None:
    top = float(values.max())
    if top <= 0:
        axes.text(
            0.5, 0.02, "zero everywhere", transform=axes.transAxes, ha="center", va="bottom", color="white", fontsize=7
        )
        return
    mappable = draw_heat(axes, values[..., index], spacing, top, cmap)
    bar = figure.colorbar(mappable, ax=axes, orientation="horizontal", shrink=0.72, aspect=22, pad=0.02)
    bar.set_ticks([0, top], labels=["0", f"{top:.2g}"])
    bar.set_label(unit, fontsize=7, labelpad=-7)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=0, pad=2)


def _legend(axes: Axes, names: Sequence[str], colours: Sequence[str], dashed_truth: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, label=name) for name, colour in zip(names, colours, strict=False)]
    if dashed_truth:
        handles.append(Line2D([], [], color="white", linestyle=":", label="truth"))
    style = {"loc": "lower left", "fontsize": 6.5, "handlelength": 1.1, "borderaxespad": 0.2, "labelcolor": "white"}
    axes.legend(handles=handles, facecolor="black", framealpha=0.55, frameon=True, edgecolor="none", **style)


def draw_case(
    image: Any,
    truth: Any = None,
    pred: Any = None,
    cam: Any = None,
    uncertainty: Any = None,
    *,
    title: str = "",
    regions: Sequence[str] | None = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    slice_index: int | None = None,
    footer: str = "",
) -> Figure:
    """Draw what ``case_panel`` renders; the arguments are its own."""
    volume = as_volume(image, "image")
    masks = {n: None if m is None else as_regions(m, n, volume.shape) for n, m in (("truth", truth), ("pred", pred))}
    heats = {n: None if m is None else as_volume(m, n) for n, m in (("cam", cam), ("uncertainty", uncertainty))}
    for name, heat in heats.items():
        if heat is not None and heat.shape != volume.shape:
            raise ValueError(
                f"{name} must lie on the image's grid {volume.shape}, got {heat.shape}; resample it first."
            )
    index = informative_slice(volume, *masks.values(), *heats.values()) if slice_index is None else int(slice_index)
    if not 0 <= index < volume.shape[2]:
        raise ValueError(f"slice_index must be from 0 to {volume.shape[2] - 1}, got {index}.")
    present = [m for m in masks.values() if m is not None]
    names = _names(len(present[0]), regions) if present else []
    tiles = ["Input"] + [n for n, m in (("Truth", masks["truth"]), ("Prediction", masks["pred"])) if m is not None]
    tiles += [
        n for n, m in (("Class activation", heats["cam"]), ("Uncertainty", heats["uncertainty"])) if m is not None
    ]
    window, plane = display_window(volume), volume[..., index]
    shape = volume.shape[0] * float(spacing[0]), volume.shape[1] * float(spacing[1])
    tall = float(np.clip(shape[1] / shape[0], 0.4, 2.5))
    bar = 0.3 if any(h is not None for h in heats.values()) else 0.0
    with house_style():
        extra = 0.28 + 0.3 * bool(title) + 0.24 * bool(footer) + bar
        figure, panels = new_figure(TILE_INCHES * len(tiles), TILE_INCHES * tall + extra, len(tiles))
        for axes, name in zip(panels, tiles, strict=True):
            show_plane(axes, plane, window, spacing)
            axes.set_title(name, fontsize=8, weight="normal", loc="center", pad=3)
            if name == "Truth":
                _mask_tile(axes, masks["truth"][..., index], names, None)
            elif name == "Prediction":
                _mask_tile(axes, masks["pred"][..., index], names, masks["truth"])
                if masks["truth"] is not None:
                    draw_contours(axes, masks["truth"][..., index], ["white"] * 4, style=":", width=0.9)
            elif name == "Class activation":
                _heat_tile(figure, axes, heats["cam"], index, spacing, HEAT, "activation")
            elif name == "Uncertainty":
                _heat_tile(figure, axes, heats["uncertainty"], index, spacing, DOUBT, "uncertainty")
        if title or volume.shape[2] > 1:
            where = f"slice {index + 1} of {volume.shape[2]}" if volume.shape[2] > 1 else ""
            heading = " \N{MIDDLE DOT} ".join(t for t in (shorten(title, 24 * len(tiles)), where) if t)
            figure.suptitle(heading, fontsize=9, weight="bold", x=0.01, ha="left")
        if footer:
            figure.supxlabel(footer, fontsize=8, x=0.01, ha="left")
    return figure


def _mask_tile(axes: Axes, plane: np.ndarray, names: Sequence[str], truth: np.ndarray | None) -> None:
    colours = [TRUTH] if len(names) == 1 and truth is None else list(REGION_COLOURS)
    draw_contours(axes, plane, colours)
    if len(names) > 1 or truth is not None:
        _legend(axes, names if len(names) > 1 else ["prediction"], colours, truth is not None)
    if not plane.any():
        axes.text(
            0.98, 0.02, "nothing here", transform=axes.transAxes, ha="right", va="bottom", color="white", fontsize=7
        )


def case_panel(
    image: Any,
    truth: Any = None,
    pred: Any = None,
    cam: Any = None,
    uncertainty: Any = None,
    *,
    title: str = "",
    regions: Sequence[str] | None = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    slice_index: int | None = None,
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
        spacing: millimetres a voxel along x, y, z.
        slice_index: slice to show; the one with most truth and prediction when None.
        footer: a line below the pictures.
        dpi: pixels an inch; a tile is 2.35 inches wide.

    Returns:
        A PNG.

    Raises:
        ValueError: when an array is not on the image's grid.
    """
    figure = draw_case(
        image, truth, pred, cam, uncertainty,
        title=title, regions=regions, spacing=spacing, slice_index=slice_index, footer=footer,
    )  # fmt: skip
    return to_png(figure, dpi)


def montage(
    image: Any,
    mask: Any = None,
    *,
    count: int = 12,
    columns: int = 6,
    title: str = "",
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    dpi: int = 110,
) -> bytes:
    """Show evenly spaced axial slices of a volume, from the lowest with content to the highest.

    Args:
        image: ``(X, Y)`` or ``(X, Y, Z)``, LPS oriented.
        mask: outlined when given; ``(X, Y[, Z])`` or ``(R, X, Y, Z)``.
        count: how many slices at most.
        columns: slices a row.
        title: written above.
        spacing: millimetres a voxel along x, y, z.
        dpi: pixels an inch.

    Returns:
        A PNG.
    """
    volume = as_volume(image, "image")
    regions = None if mask is None else as_regions(mask, "mask", volume.shape)
    window = display_window(volume)
    low, high = window
    content = np.flatnonzero(((volume > low + 0.1 * (high - low)).mean(axis=(0, 1))) > 0.02)
    first, last = (content[0], content[-1]) if content.size else (0, volume.shape[2] - 1)
    chosen = np.unique(np.linspace(first, last, min(count, last - first + 1)).round().astype(int))
    columns = min(columns, len(chosen))
    lines = -(-len(chosen) // columns)
    tall = volume.shape[1] * float(spacing[1]) / (volume.shape[0] * float(spacing[0]))
    with house_style():
        figure = new_figure(1.5 * columns, (1.5 * tall + 0.16) * lines + 0.3 * bool(title))[0]
        figure.clear()
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in panels:
            axes.set_axis_off()
        for axes, index in zip(panels, chosen, strict=False):
            show_plane(axes, volume[..., index], window, spacing)
            axes.set_title(f"{index + 1}", fontsize=7, weight="normal", loc="center", pad=2)
            if regions is not None:
                draw_contours(axes, regions[..., index], REGION_COLOURS, width=1.0)
        if title:
            figure.suptitle(shorten(title, 20 * columns), fontsize=9, weight="bold", x=0.01, ha="left")
    return to_png(figure, dpi)
