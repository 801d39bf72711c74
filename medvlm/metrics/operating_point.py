"""The threshold on the tumour probability: chosen once, on validation, for a declared sensitivity, and then frozen.

An operating point is a plain dictionary, as its JSON file holds it:
``threshold`` (a case is called positive at or above it), ``target_sensitivity``, ``achieved`` (``sensitivity``,
``specificity`` and their ``..._ci`` on the cases it was chosen on), ``chosen_on`` (the section), ``n``,
``n_positive``, ``checkpoint_sha256`` (of the weights it belongs to), ``settings`` (what else decides the probability,
by the names of the config; None where nobody stored it) and ``frozen``. A volume says more than one picture: ``kinds``
holds a threshold for either. The kind is known of an input before any network sees it, so that it may decide, unlike
the data set that an input came from.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medvlm.atomic import write_text_atomically
from medvlm.metrics.intervals import rate_interval
from medvlm.metrics.ranking import check_labels
from medvlm.trained_settings import plain_settings, settings_apart

logger = logging.getLogger(__name__)

DEFAULT_POINT: Mapping[str, Any] = {
    "threshold": 0.5,
    "target_sensitivity": None,
    "achieved": {},
    "chosen_on": "default",
    "n": 0,
    "n_positive": 0,
    "checkpoint_sha256": None,
    "settings": None,
    "frozen": False,
}
"""Where nothing was chosen on data."""


class TooFewPositives(ValueError):
    """The section holds too few cases with a tumour to choose a threshold on."""


def file_for(weights_name: str) -> str:
    """The name of the file of the operating point that belongs to weights, so that no weights take another's place.

    ``operating_point.json`` for ``model.pt``, ``operating_point_3d.json`` for ``model_3d.pt``, and
    ``operating_point_fine_tuned.json`` for ``fine_tuned.pt``.
    """
    rest = re.sub(r"^model(_|$)", "", Path(weights_name).stem)
    return f"operating_point_{rest}.json" if rest else "operating_point.json"


def file_beside(weights: str | Path | None) -> str:
    """The path of the operating point's file that lies beside weights (:func:`file_for`); empty without weights."""
    return "" if weights is None else str(Path(weights).with_name(file_for(Path(weights).name)))


