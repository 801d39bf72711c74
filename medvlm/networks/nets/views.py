"""Views of a network for tools that want plain tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlm.networks.nets.seg_cls import SegClsNet


class MaskNet(SegClsNet):
    """``SegClsNet`` whose ``forward`` returns the mask logits only.

    Same arguments and same state dict; for ``verify_net_in_out``, TorchScript, ONNX and MONAI Label, which want one
    tensor. ``heads`` still returns the dictionary.

    Raises:
        ValueError: if the mask head is off.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not self.mask_on:
            raise ValueError("MaskNet returns the mask, but heads switches the mask head off; use SegClsNet.")

    def forward(self, image: Tensor) -> Tensor:
        """Segment a batch.

        Args:
            image: ``(B, C, *S)``.

        Returns:
            Logits ``(B, R, *S)``.
        """
        return self.segment(image)


class HeadsTuple(nn.Module):
    """Both heads as a tuple, for export to ONNX and OpenVINO.

    Args:
        network: a ``SegClsNet``; shared, not copied.
    """

    def __init__(self, network: SegClsNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Segment and classify a batch.

        Args:
            image: ``(B, C, *S)``.

        Returns:
            Logits ``(B, R, *S)`` of the mask and ``(B, K)`` of the classes, whatever heads are on.
        """
        maps: list[torch.Tensor] = self.network.encode(image)
        tumour = self.network.tumour_head(maps)
        return self.network.mask_head(self.network.decoder(maps)), tumour  # the decoder empties the list of maps
