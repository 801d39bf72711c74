"""Pictures of a study: a contact sheet of its views, and the frames that the captioner looked at for a sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medvlm.visualize.forest import shorten
from medvlm.visualize.style import FAINT, GREEN, INK, blank_figure, house_style, to_png

HEAT = "inferno"
TILE, GAP, LABEL = 1.2, 0.05, 1.5  # inches


class Look(NamedTuple):
    """Where the captioner looked for a sentence.

    Attributes:
        sentence: its words.
        heat: ``(N, t, h, w)``, not negative: weights on the tokens of the views.
    """

    sentence: str
    heat: np.ndarray


class Tile(NamedTuple):
    """One study in a row of several.

    Attributes:
        frame: ``(H, W)``.
        label: one or two short lines below it.
        right: whether it is the one that was looked for; it gets a green frame.
    """

    frame: np.ndarray
    label: str
    right: bool


def shown_range(frames: np.ndarray) -> tuple[float, float]:
    """The values to show as black and white: the 1st and the 99.5th percentile."""
    low, high = np.percentile(frames, [1, 99.5])
    return float(low), float(high if high > low else low + 1)


def _check(video: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    video = np.asarray(video, dtype=np.float32)
    if video.ndim != 4 or len(labels) != len(video) or not len(video):
        raise ValueError(
            f"a study is shown from (N, T, H, W) with N labels, got shape {video.shape} and {len(labels)} labels."
        )
    return video


def _row(figure: Figure, left: float, top: float, tiles: int, size: tuple[float, float]) -> list[Axes]:
    """Axes of a row of tiles, in inches from the left and from the top."""
    wide, high = figure.get_size_inches()
    made = []
    for tile in range(tiles):
        place = ((left + tile * (size[0] + GAP)) / wide, 1 - (top + size[1]) / high, size[0] / wide, size[1] / high)
        made.append(figure.add_axes(place))
        made[-1].set_axis_off()
    return made


def contact_sheet(video: np.ndarray, labels: Sequence[str], columns: int = 6, dpi: int = 100) -> bytes:
    """Show frames of every view, evenly spaced in time, a row a view.

    Args:
        video: ``(N, T, H, W)`` the views that could be read, any intensity scale.
        labels: what stands beside each view.
        columns: frames a view.
        dpi: pixels an inch; a tile is 1.2 inches wide.

    Returns:
        A PNG.

    Raises:
        ValueError: the shapes do not fit.
    """
    video = _check(video, labels)
    frames = np.unique(np.linspace(0, video.shape[1] - 1, min(columns, video.shape[1])).round().astype(int))
    size = (TILE, TILE * video.shape[2] / video.shape[3])
    width = LABEL + len(frames) * (TILE + GAP)
    with house_style():
        figure = blank_figure(width, len(video) * (size[1] + GAP) + GAP)
        for number, (view, label) in enumerate(zip(video, labels, strict=True)):
            top = GAP + number * (size[1] + GAP)
            low, high = shown_range(view)
            for axes, index in zip(_row(figure, LABEL, top, len(frames), size), frames, strict=True):
                axes.imshow(view[index], cmap="gray", vmin=low, vmax=high, aspect="auto", interpolation="bilinear")
            _label(figure, label, top + size[1] / 2)
    return to_png(figure, dpi)


def _label(figure: Figure, label: str, middle: float) -> None:
    words = "\n".join(textwrap.fill(shorten(line, 54), 22) for line in label.splitlines())
    figure.text(
        0.04 / figure.get_figwidth(),
        1 - middle / figure.get_figheight(),
        words,
        va="center",
        fontsize=8.5,
        linespacing=1.3,
    )


def tile_row(tiles: Sequence[Tile], dpi: int = 100) -> bytes:
    """Show studies side by side, best first, a frame of each.

    Args:
        tiles: at least one.
        dpi: pixels an inch; a tile is 1.2 inches wide and high.

    Returns:
        A PNG.

    Raises:
        ValueError: there is none.
    """
    if not tiles:
        raise ValueError("a row shows at least one study, got none.")
    with house_style():
        figure = blank_figure(GAP + len(tiles) * (TILE + GAP), TILE + 2 * GAP + 0.32)
        for axes, tile in zip(_row(figure, GAP, GAP, len(tiles), (TILE, TILE)), tiles, strict=True):
            low, high = shown_range(tile.frame)
            axes.imshow(tile.frame, cmap="gray", vmin=low, vmax=high, aspect="auto", interpolation="bilinear")
            if tile.right:
                axes.set_axis_on()
                axes.tick_params(length=0, labelleft=False, labelbottom=False)
                for side in axes.spines.values():
                    side.set(visible=True, color=GREEN, linewidth=3)
            style = {"ha": "center", "va": "top", "fontsize": 7.5, "color": GREEN if tile.right else INK}
            axes.text(0.5, -0.05, tile.label, transform=axes.transAxes, **style)
    return to_png(figure, dpi)


def looked_at(
    video: np.ndarray, labels: Sequence[str], looks: Sequence[Look], columns: int = 4, dpi: int = 100
) -> bytes:
    """Show for each sentence the frames that the captioner looked at most, with a heat map.

    All frames of a row are of one view, the one with the largest share of the sentence's weight: first a frame as it
    is, then the steps with most weight, in the order of time. A row has its own scale, from zero to its largest weight,
    which is stated as a multiple of the view's mean: about 1 means that the captioner looked everywhere alike.

    Args:
        video: ``(N, T, H, W)``.
        labels: of the views.
        looks: at least one; their heat has the N views of the video.
        columns: frames a sentence.
        dpi: pixels an inch.

    Returns:
        A PNG.

    Raises:
        ValueError: the shapes do not fit, or there is no sentence.
    """
    video = _check(video, labels)
    if not looks or any(look.heat.ndim != 4 or len(look.heat) != len(video) for look in looks):
        shapes = [np.shape(look.heat) for look in looks]
        raise ValueError(f"each sentence needs heat (N, t, h, w) of the {len(video)} views, got shapes {shapes}.")
    columns = min(columns, *(look.heat.shape[1] for look in looks))
    size = (TILE * 1.2, TILE * 1.2 * video.shape[2] / video.shape[3])
    width = LABEL + max(columns + 1, 4) * (size[0] + GAP)
    texts = [textwrap.fill(look.sentence, int(width * 13)) for look in looks]
    above = [0.1 + 0.16 * (1 + text.count("\n")) for text in texts]
    below = 0.22
    with house_style():
        figure = blank_figure(width, sum(above) + len(looks) * (size[1] + below))
        top = 0.0
        for look, text, room in zip(looks, texts, above, strict=True):
            _sentence(figure, top, text)
            _look(figure, top + room, video, labels, look, columns, size)
            top += room + size[1] + below
    return to_png(figure, dpi)


def _sentence(figure: Figure, top: float, text: str) -> None:
    quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{text}\N{RIGHT DOUBLE QUOTATION MARK}"
    wide, high = figure.get_size_inches()
    figure.text(0.04 / wide, 1 - (top + 0.06) / high, quoted, va="top", fontsize=8, weight="bold", color=INK)


def _look(
    figure: Figure,
    top: float,
    video: np.ndarray,
    labels: Sequence[str],
    look: Look,
    columns: int,
    size: tuple[float, float],
) -> None:
    shares = look.heat.sum(axis=(1, 2, 3)) / max(float(look.heat.sum()), 1e-12)  # (N,)
    view = int(shares.argmax())
    heat, frames = look.heat[view], video[view]
    steps = np.sort(np.argsort(-heat.sum(axis=(1, 2)), kind="stable")[:columns])
    low, high = shown_range(frames)
    peak = max(float(heat.max()), 1e-12)
    rows, wide = frames.shape[1:]
    shown = {"cmap": "gray", "vmin": low, "vmax": high, "aspect": "auto", "interpolation": "bilinear"}
    plain, *tiles = _row(figure, LABEL, top, 1 + len(steps), size)
    strongest = int((int(heat.sum(axis=(1, 2)).argmax()) + 0.5) * len(frames) / len(heat))
    plain.imshow(frames[strongest], **shown)
    _below(plain, f"frame {strongest + 1} of {len(frames)}")
    for axes, step in zip(tiles, steps, strict=True):
        index = int((step + 0.5) * len(frames) / len(heat))
        place = (-0.5, wide - 0.5, rows - 0.5, -0.5)
        axes.imshow(frames[index], **shown)
        values = heat[step] / peak
        style = {"cmap": HEAT, "vmin": 0, "vmax": 1, "aspect": "auto", "interpolation": "bilinear", "extent": place}
        axes.imshow(values, alpha=0.55 * values, **style)
        axes.set(xlim=place[:2], ylim=place[2:])
        weight = float(heat[step].sum()) / max(float(look.heat.sum()), 1e-12)
        _below(axes, f"frame {index + 1}, {100 * weight:.0f}% of the weight")
    times = peak / max(float(heat.mean()), 1e-12)
    words = f"{labels[view]}\n{100 * shares[view]:.0f}% of the weight\npeak {times:.1f} times mean"
    _label(figure, words, top + size[1] / 2)


def _below(axes: Axes, words: str) -> None:
    axes.text(0.5, -0.03, words, transform=axes.transAxes, ha="center", va="top", fontsize=7, color=FAINT)
