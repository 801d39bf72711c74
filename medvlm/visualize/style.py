"""One look for all figures: the colours of Okabe and Ito, quiet axes, and rendering to SVG or PNG.

Reference:
    Okabe M, Ito K. Color Universal Design (2008): a palette that colour-blind readers can tell apart.
    https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"
SEQUENCE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, FAINT = "#1d2227", "#8b949e"
CSS_NAMES = {
    BLUE: "--blue", VERMILLION: "--vermillion", GREEN: "--green", ORANGE: "--orange", PURPLE: "--purple",
    SKY: "--sky", INK: "--ink", FAINT: "--faint",
}  # fmt: skip

BEYOND_LATIN = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "WenQuanYi Zen Hei", "Arial Unicode MS", "SimHei")


def _fonts_beyond_latin() -> list[str]:
    installed = {font.name for font in fontManager.ttflist}
    return [name for name in BEYOND_LATIN if name in installed]


RC = {
    "text.parse_math": False,  # a case or a source may be called "a$b"
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", *_fonts_beyond_latin()],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "medvlm",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with the house's settings, and leave matplotlib's own as they were."""
    with matplotlib.rc_context(RC):
        yield


def blank_figure(width_inches: float, height_inches: float, **kwargs) -> Figure:
    """Make an empty figure without pyplot, so that nothing is kept alive and no display is needed."""
    figure = Figure(figsize=(width_inches, height_inches), facecolor="none", **kwargs)
    FigureCanvasAgg(figure)
    return figure


def new_figure(width_inches: float, height_inches: float, columns: int = 1, **kwargs) -> tuple[Figure, list[Axes]]:
    """Make a figure with a row of axes, laid out so that nothing overlaps."""
    figure = blank_figure(width_inches, height_inches, layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **kwargs)
    return figure, list(axes[0])


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """Render to PNG on white."""
    buffer = io.BytesIO()
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def to_inline_svg(figure: Figure, name: str) -> str:
    """Render to an SVG element for an HTML page whose style sheet sets the colours, light or dark.

    Args:
        figure: drawn with this module's colours; they become ``var(--blue)`` and so on.
        name: put before every id, so that two figures of a page cannot share one.
    """
    buffer = io.StringIO()
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)  # its style would reach the whole page
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in CSS_NAMES.items():
        svg = re.sub(rf"((?:fill|stroke|stop-color): ){colour}\b", rf"\g<1>var({variable})", svg)
    svg = re.sub(r"font-family: 'DejaVu Sans'[^;\"]*", "font-family: var(--sans)", svg)
    return svg.replace("<svg ", '<svg role="img" ', 1)
