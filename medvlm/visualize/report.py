"""The HTML report of an evaluation: one file that holds all it shows and loads nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from medvlm.atomic import write_text_atomically
from medvlm.visualize.page import document, paragraph, section
from medvlm.visualize.results import day, part
from medvlm.visualize.sections import SECTIONS, Section

logger = logging.getLogger(__name__)

PACKAGES = ("medvlm-bundles", "torch", "monai", "pytorch-ignite", "numpy", "matplotlib")


def installed_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Read the versions of packages without importing them; one that is not installed says so."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _made(make: Section, evaluation: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], panels: Mapping[str, bytes]):
    """Make one section; one that fails says so in its place, and hides none of the others."""
    try:
        return make(evaluation, rows, panels)
    except Exception as error:
        name = getattr(make, "__name__", type(make).__name__)
        logger.exception("The section %r of the report could not be made.", name)
        words = f"This section could not be made: {type(error).__name__}: {error}"
        return section(f"failed-{name}", name.replace("_", " ").capitalize(), paragraph(words, "caution"))


def write_report(
    evaluation: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    out: str | Path,
    panels: Mapping[str, bytes] | None = None,
    *,
    sections: Sequence[Section] = SECTIONS,
    title: str | None = None,
    command: str | Sequence[str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write the report of an evaluation as one HTML file that works offline, on paper, in light and in dark.

    Args:
        evaluation: what ``evaluation.json`` holds; an absent part is said to be absent.
        rows: one dictionary a case, as the CSV has them; text is read as numbers where numbers are meant.
        out: the file, or a folder that gets ``report.html``; replaced atomically.
        panels: case id to PNG, as ``medvlm.visualize.panels.case_panel`` makes them; for the worst and the disagreeing.
        sections: functions ``section(evaluation, rows, panels)`` that return a piece of HTML made with
            ``medvlm.visualize.page.section``, or None to be left out. Add to ``SECTIONS`` for a bundle's own.
        title: of the page; from bundle and section when None.
        command: that made the evaluation; ``evaluation["command"]`` when None.
        versions: of packages; ``evaluation["versions"]`` when None, or else what is installed.

    Returns:
        The path of the file.

    Raises:
        TypeError: when the evaluation is no mapping.
        OSError: when the file cannot be written.
    """
    if not isinstance(evaluation, Mapping):
        raise TypeError(f"evaluation must be a mapping, got {type(evaluation).__name__}; load evaluation.json first.")
    evaluation = dict(evaluation)
    if command is not None:
        evaluation["command"] = command
    if versions is not None or not evaluation.get("versions"):
        evaluation["versions"] = dict(installed_versions() if versions is None else versions)
    bundle = part(evaluation, "bundle")
    title = title or f"Evaluation of {bundle.get('name') or 'an unnamed bundle'}"
    subtitle = [
        f"version {bundle['version']}" if bundle.get("version") else None,
        f"section {evaluation['section']}" if evaluation.get("section") else None,
        f"evaluated {day(evaluation['created'])}" if evaluation.get("created") else None,
    ]
    rows, panels = list(rows or ()), dict(panels or {})
    made = [_made(make, evaluation, rows, panels) for make in sections]
    text = document(title, " \N{MIDDLE DOT} ".join(s for s in subtitle if s), [m for m in made if m])
    out = Path(out)
    if out.is_dir() or not out.suffix:
        out = out / "report.html"
    written = write_text_atomically(text, out)
    logger.info("Report: %s (%.1f MB)", written, written.stat().st_size / 1e6)
    return written
