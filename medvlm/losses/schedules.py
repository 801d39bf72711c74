"""How a weight changes while training goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: progress,
    "cosine": lambda progress: (1 - math.cos(math.pi * progress)) / 2,  # 0 -> 1, slow at both ends
}


class Schedule:
    """A factor that goes from ``start`` to ``end`` in a number of steps, and stays there.

    Args:
        kind: ``"constant"`` (``end`` from the first step after the delay), ``"linear"`` or ``"cosine"``.
        steps: how many steps the change takes.
        start: factor until ``delay`` steps are over.
        end: factor when the change is over.
        delay: steps before the change begins.

    Raises:
        ValueError: if the kind is not known, a factor is negative, or steps do not fit the kind.
    """

    def __init__(
        self, kind: str = "constant", steps: int = 0, start: float = 0.0, end: float = 1.0, delay: int = 0
    ) -> None:
        if kind not in SHAPES:
            raise ValueError(f"kind must be one of {sorted(SHAPES)}, got {kind!r}.")
        if (kind == "constant") != (steps == 0) or steps < 0 or delay < 0:
            raise ValueError(
                f"a {kind} schedule needs {'no steps' if kind == 'constant' else 'steps of at least 1'} and a delay of "
                f"at least 0, got steps={steps}, delay={delay}."
            )
        if min(start, end) < 0:
            raise ValueError(f"a loss is weighed with factors of at least 0, got start={start}, end={end}.")
        self.kind, self.steps, self.start, self.end, self.delay = kind, steps, start, end, delay

    def __call__(self, step: int) -> float:
        """The factor at a step, counted from 0."""
        if step < self.delay:
            return float(self.start)
        progress = min(1.0, (step - self.delay) / self.steps) if self.steps else 1.0
        return self.start + (self.end - self.start) * SHAPES[self.kind](progress)


def schedule_of(given: Schedule | Mapping | None) -> Schedule:
    """A schedule from what a config says: nothing (constant), settings by name, or a schedule.

    Raises:
        ValueError: if a setting is not known.
    """
    if isinstance(given, Schedule):
        return given
    settings = dict(given or {})
    names = ("kind", "steps", "start", "end", "delay")
    if set(settings) - set(names):
        raise ValueError(f"a schedule takes {names}, got {sorted(set(settings) - set(names))}.")
    return Schedule(**settings)
