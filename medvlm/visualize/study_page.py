"""The page of a predicted study: report with evidence, heads, retrieved reports, views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from medvlm.visualize.page import Markup, bullets, document, heading, paragraph, picture, section, table

CAUTION = (
    "Written by a network. Research and teaching only: not for diagnosis, treatment or screening. The evidence shows "
    "where the network looked, which is no proof that the sentence is right."
)


def study_page(manifest: Mapping[str, Any], result: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Make the page.

    Args:
        manifest: of the study.
        result: see ``StudyResultd``.
        pictures: PNGs by file name; a sentence names its own under ``picture``.

    Returns:
        HTML that needs nothing else.
    """
    parts = [
        section("report", "Report", paragraph(CAUTION, "caution"), *_warned(manifest), *_report(result, pictures)),
        section("heads", "Findings", *_heads(result["heads"])),
        section("retrieved", "Similar studies", *_retrieved(result["retrieved"])),
        section("views", "Views", *_views(result["views"])),
    ]
    bundle = manifest["bundle"]
    subtitle = f"{bundle['name']} {bundle['version']}, weights {str(manifest['checkpoint']['sha256'])[:12]}"
    return document(manifest["case_id"], f"{subtitle}, {manifest['created']}", parts)


def _warned(manifest: Mapping[str, Any]) -> list[Markup]:
    """That the weights were trained with other settings, where they were."""
    return [paragraph(manifest["caution"], "caution")] if manifest.get("caution") else []


def _report(result: Mapping[str, Any], pictures: Mapping[str, bytes]) -> list[Markup]:
    if not result["report"]:
        return [paragraph("No report was written (captioning is off, or the captioner wrote nothing).", "absent")]
    shown = [paragraph(result["report"])]
    for number, one in enumerate(result["sentences"], start=1):
        if one.get("picture") in pictures:
            name = f"sentence-{number}"
            shown.append(picture(pictures[one["picture"]], f"Sentence {number}", name, one["sentence"]))
    return shown


def _heads(heads: Mapping[str, Any]) -> list[Markup]:
    if not heads["heads"]:
        return [paragraph(heads["note"], "absent")]
    lines = []
    for name, answer in heads["heads"].items():
        title = name.replace("_", " ")
        if answer["kind"] == "multiclass":
            for number, (label, value) in enumerate(answer["probabilities"].items()):
                verdict = "chosen" if label == answer["class"] else ""
                first = title if number == 0 else ""
                lines.append((first, label, f"{value:.2f}", _limits(answer["intervals"][label], 2), "", verdict))
        elif answer["kind"] == "regression":
            lines.append((title, answer["unit"], f"{answer['value']:.3g}", _limits(answer["interval"], 1), "", ""))
        else:
            threshold = f"{answer['threshold']:.3g}{'' if answer['calibrated'] else ' (not calibrated)'}"
            value, limits = f"{answer['probability']:.2f}", _limits(answer["interval"], 2)
            lines.append((title, "probability", value, limits, threshold, answer["verdict"]))
    header = ("finding", "of", "value", "interval", "threshold", "verdict")
    spread = heads["interval"]
    method = f"Interval of {spread['resamples']} draws, {spread['method']}" if spread["resamples"] else ""
    notes = [paragraph(text, "caution") for text in heads.get("disagreements", [])]
    notes += [paragraph(text) for text in (method, heads["note"]) if text]
    return [table(header, lines, words=(0, 1, 5)), *notes]


def _limits(limits: Sequence[float] | None, digits: int) -> str:
    return "" if limits is None else f"{limits[0]:.{digits}f} to {limits[1]:.{digits}f}"


def _retrieved(retrieved: Mapping[str, Any]) -> list[Markup]:
    if not retrieved["matches"]:
        return [paragraph(retrieved["note"] or "The index holds no other study.", "absent")]
    shown = []
    for one in retrieved["matches"]:
        source = f", {one['source']}" if one.get("source") else ""
        shown.append(heading(f"{one['rank']}. cosine {one['score']:.3f}: study {one['id']}{source}"))
        shown.append(paragraph(one["text"]) if one["text"] else paragraph("Without a report.", "absent"))
    return shown


def _views(views: Sequence[Mapping[str, Any]]) -> list[Markup]:
    lines, unread = [], []
    for view in views:
        name = PurePath(view["file"]).name
        if not view["read"]:
            unread.append(f"{name}: {view['problem']}" if name and name not in view["problem"] else view["problem"])
            continue
        shares = [f"{view[name]:.2f}" if name in view else "" for name in ("caption_attention", "probe_attention")]
        frames = f"{view['first_frame']} to {view['last_frame']}"
        lines.append((str(view["view"]), name, view["angles"], frames, *shares, view["notes"]))
    header = ("view", "file", "angles", "frames", "report's attention", "findings' attention", "notes")
    shown = [table(header, lines, words=(0, 1, 2, 6))]
    return [*shown, heading("Not read"), bullets(unread)] if unread else shown
