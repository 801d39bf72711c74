"""Segmentation loss, one value a sample."""

from __future__ import annotations

from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn
from torch.nn import functional


class RegionLoss(nn.Module):
    """Dice plus binary cross-entropy (or focal) of overlapping regions, one value a sample.

    MONAI's ``DiceCELoss`` takes a softmax as soon as there are two channels; regions overlap, so each has its own
    sigmoid here. Dice is taken per sample and region. ``smooth`` is added to its numerator and denominator: on an
    empty mask a perfect prediction has loss 0, and a wrong one a gradient that lowers every voxel.

    Args:
        dice: weight of the Dice term.
        cross_entropy: weight of the voxel-wise term.
        focal_gamma: focusing exponent of the voxel-wise term; 0 is binary cross-entropy.
        smooth: voxels added to numerator and denominator of Dice.
    """

    def __init__(
        self, dice: float = 1.0, cross_entropy: float = 1.0, focal_gamma: float = 0.0, smooth: float = 1.0
    ) -> None:
        super().__init__()
        if min(dice, cross_entropy, focal_gamma) < 0 or dice + cross_entropy == 0:
            raise ValueError(
                "dice, cross_entropy and focal_gamma must not be negative, and one of the weights positive, got "
                f"dice={dice}, cross_entropy={cross_entropy}, focal_gamma={focal_gamma}."
            )
        if smooth <= 0:
            raise ValueError(f"smooth must be positive, or an empty mask divides by zero, got {smooth}.")
        self.dice_weight, self.cross_entropy_weight = dice, cross_entropy
        self.dice = DiceLoss(sigmoid=True, reduction="none", smooth_nr=smooth, smooth_dr=smooth)
        self.focal = FocalLoss(gamma=focal_gamma, reduction="none") if focal_gamma > 0 else None

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare logits with masks.

        Args:
            pred: logits ``(B, R, *S)``.
            target: masks ``(B, R, *S)``, 0 or 1.

        Returns:
            ``(B,)``: the mean over the regions.
        """
        pred, target = pred.float(), target.float()
        loss = pred.new_zeros(pred.shape[0])
        if self.dice_weight:
            loss = loss + self.dice_weight * self.dice(pred, target).flatten(1).mean(1)
        if self.cross_entropy_weight:
            if self.focal is None:
                voxels = functional.binary_cross_entropy_with_logits(pred, target, reduction="none")
            else:
                voxels = self.focal(pred, target)
            loss = loss + self.cross_entropy_weight * voxels.flatten(1).mean(1)
        return loss
