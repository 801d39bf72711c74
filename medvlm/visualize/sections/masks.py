"""Scores of masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.visualize import figures
from medvlm.visualize.numbers import as_estimate, as_number, count, plural, quantity, rate, with_interval
from medvlm.visualize.page import Markup, bullets, drawing, gallery, paragraph, section, table
from medvlm.visualize.results import SCORES, Panels, Rows, listed, part, region_names, stated


def _score_line(name: Any, scores: Mapping[str, Any]) -> list[Any]:
    cells = [name, count(max((as_number(part(scores, s).get("n")) or 0 for s in scores), default=0))]
    for metric in SCORES:
        write = quantity if metric.endswith("_mm") else rate
        cells.append(with_interval(scores.get(metric), write))
        if metric == "hd95_mm":  # its mean hangs on the few cases that are 374 mm by rule
            cells.append(quantity(part(scores, metric).get("median")))
    volume = part(scores, "volume_ml")
    limits = [quantity(v) for v in listed(volume.get("limits_of_agreement"))]
    spread = f" ({' to '.join(limits)})" if len(limits) == 2 else ""
    cells.append(quantity(volume.get("bias")) + spread if volume else "not available")
    return cells


def _empty_truth(name: str, scores: Mapping[str, Any]) -> str | None:
    """Tell the scores of cases with a tumour apart from those whose truth is empty."""
    empty, with_tumour = part(scores, "empty_truth"), scores.get("dice_with_tumour")
    if not as_number(empty.get("n")):
        return None
    alarms = as_number(empty.get("false_alarms"))
    words = (
        f"{name} is truly empty in {plural(empty['n'], 'case')}; {'none' if alarms == 0 else count(alarms)} got a mask."
    )
    if as_estimate(with_tumour).value is not None:
        n = part(scores, "dice_with_tumour").get("n")
        words += f" Dice over the {plural(n, 'case')} that have any: {with_interval(with_tumour)}."
    return words


SCORE_HEADER = [
    *(SCORES[key] for key in ("dice", "iou", "hd95_mm")),
    "HD95 median",
    *(SCORES[key] for key in ("lw_dice", "lw_hd95_mm")),
    "Volume bias (limits), mL",
]


def segmentation(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Scores of masks with their intervals, overall and per source, and their figures."""
    scores = part(evaluation, "segmentation", "overall")
    title = "Segmentation"
    names = region_names(evaluation, ())
    if not names:
        reason = stated(scores.get("note"), "the mask head is off, or no case of this section has a known mask")
        return section("segmentation", title, paragraph(f"No mask was scored: {reason}.", "absent"))
    by_source = part(evaluation, "segmentation", "per_source")
    lines, silent = [], []
    for source in sorted(by_source):
        regions = {name: s for name, s in part(by_source, source).items() if isinstance(s, Mapping)}
        if not regions:
            silent.append(f"{source}: {stated(part(by_source, source).get('note'), 'no mask is known')}")
        for name in (n for n in names if n in regions):
            source_cells = _score_line(source, regions[name])
            lines.append([source_cells[0], name, *source_cells[1:]])
    main = names[0]
    empties = [words for words in (_empty_truth(name, part(scores, name)) for name in names) if words]
    volume = part(scores, main, "volume_ml")
    strips = figures.score_by_source(rows, {f"dice_{name}": f"Dice, {name}" for name in names})
    drawn = [
        drawing(
            figures.volume_scatter(rows, main),
            "volumes",
            f"Predicted against true {main} volume; the dashed line is equality.",
            f"No row holds a true and a predicted volume of {main}.",
        ),
        drawing(
            figures.bland_altman(rows, main, volume),
            "bland altman",
            f"Difference of {main} volumes: bias and 95% limits of agreement.",
            f"No difference of {main} volumes can be drawn.",
        ),
    ]
    per_source = {s: part(by_source, s, main) for s in by_source}
    metrics = {"dice": "Dice, all cases", "dice_with_tumour": "Dice, cases with a tumour", "lw_dice": SCORES["lw_dice"]}
    forest = figures.source_forest(per_source, metrics, f"{main} by source", "Mean, 95% CI", part(scores, main))
    return section(
        "segmentation",
        title,
        paragraph(
            "Means over cases, each scored on its own and never pooled; 95% confidence intervals resampled by "
            "patient. Truth and prediction both empty: Dice 1, HD95 0; one of them empty: Dice 0, HD95 374 mm."
        ),
        table(["Region", "n", *SCORE_HEADER], [_score_line(name, part(scores, name)) for name in names], "All sources"),
        table(["Source", "Region", "n", *SCORE_HEADER], lines, "By source", words=(0, 1))
        if lines
        else paragraph("No score by source is available.", "absent"),
        bullets(silent) if silent else None,
        bullets(empties) if empties else None,
        drawing(
            forest,
            "masks by source",
            f"{main} by source, mean and 95% CI. Of all cases, those without {main} score 1 for an empty answer and 0 "
            "for any other.",
            "No forest plot: no score by source.",
        ),
        drawing(
            strips,
            "dice",
            "Dice by source: a dot a case; box: quartiles and median, line: range.",
            "No row holds a Dice.",
        ),
        gallery(drawn),
    )
