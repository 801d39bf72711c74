"""What the heads of a probe say of a study: probability or value, interval, threshold, verdict."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medvlm.metrics.operating_point import misfit, warn_once
from medvlm.spelling import did_you_mean

logger = logging.getLogger(__name__)

LEVEL = 0.95
METHOD = (
    "test-time resampling: the study is drawn again, as many views as could be read with replacement and each clip "
    "from a random frame on; the interval holds the middle 95% of the draws' answers and the answer itself. It says "
    "how much the answer hangs on which views and frames were seen, not how often it is right."
)


def read_points(
    path: str | Path, weights_sha256: str | None, settings: Mapping[str, Any] | None = None
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Read the frozen thresholds of binary heads, and tell those that do not hold here.

    Args:
        path: ``operating_points.json``: head -> operating point (``medvlm.metrics.operating_point``).
        weights_sha256: of the probe.
        settings: in use, what besides the weights decides the probabilities.

    Returns:
        The points that hold by head, and by head why another does not (other weights, other settings; logged once);
        both empty without a file.

    Raises:
        ValueError: When the file holds something else.
    """
    path = Path(path)
    if not path.is_file():
        return {}, {}
    try:
        points = json.loads(path.read_text(encoding="utf-8"))
        points = {head: {**point, "threshold": float(point["threshold"])} for head, point in points.items()}
        reasons = {head: misfit(point, weights_sha256, settings) for head, point in points.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no operating points ({error!r}); calibrate the probe again.") from error
    unfit = {head: f"{path.name} {reason}" for head, reason in reasons.items() if reason}
    for reason in dict.fromkeys(unfit.values()):
        heads = ", ".join(head for head, why in unfit.items() if why == reason)
        warn_once(f"the threshold of {heads} in {path.parent}: {reason}. Until then verdicts are at 0.5.")
    return {head: point for head, point in points.items() if head not in unfit}, unfit


def check_head_words(
    specs: Mapping[str, Mapping],
    class_names: Mapping[str, Sequence[str]] | None = None,
    units: Mapping[str, str] | None = None,
) -> None:
    """Refuse names of classes and units that do not fit the heads; warn of those for heads that do not exist.

    Args:
        specs: settings of each head by name: ``kind`` and ``classes``.
        class_names: of multiclass heads.
        units: of regression heads.

    Raises:
        ValueError: a head's name is misspelt, the head is of another kind, or has another number of classes.
    """
    for what, given, kind in (("class_names", class_names, "multiclass"), ("units", units, "regression")):
        idle = []
        for name, value in (given or {}).items():
            if name not in specs:
                hint = did_you_mean(name, specs, cutoff=0.8)
                if hint:
                    raise ValueError(f"{what} names the head {name!r}, which the probe does not have{hint}")
                idle.append(name)
            elif specs[name]["kind"] != kind:
                raise ValueError(f"{what} are of {kind} heads, {name!r} is {specs[name]['kind']}; leave it out.")
            elif what == "class_names" and len(value) != specs[name].get("classes", len(value)):
                raise ValueError(
                    f"class_names of {name!r} needs {specs[name]['classes']} names, got {list(value)}; one a class."
                )
        if idle:
            logger.warning("%s of %s have no effect: the probe has the heads %s", what, idle, list(specs))


def head_answers(
    item: Mapping[str, Any],
    specs: Mapping[str, Mapping],
    points: Mapping[str, Mapping] | None = None,
    class_names: Mapping[str, Sequence[str]] | None = None,
    units: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Turn the logits of a study into answers.

    Args:
        item: ``pred_head_NAME`` ``(K,)`` and perhaps ``pred_resampled_NAME`` ``(R, K)``.
        specs: settings of each head by name, ``kind`` at least.
        points: frozen thresholds of binary heads; 0.5, not calibrated, where there is none.
        class_names: of multiclass heads.
        units: of regression heads.

    Returns:
        By head ``kind`` and: binary ``probability``, ``interval``, ``threshold``, ``calibrated``, ``verdict``;
        multiclass ``class``, ``probabilities`` and ``intervals`` by class; regression ``value``, ``interval``,
        ``unit``. An interval is ``None`` where there was nothing to draw from.
    """
    answers = {}
    for name, spec in specs.items():
        if f"pred_head_{name}" not in item:
            continue
        kind = spec["kind"]
        value = _scale(kind, item[f"pred_head_{name}"])  # (K,)
        draws = _scale(kind, item[f"pred_resampled_{name}"]) if f"pred_resampled_{name}" in item else None
        if kind == "multiclass":
            names = list((class_names or {}).get(name) or (str(index) for index in range(len(value))))
            limits = [interval(value[index], None if draws is None else draws[:, index]) for index in range(len(value))]
            answers[name] = {
                "kind": kind,
                "class": names[int(value.argmax())],
                "probabilities": dict(zip(names, (round(float(p), 4) for p in value), strict=True)),
                "intervals": dict(zip(names, limits, strict=True)),
            }
            continue
        limits = interval(value[0], None if draws is None else draws[:, 0])
        if kind == "regression":
            unit = (units or {}).get(name, "")
            answers[name] = {"kind": kind, "value": round(float(value[0]), 3), "interval": limits, "unit": unit}
            continue
        point = (points or {}).get(name)
        threshold = 0.5 if point is None else float(point["threshold"])
        answers[name] = {
            "kind": kind,
            "probability": round(float(value[0]), 4),
            "interval": limits,
            "threshold": threshold,
            "calibrated": point is not None,
            "verdict": "positive" if float(value[0]) >= threshold else "negative",
        }
    return answers


def interval(value: float, draws: np.ndarray | None) -> list[float] | None:
    """The middle 95% of the draws ``(R,)``, widened to the value itself; None where all draws are one."""
    if draws is None or not len(draws) or float(np.ptp([*draws, value])) < 1e-6:
        return None
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [round(float(min(low, value)), 4), round(float(max(high, value)), 4)]


def _scale(kind: str, logits: Any) -> np.ndarray:
    """Logits ``(..., K)`` as probabilities, or values as they are."""
    values = torch.as_tensor(logits).detach().float().cpu()
    if kind == "binary":
        return torch.sigmoid(values).numpy()
    return (torch.softmax(values, dim=-1) if kind == "multiclass" else values).numpy()


def head_words(name: str, answer: Mapping[str, Any]) -> str:
    """An answer in a few words, ``stenosis 0.83 (0.71 to 0.90), positive``."""
    title = name.replace("_", " ")
    if answer["kind"] == "multiclass":
        chosen = answer["class"]
        return f"{title} {chosen} ({answer['probabilities'][chosen]:.2f})"
    limits = answer["interval"]
    if answer["kind"] == "regression":
        unit = f" {answer['unit']}" if answer["unit"] else ""
        return f"{title} {answer['value']:.3g}" + (f" ({limits[0]:.3g} to {limits[1]:.3g})" if limits else "") + unit
    around = f" ({limits[0]:.2f} to {limits[1]:.2f})" if limits else ""
    return f"{title} {answer['probability']:.2f}{around}, {answer['verdict']}" + (
        "" if answer["calibrated"] else " at an uncalibrated 0.5"
    )
