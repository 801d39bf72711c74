"""Reading of ``evaluation.json`` and of the rows, tolerant of parts that are absent, and the names that readers see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from medvlm.visualize.numbers import as_number, count, plural, setting, with_interval

Rows = Sequence[Mapping[str, Any]]
Panels = Mapping[str, bytes]

RATES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "balanced_accuracy": "Balanced accuracy",
    "mcc": "MCC",
    "f1": "F1",
    "accuracy": "Accuracy",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "ppv": "PPV",
    "npv": "NPV",
    "ece": "Expected calibration error (ECE)",
}
SCORES = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95_mm": "HD95 (mm)",
    "lw_dice": "Lesion-wise Dice",
    "lw_hd95_mm": "Lesion-wise HD95 (mm)",
}
KINDS = ("picture", "volume")  # of inputs; each may have a threshold of its own
PREVALENCES = (1, 5, 10)  # per cent


def part(evaluation: Any, *keys: str) -> dict[str, Any]:
    """Follow keys down; whatever is absent on the way, or is no mapping, gives an empty dictionary."""
    for key in keys:
        evaluation = evaluation.get(key) if isinstance(evaluation, Mapping) else None
    return dict(evaluation) if isinstance(evaluation, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """A list or tuple as a list; anything else as an empty one."""
    return list(value) if isinstance(value, (list, tuple)) else []


def region_names(evaluation: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the mask's regions, from the scores or else from the rows' columns; the whole tumour comes first."""
    scores = part(evaluation, "segmentation", "overall")
    names = [name for name, own in scores.items() if isinstance(own, Mapping)]  # the others say why there is none
    for row in rows[:1]:
        for key in row:
            for prefix in ("dice_", "pred_volume_ml_"):
                name = key.removeprefix(prefix)
                if key.startswith(prefix) and not key.startswith("lw_") and name not in names:
                    names.append(name)
    return sorted(names, key=lambda name: ("WT", "TC", "ET", name).index(name))


def threshold_of(evaluation: Mapping[str, Any], kind: str = "volume") -> float | None:
    """The probability from which a case of this kind is called a tumour."""
    point = part(evaluation, "operating_point")
    own = part(part(point, "kinds"), kind).get("threshold")
    return as_number(point.get("threshold") if own is None else own)


def rows_by_case(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Find a row by its case."""
    return {str(row.get("case_id")): row for row in rows}


def true_class(row: Mapping[str, Any]) -> str:
    """Say a row's class in words."""
    tumour = as_number(row.get("tumour"))
    return "unknown" if tumour is None else "tumour" if tumour else "no tumour"


def described(name: str) -> str:
    """A metric's name for readers: ``dice_WT`` is "Dice, WT", ``ppv_at_5`` is "PPV at 5% prevalence"."""
    if name in RATES:
        return RATES[name]
    for key in sorted(SCORES, key=len, reverse=True):
        if name == key or name.startswith(f"{key}_"):
            region = name.removeprefix(key).strip("_")
            return SCORES[key] + (f", {region}" if region else "")
    for kind in ("ppv", "npv"):
        if name.startswith(f"{kind}_at_"):
            return f"{kind.upper()} at {name.removeprefix(f'{kind}_at_')}% prevalence"
    return name.replace("_", " ")


def stated(value: Any, otherwise: str = "not stated") -> Any:
    return otherwise if value is None or value == "" else value


def _chosen_from(point: Mapping[str, Any]) -> str:
    """How many cases a threshold was chosen from: ``(n = 60, 36 with a tumour)``; empty where it does not say."""
    if not as_number(point.get("n")):
        return ""
    positive = as_number(point.get("n_positive"))
    return f" (n = {count(point['n'])}" + (f", {count(positive)} with a tumour)" if positive is not None else ")")


def _thresholds(point: Mapping[str, Any]) -> str:
    """Each kind's own threshold with its own n, and the common one for the kinds without."""
    at_least, common = "\N{GREATER-THAN OR EQUAL TO}", setting(point.get("threshold"))
    own = {kind: part(part(point, "kinds"), kind) for kind in part(point, "kinds")}
    own = {kind: one for kind, one in own.items() if as_number(one.get("threshold")) is not None}
    if not own:
        return f"{at_least} {common}{_chosen_from(point)}"
    words = [f"{at_least} {setting(one['threshold'])} in {kind}s{_chosen_from(one)}" for kind, one in own.items()]
    others = [f"{kind}s" for kind in KINDS if kind not in own]
    if others:
        chosen = _chosen_from(point).replace("(n = ", "(chosen on all inputs, n = ")
        words.append(f"{at_least} {common} in {' and '.join(others)}, which have none of their own{chosen}")
    return "; ".join(words)


def operating_point_words(evaluation: Mapping[str, Any]) -> str:
    """Say from which probability on a case is called a tumour, and from what that was chosen."""
    point = part(evaluation, "operating_point")
    if as_number(point.get("threshold")) is None:
        return "not stated"
    words = f"tumour probability {_thresholds(point)}"
    if point.get("chosen_on") == "default":
        words += ", the default, which was not chosen on data"
    elif point.get("chosen_on"):
        words += f"; chosen on {point['chosen_on']}"
    if as_number(point.get("target_sensitivity")) is not None:
        words += f" for a sensitivity of at least {setting(point['target_sensitivity'])}"
    if point.get("frozen") is not None:
        words += "; frozen in the bundle" if point["frozen"] else "; not frozen"
    if point.get("frozen") and "settings" in point and not point["settings"]:
        words += "; it does not say under which settings it was chosen"
    return words + (f"; {point['note']}" if point.get("note") else "")


def mask_gate_words(evaluation: Mapping[str, Any]) -> str | None:
    """What the mask gate did, in a sentence or two; None without one."""
    gate = part(evaluation, "mask_gate")
    if not gate:
        return None
    levels = ", ".join(f"{setting(at)} in {kind}s" for kind, at in part(gate, "levels").items() if at is not None)
    if gate.get("note") or not levels:
        return f"{stated(gate.get('note'), 'The mask gate has no level: no mask is emptied')}."
    words = (
        f"Mask gate: outlines of cases with a tumour probability below {levels} do not count; "
        f"{plural(gate.get('emptied'), 'mask')} of {count(gate.get('n'))} emptied, {count(gate.get('without_tumour'))} "
        f"of cases without a tumour, {count(gate.get('with_tumour'))} of cases with one, {count(gate.get('unknown'))} "
        "of unknown ones."
    )
    for region, dice in part(gate, "dice_without_gate").items():
        if as_number(part(dice).get("value")) is not None:
            words += f" Without the gate Dice {region} is {with_interval(dice)}."
    return words


def day(created: Any) -> Any:
    """An ISO time as a reader writes it: ``2025-01-01 16:05 UTC``; anything else as it is."""
    try:
        moment = datetime.fromisoformat(created)
    except (TypeError, ValueError):
        return created
    zone = " UTC" if moment.utcoffset() is not None else ""
    return (moment.astimezone(UTC) if zone else moment).strftime("%Y-%m-%d %H:%M") + zone
