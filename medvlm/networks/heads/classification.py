"""Classification head on the maps of an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ClassificationHead(nn.Module):
    """Classes from pooled features of the coarsest maps.

    The mean says how much of the image looks abnormal, the maximum whether any place does; a small tumour moves the
    maximum of a finer map long before it moves a mean.

    Args:
        encoder_channels: channels of the encoder's maps, finest to coarsest.
        classes: number of classes (softmax applied by the user of the logits).
        scales: how many of the coarsest maps are pooled.
        pooling: any of ``"mean"`` and ``"max"``.
        dropout: probability before the linear layer.

    Attributes:
        features: length F of the vector of pooled features.
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        classes: int,
        scales: int = 2,
        pooling: Sequence[str] = ("mean", "max"),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= scales <= len(encoder_channels):
            raise ValueError(f"scales must be 1 to {len(encoder_channels)} (the encoder's maps), got {scales}.")
        if not pooling or set(pooling) - {"mean", "max"}:
            raise ValueError(f"pooling takes 'mean', 'max' or both, got {tuple(pooling)}.")
        self.scales = scales
        self.mean, self.max = "mean" in pooling, "max" in pooling
        self.features = sum(encoder_channels[-scales:]) * (int(self.mean) + int(self.max))
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(self.features, classes)

    def pool(self, maps: list[Tensor]) -> Tensor:
        """Pool the coarsest maps.

        Args:
            maps: ``(B, C_i, *S_i)``, finest to coarsest.

        Returns:
            ``(B, F)``: for each of the last ``scales`` maps its means, then its maxima.
        """
        pooled = []
        for index in range(len(maps) - self.scales, len(maps)):
            flat = maps[index].flatten(2)  # (B, C_i, N)
            if self.mean:
                pooled.append(flat.mean(dim=2))
            if self.max:
                pooled.append(flat.amax(dim=2))
        return torch.cat(pooled, dim=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return the logits of the classes.

        Args:
            maps: ``(B, C_i, *S_i)``, finest to coarsest.

        Returns:
            ``(B, K)``.
        """
        return self.logits(self.dropout(self.pool(maps)))
