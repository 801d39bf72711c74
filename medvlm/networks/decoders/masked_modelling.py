"""Masked video modelling as one part: draw a mask, encode, predict, and say what was to be predicted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medvlm.networks.blocks.ema import EmaTeacher
from medvlm.networks.blocks.patches import hide_patches, motion_saliency, patch_grid, pixel_target
from medvlm.networks.blocks.video_masks import KINDS, draw_mask, refine_mask
from medvlm.networks.decoders.masked_video import MaskedVideoDecoder, MaskedVideoHead, masked_places


class MaskedVideoModelling(nn.Module):
    """Hide patches of videos and predict them from what is left.

    The encoder is given at the call. One that takes ``visible`` (a plain video ViT) never sees the hidden patches; one
    that takes ``mask`` (MViT, the convolutional encoder) sees a learnt token in their place, and zeros instead of
    their pixels, because its first layer looks over the borders of patches. Either way nothing of the hidden patches
    reaches the prediction.

    Args:
        decoder: ``MaskedVideoDecoder`` for an encoder of the first kind, ``MaskedVideoHead`` for the second.
        patch: frames, rows and columns that one token of the encoder's output stands for; these are what is hidden.
        kind: ``"tube"``, ``"random"``, ``"temporal"``, ``"block"`` or ``"saliency"`` (by motion).
        ratio: fraction that is hidden.
        normalised: pixels are normalised a patch and channel; see ``pixel_target``.
        floor_std: see ``pixel_target``.
        teacher: predict the features of this teacher instead of pixels; it follows the encoder in training.

    Raises:
        ValueError: if the kind is unknown or the ratio out of its range.
    """

    def __init__(
        self,
        decoder: MaskedVideoDecoder | MaskedVideoHead,
        patch: Sequence[int] = (2, 16, 16),
        kind: str = "tube",
        ratio: float = 0.75,
        normalised: bool = True,
        floor_std: float = 1e-2,
        teacher: EmaTeacher | None = None,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"the kind of mask must be one of {KINDS}, got {kind!r}.")
        if not 0 < ratio < 1:
            raise ValueError(f"ratio must be above 0 and below 1, got {ratio}; 0.75 is usual.")
        self.decoder, self.teacher = decoder, teacher
        self.patch, self.kind, self.ratio = tuple(patch), kind, ratio
        self.normalised, self.floor_std = normalised, floor_std

    def draw(self, video: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A mask ``(B, t * h * w)`` for videos ``(B, C, T, H, W)``; see ``draw_mask``."""
        grid = patch_grid(video, self.patch)
        saliency = motion_saliency(video, self.patch) if self.kind == "saliency" else None
        return draw_mask(self.kind, len(video), grid, self.ratio, generator, saliency).to(video.device)

    def forward(
        self, encoder: nn.Module, video: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Predict what is hidden.

        Args:
            encoder: gives ``tokens`` ``(B, L, D)``, has ``grid(T, H, W)`` and ``has_class_token``.
            video: ``(B, C, T, H, W)``, normalised; only views that exist.
            mask: ``(B, t * h * w)`` bool, true = hidden; none = drawn.
            generator: of the random numbers of drawing.

        Returns:
            ``mvm_pred`` and ``mvm_target``: ``(M, P)`` of the hidden patches of all samples, the target without
            gradient; ``mvm_mask``: ``(B, t * h * w)`` bool.

        Raises:
            ValueError: if the encoder's grid is not the one of the patches, or nothing is hidden.
        """
        grid = patch_grid(video, self.patch)
        found = tuple(encoder.grid(*video.shape[-3:]))
        if found != grid:
            raise ValueError(
                f"patches of {self.patch} make the grid {grid}, the encoder's tokens are on {found}; set patch to "
                f"{tuple(side // f for side, f in zip(video.shape[-3:], found, strict=True))}."
            )
        mask = self.draw(video, generator) if mask is None else mask.to(video.device)
        if not bool(mask.any()):
            raise ValueError(f"nothing is hidden: ratio={self.ratio} of the grid {grid} is less than one patch.")
        pred = self.decoder(self._encode(encoder, video, mask, grid), mask, grid)
        target = masked_places(self._target(encoder, video), mask)
        return {"mvm_pred": pred.flatten(0, 1), "mvm_target": target.flatten(0, 1), "mvm_mask": mask}

    def _encode(self, encoder: nn.Module, video: Tensor, mask: Tensor, grid: Sequence[int]) -> Tensor:
        if self.decoder.visible_only:
            tokens = encoder(video, visible=~mask)["tokens"]
        else:
            first = encoder.patch_grid(*video.shape[-3:])  # where the encoder puts its mask tokens
            tokens = encoder(hide_patches(video, mask, grid), mask=refine_mask(mask, grid, first))["tokens"]
        return tokens[:, int(encoder.has_class_token) :]

    @torch.no_grad()
    def _target(self, encoder: nn.Module, video: Tensor) -> Tensor:
        """``(B, L, P)``: normalised pixels, or normalised features of the teacher, which sees the whole video."""
        if self.teacher is None:
            return pixel_target(video, self.patch, self.normalised, self.floor_std)
        if self.training:
            self.teacher.follow(encoder)
        features = self.teacher(video)["tokens"][:, int(encoder.has_class_token) :].float()
        return F.layer_norm(features, features.shape[-1:])
