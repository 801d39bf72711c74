"""What a bundle's config says of a zero-shot task: its prompts, and which target tells the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from medvlm.spelling import did_you_mean


@dataclass(frozen=True)
class ZeroShotTask:
    """A question that prompts can answer.

    Args:
        target: name among the ``targets`` of a case.
        positive: wordings of the positive class.
        negative: wordings of the negative class.
        above: a target above this is positive.
        classes: the values of the negative and of the positive class, for targets that number classes; a case of
            another class is left out.

    Raises:
        ValueError: when a side has no wording, or both ``above`` and ``classes`` are given.
    """

    target: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    above: float | None = None
    classes: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for side in ("positive", "negative"):
            words = getattr(self, side)
            if isinstance(words, str) or not words or not all(str(text).strip() for text in words):
                raise ValueError(f"{side} must be a list of at least one wording, got {words!r}.")
        if self.above is not None and self.classes is not None:
            raise ValueError(f"a task has above or classes, got above={self.above} and classes={self.classes}.")
        if self.classes is not None and len(set(self.classes)) != 2:
            raise ValueError(f"classes must be the values of the negative and the positive class, got {self.classes}.")

    @property
    def prompts(self) -> dict[str, tuple[str, ...]]:
        """``positive`` and ``negative`` wordings, as ``embed_prompts`` takes them."""
        return {"positive": tuple(self.positive), "negative": tuple(self.negative)}

    def truth(self, targets: Mapping[str, Any] | None) -> int | None:
        """Read the class out of a case's targets; None where it is unknown."""
        value = (targets or {}).get(self.target)
        if value is None or not math.isfinite(float(value)):
            return None
        if self.classes is not None:
            return {self.classes[0]: 0, self.classes[1]: 1}.get(float(value))
        return int(float(value) > (0.5 if self.above is None else self.above))


def zero_shot_tasks(config: Mapping[str, Mapping[str, Any]] | None) -> dict[str, ZeroShotTask]:
    """Read tasks from a config.

    Args:
        config: name of the task -> fields of ``ZeroShotTask``.

    Raises:
        ValueError: when a task has a field that does not exist, lacks one, or is not possible; names the task.
    """
    known = [field.name for field in fields(ZeroShotTask)]
    tasks = {}
    for name, given in (config or {}).items():
        unknown = sorted(set(given) - set(known))
        lacking = [field for field in ("target", "positive", "negative") if field not in given]
        if unknown:
            raise ValueError(
                f"the zero-shot task {name!r} has no field {unknown[0]!r}; it is of {known}"
                f"{did_you_mean(unknown[0], known)}"
            )
        if lacking:
            raise ValueError(
                f"the zero-shot task {name!r} lacks {lacking}; give its target and wordings of both sides."
            )
        values = {
            key: tuple(v) if isinstance(v, Sequence) and not isinstance(v, str) else v for key, v in given.items()
        }
        try:
            tasks[name] = ZeroShotTask(**values)
        except ValueError as error:
            raise ValueError(f"zero-shot task {name!r}: {error}") from error
    return tasks
