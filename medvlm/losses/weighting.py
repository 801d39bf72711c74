"""How several losses become one."""

from __future__ import annotations

from torch import Tensor, nn

from medvlm.losses.partial import PartialMean


class FixedWeights(nn.Module):
    """Σ w_t · L_t.

    Args:
        weights: one factor a task.
    """

    def __init__(self, weights: dict[str, float]) -> None:
        super().__init__()
        self.factors = dict(weights)

    def current(self) -> dict[str, float]:
        """The weight of each task."""
        return dict(self.factors)

    def forward(self, means: dict[str, PartialMean]) -> Tensor:
        """Weigh and add.

        Args:
            means: the mean loss of each task; those with ``count`` 0 contribute 0.

        Returns:
            A scalar.
        """
        return sum(self.factors[task] * mean.local for task, mean in means.items())
