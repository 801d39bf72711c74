"""Views of the cine networks for tools that want plain tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlm.networks.nets.cine_text import CineTextNet


class VideoEmbeddingNet(CineTextNet):
    """``CineTextNet`` whose ``forward`` turns single videos into unit vectors.

    Same arguments and same state dict; for ``verify_net_in_out``, TorchScript (by tracing) and ONNX, which want one
    tensor. The video is a study of one view of unknown angle,
    of which no further input is known.
    """

    def forward(self, video: Tensor) -> Tensor:
        """Embed a batch of videos.

        Args:
            video: ``(B, C, T, H, W)``, normalised.

        Returns:
            ``(B, E)`` of length 1.
        """
        pooled = self.video_encoder(video)["pooled"][:, None]  # (B, 1, D)
        here = torch.ones_like(pooled[..., 0], dtype=torch.bool)  # (B, 1)
        unknown = torch.zeros_like(pooled[..., :1]).expand(-1, -1, 6)  # (B, 1, 6)
        vector, _ = self.aggregator(pooled, None, here, unknown, mode="study")
        return self.video_projection(self.joined(vector, {}, None))