def choose_operating_point(
    tumour: np.ndarray | Sequence[int],
    probability: np.ndarray | Sequence[float],
    target_sensitivity: float = 0.95,
    section: str = "validation",
    patients: Sequence[Hashable] | None = None,
    checkpoint_sha256: str | None = None,
    min_positives: int = 10,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Choose the threshold with the highest specificity among those whose sensitivity reaches the target.

    Where several call the same cases without a tumour positive, none of them gives up a tumour for nothing: the one in
    the middle between the last tumour that can be called without a further false alarm and the case without a tumour
    below it, as far from either as it can be.

    Args:
        tumour: ``(N,)`` of 0 and 1.
        probability: ``(N,)`` tumour probabilities in [0, 1].
        target_sensitivity: in (0, 1].
        section: name of the section these cases belong to; a test section is refused.
        patients: ``(N,)`` patient of each case, for the intervals; without them every case is its own.
        checkpoint_sha256: of the weights that gave the probabilities.
        min_positives: fewer cases with a tumour are refused.
        seed: of the intervals' bootstrap.
        kinds: ``(N,)`` kind of each input, ``"volume"`` or ``"picture"``: each kind with enough positives also gets a
            threshold of its own.
        settings: what besides the weights decides the probabilities, such as ``image_size``, by name; stored, so that a
            later use under others is noticed.

    Returns:
        The frozen point (see the module). Cases tied at the threshold are all called positive.

    Raises:
        TooFewPositives: fewer cases with a tumour than ``min_positives``; a ``ValueError``.
        ValueError: on a test section, or a target out of range.
    """
    if "test" in re.split(r"[^a-z]+", section.lower()):
        raise ValueError(
            f"a threshold chosen on section {section!r} would flatter the test scores; choose it on validation."
        )
    if not 0 < target_sensitivity <= 1:
        raise ValueError(f"target_sensitivity must lie in (0, 1], got {target_sensitivity}; 0.95 is usual.")
    n_positive = int(np.count_nonzero(np.asarray(tumour) == 1))
    if n_positive < max(min_positives, 1):
        raise TooFewPositives(
            f"{n_positive} cases with a tumour in {section!r} are too few to set a sensitivity on "
            f"({max(min_positives, 1)} needed); enlarge the validation split, or lower min_positives and say so."
        )
    tumour, probability = check_labels(np.asarray(tumour), np.asarray(probability), both=False)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]; apply the softmax first.")
    positives = np.sort(probability[tumour == 1])[::-1]
    needed = int(np.ceil(target_sensitivity * n_positive - 1e-9))
    threshold = _between(positives, probability[tumour == 0], float(positives[needed - 1]))
    achieved = _achieved(tumour, probability >= threshold, patients, seed)
    limits = achieved["sensitivity_ci"]
    if limits is None or limits[0] < target_sensitivity:
        logger.warning(
            "threshold %.4f reaches sensitivity %.3f on %s with %d positive of %d cases, 95%% CI %s: the target of "
            "%.3f is not assured on other cases; more validation cases narrow this.",
            threshold,
            achieved["sensitivity"],
            section,
            n_positive,
            len(tumour),
            "unknown" if limits is None else f"{limits[0]:.3f} to {limits[1]:.3f}",
            target_sensitivity,
        )
    point = {
        "threshold": threshold,
        "target_sensitivity": float(target_sensitivity),
        "achieved": achieved,
        "chosen_on": section,
        "n": len(tumour),
        "n_positive": n_positive,
        "checkpoint_sha256": checkpoint_sha256,
        "settings": None if settings is None else plain_settings(settings),
        "frozen": True,
    }
    if kinds is None:
        return point
    rules = (target_sensitivity, section, patients, min_positives, seed)
    return point | {"kinds": _points_of_kinds(tumour, probability, np.asarray([str(k) for k in kinds]), *rules)}


def _points_of_kinds(
    tumour: np.ndarray,
    probability: np.ndarray,
    kinds: np.ndarray,
    target_sensitivity: float,
    section: str,
    patients: Sequence[Hashable] | None,
    min_positives: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """A point of its own for each kind that has enough positives; the others share the common threshold."""
    if len(kinds) != len(tumour):
        raise ValueError(f"one kind a case is needed, got {len(kinds)} for {len(tumour)} cases.")
    points = {}
    for kind in sorted(set(kinds.tolist())):
        own = kinds == kind
        if np.count_nonzero(tumour[own]) < max(min_positives, 1):
            logger.warning("too few tumours among the %ss: they share the common threshold.", kind)
            continue
        whose = None if patients is None else [patients[index] for index in np.flatnonzero(own)]
        found = choose_operating_point(
            tumour[own], probability[own], target_sensitivity, section, whose, None, min_positives, seed
        )
        points[kind] = {name: found[name] for name in ("threshold", "achieved", "n", "n_positive")}
    return points


def _between(positives: np.ndarray, negatives: np.ndarray, highest: float) -> float:
    """The middle of the gap below ``highest`` that holds no negative, and below which no positive comes for nothing."""
    below = negatives[negatives < highest]
    if not below.size:
        return highest  # nothing says what a lower threshold would cost
    floor = float(below.max())
    lowest = float(positives[positives > floor].min())
    middle = (floor + lowest) / 2
    return middle if floor < middle else lowest


def threshold_for(point: Mapping[str, Any], kind: str | None) -> float:
    """Return the threshold for one kind of input, the common one where the kind has none of its own.

    Args:
        point: an operating point.
        kind: ``"volume"``, ``"picture"`` or None (unknown).
    """
    own = (point.get("kinds") or {}).get(kind) or {}
    return float(own.get("threshold", point["threshold"]))


def _achieved(tumour: np.ndarray, called: np.ndarray, patients: Sequence[Hashable] | None, seed: int) -> dict:
    patients = np.asarray([str(p) for p in (range(len(tumour)) if patients is None else patients)])
    achieved: dict[str, float | list[float] | None] = {}
    for name, value in (("sensitivity", 1), ("specificity", 0)):
        member = tumour == value
        right = called[member] == bool(value)
        ci, _ = rate_interval(right, patients[member], seed=seed)
        achieved[name] = float(right.mean()) if right.size else None
        achieved[f"{name}_ci"] = list(ci) if ci else None
    return achieved


def check_operating_point(point: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fill an operating point up with the defaults, or give the default one for None.

    Raises:
        ValueError: on one without a threshold in [0, 1].
    """
    if point is None:
        return dict(DEFAULT_POINT)
    threshold = point.get("threshold") if isinstance(point, Mapping) else None
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ValueError(f"an operating point needs a threshold in [0, 1], got {threshold!r}; choose it on validation.")
    for kind, own in (point.get("kinds") or {}).items():
        if not isinstance(own, Mapping) or not 0 <= float(own.get("threshold", -1)) <= 1:
            raise ValueError(f"the operating point for kind {kind!r} needs a threshold in [0, 1], got {own!r}.")
    return {**DEFAULT_POINT, **point}


def misfit(
    point: Mapping[str, Any], checkpoint_sha256: str | None = None, settings: Mapping[str, Any] | None = None
) -> str:
    """Say why a threshold does not hold for what is in use now; empty where it does.

    Args:
        point: an operating point.
        checkpoint_sha256: of the weights in use; None where they are not known.
        settings: in use, by name; None where they are not known. Only what the point stored is compared, so that one
            of before settings were stored still holds.

    Returns:
        Words that go on after the name of the file, with the remedy.

    Raises:
        ValueError: the stored settings are no names with values.
    """
    theirs = point.get("checkpoint_sha256")
    if checkpoint_sha256 and theirs and theirs != checkpoint_sha256:
        return (
            f"was chosen for other weights ({theirs:.12}..., in use are {checkpoint_sha256:.12}...); choose it again "
            "for these (overlay calibrate)"
        )
    stored = point.get("settings") or {}
    if not isinstance(stored, Mapping):
        raise ValueError(f"settings of an operating point must be names with values, got {stored!r}; choose it again.")
    apart = {} if settings is None else settings_apart(stored, settings)
    if not apart:
        return ""
    return (
        f"was chosen with other settings: {', '.join(apart.values())}; use the settings it was chosen with, or choose "
        "it again under these (overlay calibrate)"
    )


@cache
def warn_once(message: str) -> None:
    """Log a warning that would otherwise be repeated with every case."""
    logger.warning("%s", message)


def save_operating_point(point: Mapping[str, Any], path: str | Path) -> Path:
    """Write JSON, replacing the file in one step."""
    text = json.dumps(check_operating_point(point), indent=4, allow_nan=False)
    return write_text_atomically(text + "\n", path)


def load_operating_point(
    path: str | Path, checkpoint_sha256: str | None = None, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read what :func:`save_operating_point` wrote.

    Args:
        path: of the JSON file.
        checkpoint_sha256: of the weights in use; a threshold chosen for others is reported in the log.
        settings: in use; a threshold chosen under others is reported too.

    Raises:
        FileNotFoundError: naming the file and the remedy.
        ValueError: on a file that holds no operating point.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no operating point at {path}; choose one on the validation section first.")
    try:
        point = check_operating_point(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} holds no operating point: {error}") from error
    reason = misfit(point, checkpoint_sha256, settings)
    if reason:
        logger.warning("%s %s.", path, reason)
    return point
