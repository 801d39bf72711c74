"""Segmentation loss, one value a sample."""

from __future__ import annotations

from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn
from torch.nn import functional


class RegionLoss(nn.Module):
    """Dice plus binary cross-entropy (or focal) of overlapping regions, one value a sample.

    MONAI's ``DiceCELoss`` takes a softmax as soon as there are two channels; regions overlap, so each has its own
    sigmoid here. Dice is taken per sample and region, where the region is not empty: on an empty one soft Dice is
    near 1 for any prediction but a perfect one, and its gradient holds training up for hundreds of steps while it
    teaches nothing that the voxel-wise term does not. Empty regions are learnt from that term alone.

    Args:
        dice: weight of the Dice term.
        cross_entropy: weight of the voxel-wise term; must be positive for empty masks to be learnt.
        focal_gamma: focusing exponent of the voxel-wise term; 0 is binary cross-entropy.
        smooth: voxels added to numerator and denominator of Dice.
        hardest: fraction of a region's voxels, those with the largest voxel-wise loss, over which that term is
            averaged; 1 takes all. A few false voxels on an empty mask weigh ten times as much with 0.1.
    """

    def __init__(
        self,
        dice: float = 1.0,
        cross_entropy: float = 1.0,
        focal_gamma: float = 0.0,
        smooth: float = 1.0,
        hardest: float = 0.1,
    ) -> None:
        super().__init__()
        if min(dice, cross_entropy, focal_gamma) < 0 or dice + cross_entropy == 0:
            raise ValueError(
                "dice, cross_entropy and focal_gamma must not be negative, and one of the weights positive, got "
                f"dice={dice}, cross_entropy={cross_entropy}, focal_gamma={focal_gamma}."
            )
        if not 0 < hardest <= 1:
            raise ValueError(f"hardest must lie in (0, 1], got {hardest}; 1 takes every voxel.")
        if smooth <= 0:
            raise ValueError(f"smooth must be positive, or an empty mask divides by zero, got {smooth}.")
        self.dice_weight, self.cross_entropy_weight, self.hardest = dice, cross_entropy, hardest
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
            present = (target.flatten(2).amax(2) > 0).to(pred.dtype)  # (B, R)
            loss = loss + self.dice_weight * (self.dice(pred, target).flatten(1) * present).mean(1)
        if self.cross_entropy_weight:
            if self.focal is None:
                voxels = functional.binary_cross_entropy_with_logits(pred, target, reduction="none")
            else:
                voxels = self.focal(pred, target)
            voxels = voxels.flatten(2)  # (B, R, voxels)
            if self.hardest < 1:
                voxels = voxels.topk(max(1, round(self.hardest * voxels.shape[2])), dim=2, sorted=False).values
            loss = loss + self.cross_entropy_weight * voxels.flatten(1).mean(1)
        return loss
