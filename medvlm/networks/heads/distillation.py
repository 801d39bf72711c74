"""Predict a teacher's features from those of a study."""

from __future__ import annotations

from torch import Tensor, nn

from medvlm.networks.blocks.ema import EmaTeacher


class FeatureDistillation(nn.Module):
    """What a student gives for comparison with its teacher.

    Args:
        dim: width D of the student's study vector.
        teacher_dim: width of the teacher's features; an EMA teacher's is the encoder's ``embed_dim``.
        teacher: an ``EmaTeacher`` of the video encoder, whose mean over the views of a study is the target; none: the
            target is given with the batch (features of any other model).
        hidden: width of the hidden layer; none: a linear layer.
    """

    def __init__(
        self, dim: int, teacher_dim: int, teacher: EmaTeacher | None = None, hidden: int | None = None
    ) -> None:
        super().__init__()
        self.hidden = nn.Identity() if hidden is None else nn.Sequential(nn.Linear(dim, hidden), nn.GELU())
        self.predict = nn.Linear(dim if hidden is None else hidden, teacher_dim)
        self.teacher = teacher

    def forward(self, study: Tensor) -> Tensor:
        """Return ``(B, teacher_dim)`` of the student's study vectors ``(B, D)``."""
        return self.predict(self.hidden(study))
