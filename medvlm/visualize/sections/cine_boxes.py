"""Section on the boxes that a captioner found, where a data set has reference boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.visualize.numbers import count, setting, with_interval
from medvlm.visualize.page import Markup, paragraph, section, table
from medvlm.visualize.results import Panels, Rows, part


def boxes(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Overlap with the reference boxes, beside the mean box; nothing where no box was looked for."""
    found = part(evaluation, "boxes")
    if not found.get("n"):
        return None
    lines = [
        [name, with_interval(part(found, key).get("iou")), with_interval(part(found, key).get("accuracy"))]
        for name, key in (("The network", "network"), ("The mean box", "mean_box"))
    ]
    n, whole, patients = (count(found.get(key)) for key in ("n", "n_reference", "n_patients"))
    words = f"{n} of {whole} reference boxes, of {patients} patients: {found.get('note')}."
    header = ["Boxes", "Mean IoU", f"Accuracy at IoU {setting(found.get('threshold'))}"]
    return section("boxes", "Boxes", paragraph(words), table(header, lines, "95% intervals over patients"))
