"""The mask gate: whether an outline counts where the tumour probability says that there is no tumour.

The two heads may disagree. Without a gate an outline stays and the summary tells of the disagreement, so that a reader
can look. With one, a label map is as empty as the verdict says; what was taken away is always told, and the map of
probabilities keeps it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

from medvlm.metrics.intervals import interval_entry, weighted_mean
from medvlm.metrics.operating_point import threshold_for, warn_once
from medvlm.metrics.segmentation import dice, volume_ml
from medvlm.visualize.numbers import quantity, rate

THRESHOLD = "threshold"
NOT_CHOSEN = (
    "mask_gate 'threshold' needs a frozen threshold that fits these weights and settings, and there is none: no mask "
    "is emptied; choose it (overlay calibrate), or give mask_gate a number"
)
CHOSEN_HERE = "mask_gate 'threshold' is not applied to the cases that its threshold is chosen on: no mask is emptied"


def check_gate(gate: str | float | None) -> str | float | None:
    """Return a gate as it may be used.

    Raises:
        ValueError: when it is neither None, ``"threshold"`` nor a number above 0 and up to 1.
    """
    if gate is None or gate == THRESHOLD:
        return gate
    if isinstance(gate, bool) or not isinstance(gate, int | float) or not 0 < gate <= 1:
        raise ValueError(
            f"mask_gate must be null, '{THRESHOLD}' or a number above 0 and up to 1, got {gate!r}; null empties no "
            f"mask, '{THRESHOLD}' those below the frozen threshold."
        )
    return float(gate)


def gate_level(gate: str | float | None, threshold: float, calibrated: bool) -> float | None:
    """The tumour probability below which a mask is emptied, None where none is.

    Args:
        gate: see `check_gate`.
        threshold: of the case's kind.
        calibrated: whether it was chosen on data for the weights in use; one that was not closes no gate, and the log
            says so.
    """
    if gate == THRESHOLD and not calibrated:
        warn_once(f"{NOT_CHOSEN}.")
        return None
    return threshold if gate == THRESHOLD else gate


def gate_words(level: float, probability: float, amount_ml: float | None) -> str:
    """Say that a mask was emptied, in a line."""
    amount = f"{quantity(amount_ml)} mL" if amount_ml else "a region"
    return f"Mask emptied: {amount} outlined, but tumour probability {rate(probability)} below the gate {rate(level)}"


class GateMaskd(Transform):
    """Empty a case's label map where its tumour probability lies below the gate; stands after ``Verdictd``.

    Args:
        key: the label map ``(1, X, Y, Z)``, 0 = outside.
        gate: None (never), ``"threshold"`` (below the verdict's threshold) or a probability.
        result_key: what ``Verdictd`` left.
    """

    def __init__(self, key: str = "pred", gate: str | float | None = None, result_key: str = "result") -> None:
        self.key, self.gate, self.result_key = key, check_gate(gate), result_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with its map emptied or as it was.

        Returns:
            With a gate, ``result`` gains ``mask_gate``: ``gate``, ``level`` (None: no threshold was chosen), ``closed``
            (the probability lies below it) and ``emptied`` (and the map held something, as its summary then says).
        """
        d = dict(data)
        if self.gate is None or self.result_key not in d or self.key not in d:
            return d
        result = d[self.result_key]
        probability = result["tumour_probability"]
        level = gate_level(self.gate, result["threshold"], result["calibrated"])
        closed = None not in (level, probability) and probability < level
        emptied = closed and bool((torch.as_tensor(d[self.key]) > 0).any())
        told = {"gate": self.gate, "level": level, "closed": closed, "emptied": emptied}
        d[self.result_key] = {**result, "mask_gate": told}
        if emptied:
            d[self.key] = torch.zeros_like(d[self.key])
            d[self.result_key]["summary"] += "\n" + gate_words(level, probability, None)
        return d


class EvaluationGate:
    """The gate over the cases of an evaluation.

    Args:
        gate: see `check_gate`.
    """

    def __init__(self, gate: str | float | None = None) -> None:
        self.gate = check_gate(gate)
        self._levels: dict[str, float | None] = {}
        self._note: str | None = None

    def set(self, point: Mapping[str, Any] | None, freeze: bool) -> None:
        """Fix the levels.

        Args:
            point: the operating point that counts, None where there is none.
            freeze: whether the threshold is chosen on these cases, and so not known yet.
        """
        chosen = point is not None and not freeze
        self._note = None
        if self.gate == THRESHOLD and not chosen:
            self._note = CHOSEN_HERE if freeze else NOT_CHOSEN
            warn_once(f"{self._note}.")
        self._levels = {}
        for kind in ("picture", "volume") if self.gate is not None else ():
            threshold = threshold_for(point, kind) if point else 0.5
            self._levels[kind] = None if self._note else gate_level(self.gate, threshold, chosen)

    def closes(self, kind: str, probability: float | None) -> bool:
        """Whether a case's mask is emptied."""
        level = self._levels.get(kind)
        return level is not None and probability is not None and probability < level

    def columns(
        self,
        pred: np.ndarray,
        truth: np.ndarray | None,
        spacing_mm: Sequence[float] | None,
        regions: Sequence[str],
        closed: bool,
    ) -> dict[str, Any]:
        """What a case's row says of the gate: nothing without one.

        Args:
            pred: ``(R, X, Y, Z)``, boolean, before the gate.
            truth: of the same shape, or None where it is unknown.
            spacing_mm: None for a picture.
            regions: R names.
            closed: see `closes`.

        Returns:
            ``mask_emptied`` (0 or 1), and where it is 1, for each region r, ``emptied_voxels_r``,
            ``emptied_volume_ml_r`` and ``ungated_dice_r``: what the mask held, and its Dice.
        """
        if self.gate is None:
            return {}
        emptied = closed and bool(pred.any())
        row: dict[str, Any] = {"mask_emptied": int(emptied)}
        for channel, name in enumerate(regions if emptied else ()):
            row[f"emptied_voxels_{name}"] = int(np.count_nonzero(pred[channel]))
            row[f"emptied_volume_ml_{name}"] = None if spacing_mm is None else volume_ml(pred[channel], spacing_mm)
            row[f"ungated_dice_{name}"] = None if truth is None else dice(pred[channel], truth[channel], "brats")
        return row

    def summary(
        self, rows: Sequence[Mapping[str, Any]], regions: Sequence[str], seed: int = 0, n_boot: int = 1000
    ) -> dict[str, Any] | None:
        """What the gate did, for ``evaluation.json``; None without one.

        Returns:
            ``gate``, ``levels`` by kind, ``n`` (cases with a mask and a probability), ``emptied`` and, of these, those
            ``with_tumour`` (their names in ``lost``), ``without_tumour`` and ``unknown``; ``dice_without_gate`` by
            region (``value``, ``ci``, ``n``); ``note`` where the gate could not be applied.
        """
        if self.gate is None:
            return None
        seen = [row for row in rows if row.get("probability") is not None and "mask_emptied" in row]
        emptied = [row for row in seen if row["mask_emptied"]]
        lost = [row for row in emptied if _has_tumour(row, regions)]
        without = [row for row in emptied if _has_tumour(row, regions) is False]
        return {
            "gate": self.gate,
            "levels": dict(self._levels),
            "n": len(seen),
            "emptied": len(emptied),
            "with_tumour": len(lost),
            "without_tumour": len(without),
            "unknown": len(emptied) - len(lost) - len(without),
            "lost": [str(row["case_id"]) for row in lost],
            "dice_without_gate": {region: _ungated_dice(rows, region, seed, n_boot) for region in regions},
            **({"note": self._note} if self._note else {}),
        }


def _has_tumour(row: Mapping[str, Any], regions: Sequence[str]) -> bool | None:
    """Whether a case truly has a tumour, by its class or its mask; None where neither is known."""
    if row.get("tumour") is not None:
        return bool(row["tumour"])
    sizes = [row.get(f"true_voxels_{region}") for region in regions]
    return any(sizes) if row.get("mask_known") and None not in sizes else None


def _ungated_dice(rows: Sequence[Mapping[str, Any]], region: str, seed: int, n_boot: int) -> dict[str, Any]:
    pairs = [(row["patient_id"], row.get(f"ungated_dice_{region}", row.get(f"dice_{region}"))) for row in rows]
    pairs = [(patient, value) for patient, value in pairs if value is not None]
    if not pairs:
        return {"value": None, "ci": None, "n": 0}
    values = np.array([value for _, value in pairs])
    entry = interval_entry(weighted_mean(values), [patient for patient, _ in pairs], n_boot, seed)
    return {"value": float(values.mean()), **entry, "n": len(pairs)}
