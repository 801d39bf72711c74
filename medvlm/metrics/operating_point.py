"""The threshold on the tumour probability: chosen once, on validation, for a declared sensitivity, and then frozen."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from medvlm.metrics.intervals import rate_interval
from medvlm.metrics.ranking import check_labels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and where it comes from.

    Attributes:
        threshold: a case is called positive at or above it.
        target_sensitivity: what was asked for; None for a threshold that was not chosen on data.
        achieved: on the cases it was chosen on: ``sensitivity``, ``specificity`` (None without negatives), and their
            ``sensitivity_ci``, ``specificity_ci``.
        chosen_on: name of the section, such as ``validation``; ``default`` when not chosen on data.
        n: cases it was chosen on.
        n_positive: those with a tumour.
        checkpoint_sha256: of the weights whose probabilities it belongs to.
        frozen: False only for the default.
    """

    threshold: float
    target_sensitivity: float | None = None
    achieved: dict = field(default_factory=dict)
    chosen_on: str = "default"
    n: int = 0
    n_positive: int = 0
    checkpoint_sha256: str | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.threshold, int | float) and 0 <= self.threshold <= 1):
            raise ValueError(f"threshold must lie in [0, 1], got {self.threshold!r}; choose it again on validation.")

    def called(self, probability: np.ndarray) -> np.ndarray:
        """Verdicts for probabilities of any shape: at or above the threshold."""
        return np.asarray(probability) >= self.threshold

    def to_dict(self) -> dict:
        """Plain dictionary, as saved."""
        return asdict(self)

    def save(self, path: str | Path) -> None:
        """Write JSON, replacing the file in one step."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(self.to_dict(), indent=4, allow_nan=False) + "\n", encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    @classmethod
    def from_dict(cls, values: dict) -> OperatingPoint:
        """Read a dictionary; unknown keys are an error."""
        known = set(cls.__dataclass_fields__)
        if not isinstance(values, dict) or "threshold" not in values or set(values) - known:
            found = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"an operating point holds threshold and may hold {sorted(known)}, got {found}.")
        return cls(**values)

    @classmethod
    def load(cls, path: str | Path, checkpoint_sha256: str | None = None) -> OperatingPoint:
        """Read what :meth:`save` wrote.

        Args:
            path: of the JSON file.
            checkpoint_sha256: of the weights in use; a threshold chosen for others is reported in the log.

        Raises:
            FileNotFoundError: naming the file and the remedy.
            ValueError: on a file that is no operating point.
        """
        path = Path(path)
        try:
            point = cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"no operating point at {path}; evaluate the validation section first, which chooses and saves one."
            ) from error
        except ValueError as error:
            raise ValueError(f"{path} is no operating point: {error}") from error
        if checkpoint_sha256 and point.checkpoint_sha256 and checkpoint_sha256 != point.checkpoint_sha256:
            logger.warning(
                "the operating point of %s was chosen for weights %s..., but %s... are in use: choose it again.",
                path,
                point.checkpoint_sha256[:12],
                checkpoint_sha256[:12],
            )
        return point


def choose_operating_point(
    tumour: np.ndarray,
    probability: np.ndarray,
    target_sensitivity: float = 0.95,
    chosen_on: str = "validation",
    patients: Sequence[Hashable] | None = None,
    checkpoint_sha256: str | None = None,
    min_positives: int = 10,
    seed: int = 0,
) -> OperatingPoint:
    """Choose the highest threshold whose sensitivity reaches the target.

    Args:
        tumour: ``(N,)`` of 0 and 1.
        probability: ``(N,)`` tumour probabilities in [0, 1].
        target_sensitivity: in (0, 1].
        chosen_on: name of the section these cases belong to; a test section is refused.
        patients: ``(N,)`` patient of each case, for the intervals; without them every case is its own.
        checkpoint_sha256: of the weights that gave the probabilities.
        min_positives: fewer cases with a tumour are refused.
        seed: of the intervals' bootstrap.

    Returns:
        The frozen point. Cases tied at the threshold are all called positive.

    Raises:
        ValueError: on a test section, too few positives, or a target out of range.
    """
    if "test" in re.split(r"[^a-z]+", chosen_on.lower()):
        raise ValueError(
            f"a threshold chosen on section {chosen_on!r} would flatter the test scores; choose it on validation."
        )
    if not 0 < target_sensitivity <= 1:
        raise ValueError(f"target_sensitivity must lie in (0, 1], got {target_sensitivity}; 0.95 is usual.")
    tumour, probability = check_labels(tumour, probability, both=False)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]; apply the softmax first.")
    n_positive = int(tumour.sum())
    if n_positive < max(min_positives, 1):
        raise ValueError(
            f"{n_positive} cases with a tumour in {chosen_on!r} are too few to set a sensitivity on "
            f"({min_positives} needed); enlarge the validation split, or lower min_positives and say so."
        )
    positives = np.sort(probability[tumour == 1])[::-1]
    needed = int(np.ceil(target_sensitivity * n_positive - 1e-9))
    threshold = float(positives[needed - 1])
    patients = np.asarray([str(p) for p in patients] if patients is not None else [str(i) for i in range(len(tumour))])
    achieved: dict[str, float | list[float] | None] = {}
    for name, value in (("sensitivity", 1), ("specificity", 0)):
        member = tumour == value
        right = (probability[member] >= threshold) == bool(value)
        ci, _ = rate_interval(right, patients[member], seed=seed)
        achieved[name] = float(right.mean()) if right.size else None
        achieved[f"{name}_ci"] = list(ci) if ci else None
    limits = achieved["sensitivity_ci"]
    if limits is None or limits[0] < target_sensitivity:
        logger.warning(
            "threshold %.4f reaches sensitivity %.3f on %s with %d positive of %d cases, 95%% CI %s: the target of "
            "%.3f is not assured on other cases; more validation cases narrow this.",
            threshold,
            achieved["sensitivity"],
            chosen_on,
            n_positive,
            len(tumour),
            "unknown" if limits is None else f"{limits[0]:.3f} to {limits[1]:.3f}",
            target_sensitivity,
        )
    return OperatingPoint(
        threshold, target_sensitivity, achieved, chosen_on, len(tumour), n_positive, checkpoint_sha256, frozen=True
    )
