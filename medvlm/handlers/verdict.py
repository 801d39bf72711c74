"""The verdict on a case: its tumour probability against the operating point."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from medvlm.handlers.case_files import sha256_of
from medvlm.handlers.input_kind import input_kind
from medvlm.metrics.operating_point import misfit, threshold_for, warn_once
from medvlm.trained_settings import caution, untrained_heads, untrained_words
from medvlm.visualize.overlay import NOTHING_FOUND_BELOW, verdict


def read_operating_point(
    path: str | Path, weights_sha256: str | None = None, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read the frozen threshold of a bundle.

    Args:
        path: ``operating_point.json``, or of what name it is for these weights.
        weights_sha256: of the weights in use; a threshold that was chosen for others does not count as calibrated.
        settings: in use, what besides the weights decides the probability; one that was chosen under others does not
            count either.

    Returns:
        The file's entries, with ``threshold``, ``calibrated``, ``settings`` (``"unknown"`` where the file is of before
        they were stored) and ``from`` (its name). Without a file, or for other weights or settings, the threshold is
        0.5, ``calibrated`` is False and ``from`` says why.

    Raises:
        ValueError: When the file holds no threshold between 0 and 1.
    """
    path = Path(path)
    if not path.is_file():
        return {"threshold": 0.5, "calibrated": False, "from": f"default: there is no {path.name}"}
    try:
        point = json.loads(path.read_text(encoding="utf-8"))
        threshold = float(point["threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no operating point ({error!r}); calibrate the bundle again.") from error
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold in {path} must lie in [0, 1], got {threshold}; calibrate the bundle again.")
    reason = misfit(point, weights_sha256, settings)
    if reason:
        warn_once(f"{path} {reason}. Until then verdicts are at 0.5, not calibrated.")
        return {"threshold": 0.5, "calibrated": False, "from": f"default: {path.name} {reason}"}
    known = point.get("settings") or "unknown"
    return {**point, "threshold": threshold, "calibrated": True, "settings": known, "from": path.name}


def judge(
    probability: float | None,
    volume_ml: float | None,
    point: Mapping[str, Any],
    none_below: float = NOTHING_FOUND_BELOW,
    *,
    outlined: bool | None = None,
    kind: str | None = None,
) -> dict[str, Any]:
    """Say what follows from a case's tumour probability.

    Args:
        probability: of a tumour; None when the class head is off.
        volume_ml: predicted volume; None when unknown.
        point: see :func:`read_operating_point`.
        none_below: below this probability the summary says that no tumour was found.
        outlined: whether the mask head outlined anything, as told of a picture, which has no volume; from
            ``volume_ml`` when None.
        kind: ``"volume"`` or ``"picture"``, where kinds have thresholds of their own.

    Returns:
        ``tumour_probability``, ``verdict`` (positive, negative, unknown), ``threshold``, ``calibrated``, ``shown``
        (whether mask and class activation are shown), ``summary``.
    """
    threshold = threshold_for(point, kind)
    side = "unknown" if probability is None else "positive" if probability >= threshold else "negative"
    words = verdict(probability, volume_ml, threshold if point["calibrated"] else None, none_below, outlined=outlined)
    if probability is not None and not point["calibrated"]:
        words += f"\n{side.capitalize()} at {threshold:g}, a threshold that is not calibrated"
    return {
        "tumour_probability": probability,
        "verdict": side,
        "threshold": threshold,
        "calibrated": point["calibrated"],
        "shown": probability is None or probability >= none_below,
        "summary": words,
    }


@lru_cache(maxsize=8)
def _sha256_of(file: Path, changed_ns: int, size: int) -> str:
    """The hash of a file as it was when it had this time and size."""
    return sha256_of(file)


class Verdictd(Transform):
    """Set ``result`` of a case from its class logits, for MONAI Label, REST answers and the case writer.

    Args:
        key: the class logits ``(K,)``, class 0 = no tumour.
        operating_point: path of the frozen threshold's file; read when the first case comes.
        none_below: see :func:`judge`.
        weights: file of the weights in use; a threshold that was chosen for others does not count. It is looked at
            again for each case, since servers reload weights that a training has replaced; where the case says
            ``model_filename`` (MONAI Label), the file of that name beside it is meant.
        image_key: the image ``(C, X, Y, Z)``; the grid it was read on says whether it is a picture or a volume
            (:func:`medvlm.handlers.input_kind.input_kind`).
        settings: in use, see :func:`read_operating_point`.
        seen: what the network is shown here, compared with its training (:func:`medvlm.trained_settings.caution`).

    Raises:
        ValueError: ``none_below`` is no probability.
    """

    def __init__(
        self,
        key: str = "pred_tumour",
        operating_point: str | Path = "",
        none_below: float = NOTHING_FOUND_BELOW,
        weights: str | Path | None = None,
        image_key: str = "image",
        settings: Mapping[str, Any] | None = None,
        seen: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(none_below, bool) or not isinstance(none_below, (int, float)) or not 0 <= none_below <= 1:
            raise ValueError(f"none_below is a probability and must lie in [0, 1], got {none_below!r}; 0.3 is usual.")
        self.key = key
        self.operating_point = operating_point
        self.none_below = none_below
        self.weights = weights
        self.image_key = image_key
        self.settings, self.seen = settings, seen

    def _weights(self, chosen: str | Sequence[str] | None = None) -> Path | None:
        """The file of the weights in use; None where it is not known or not there."""
        if not self.weights:
            return None
        file = Path(self.weights)
        name = chosen if isinstance(chosen, str) else next(iter(chosen or ()), "")
        if name and (file.parent / name).is_file():
            file = file.parent / name
        return file if file.is_file() else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with ``result``.

        Returns:
            ``result`` gives what :func:`judge` says, nothing about volumes, without a probability where the class head
            was never trained; and ``caution``, empty where there is nothing to say.
        """
        d = dict(data)
        weights = self._weights(d.get("model_filename"))
        untrained = [] if weights is None else untrained_heads(weights)
        probability = None
        if self.key in d and "tumour" not in untrained:
            logits = torch.as_tensor(d[self.key]).float().reshape(-1)
            probability = float(1 - torch.softmax(logits, dim=0)[0])
        digest = None
        if weights is not None:
            state = weights.stat()
            digest = _sha256_of(weights, state.st_mtime_ns, state.st_size)
        point = read_operating_point(self.operating_point, digest, self.settings)
        kind = input_kind(d[self.image_key]) if self.image_key in d else None
        said = judge(probability, None, point, self.none_below, kind=kind)
        words = [] if weights is None else [untrained_words(weights, untrained), caution(weights, self.seen)]
        d["result"] = {**said, "caution": "\n".join(filter(None, words))}
        return d
