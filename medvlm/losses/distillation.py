"""Learning from a teacher: an EMA of the network itself, or a given one."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from medvlm.losses.distances import check_same, single

KINDS = ("cosine", "mse", "smooth_l1")


class FeatureDistillationLoss(nn.Module):
    """Distance of each sample's features to the teacher's, which never receive a gradient.

    Args:
        kind: ``"cosine"`` (1 − cosine), ``"mse"`` or ``"smooth_l1"`` (mean over the features).
        normalise: give both unit length first; the cosine needs none.

    Reference:
        Grill et al., "Bootstrap Your Own Latent", 2020, https://arxiv.org/abs/2006.07733, for an EMA teacher; Romero
        et al., "FitNets", 2015, https://arxiv.org/abs/1412.6550, for a given one.
    """

    def __init__(self, kind: str = "cosine", normalise: bool = False) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
        if normalise and kind == "cosine":
            raise ValueError("normalise has no effect with kind='cosine'; leave it out.")
        self.kind, self.normalise = kind, normalise

    def per_sample(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Loss of each sample, ``(B,)``; arguments as in ``forward``."""
        check_same("student", student, "teacher", teacher)
        student, teacher = single(student), single(teacher.detach())
        if self.kind == "cosine":
            losses = 1 - functional.cosine_similarity(student, teacher, dim=-1)
        else:
            if self.normalise:
                student, teacher = (functional.normalize(x, dim=-1) for x in (student, teacher))
            distance = functional.mse_loss if self.kind == "mse" else functional.smooth_l1_loss
            losses = distance(student, teacher, reduction="none").mean(-1)
        return losses.flatten(1).mean(1) if losses.ndim > 1 else losses

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare features.

        Args:
            student: ``(B, ..., D)``.
            teacher: as ``student``; detached here.

        Returns:
            A scalar, the mean over the samples; 0, with a gradient, without samples.
        """
        losses = self.per_sample(student, teacher)
        return losses.mean() if losses.numel() else student.sum() * 0.0
