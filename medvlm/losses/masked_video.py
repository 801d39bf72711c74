"""Loss of the patches that a masked video model fills in."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from medvlm.losses.distances import check_same, single


class MaskedVideoLoss(nn.Module):
    """Mean squared error on the masked patches; the target never receives a gradient.

    Pixels normalised per patch or features of a teacher serve alike.

    Args:
        kind: ``"mse"``, ``"smooth_l1"`` (for feature targets with outliers) or ``"l1"``.

    Reference:
        Tong et al., "VideoMAE", 2022, https://arxiv.org/abs/2203.12602.
    """

    def __init__(self, kind: str = "mse") -> None:
        super().__init__()
        self.distance = {
            "mse": functional.mse_loss,
            "smooth_l1": functional.smooth_l1_loss,
            "l1": functional.l1_loss,
        }.get(kind)
        if self.distance is None:
            raise ValueError(f"kind must be 'mse', 'smooth_l1' or 'l1', got {kind!r}.")

    def per_patch(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of each patch, ``(M,)``; arguments as in ``forward``."""
        check_same("pred", pred, "target", target)
        return self.distance(single(pred), single(target.detach()), reduction="none").mean(-1).flatten()

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare what was filled in with what was there.

        Args:
            pred: ``(..., M, P)``, masked patches alone.
            target: as ``pred``.

        Returns:
            A scalar; 0, with a gradient, without patches.
        """
        losses = self.per_patch(pred, target)
        return losses.mean() if losses.numel() else pred.sum() * 0.0
