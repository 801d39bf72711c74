"""Masked video modelling as one part: draw a mask, encode, predict, and say what was to be predicted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medvlm.networks.blocks.ema import EmaTeacher
from medvlm.networks.blocks.patches import motion_saliency, pixel_target
from medvlm.networks.blocks.video_masks import KINDS, draw_mask
from medvlm.networks.decoders.masked_video import MaskedVideoDecoder, MaskedVideoHead, masked_places


class MaskedVideoModelling(nn.Module):
    """Hide patches of videos and predict them from what is left.

    A patch is what one token of the encoder's output stands for. The encoder is given at the call. One that takes
    ``visible`` (a plain video ViT) never sees the hidden patches; one that takes ``mask`` (MViT, the convolutional
    encoder) hides their pixels and puts a learnt token in their place. Either way nothing of them reaches the
    prediction.

    Args:
        decoder: ``MaskedVideoDecoder`` for an encoder of the first kind, ``MaskedVideoHead`` for the second.
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
        self.kind, self.ratio = kind, ratio
        self.normalised, self.floor_std = normalised, floor_std

    def check(self, encoder: nn.Module) -> None:
        """Refuse an encoder that patches cannot be hidden from, or not in the way of the decoder.

        Raises:
            ValueError: names what would do.
        """
        wanted, hides = "visible" if self.decoder.visible_only else "mask", getattr(encoder, "hides", None)
        if hides == wanted:
            return
        name = getattr(encoder, "model_type", type(encoder).__name__)
        if hides is None:
            raise ValueError(
                f"masked video modelling hides patches, and {name} cannot leave them out; build MViT or "
                "CineConvEncoder with maskable=true, take VideoMAE or VideoViT, or take 'masked_video' out of "
                "objectives and loss_weights."
            )
        fitting = {"visible": "MaskedVideoDecoder", "mask": "MaskedVideoHead"}[hides]
        raise ValueError(
            f"{name} needs the decoder {fitting}, got {type(self.decoder).__name__}; set masked_video::decoder."
        )

    def draw(self, video: Tensor, grid: tuple[int, int, int], generator: torch.Generator | None = None) -> Tensor:
        """A mask ``(B, t * h * w)`` for videos ``(B, C, T, H, W)`` on a grid ``(t, h, w)``; see ``draw_mask``.

        Raises:
            ValueError: if the ratio is less than one patch of so small a grid.
        """
        saliency = motion_saliency(video, grid) if self.kind == "saliency" else None
        mask = draw_mask(self.kind, len(video), grid, self.ratio, generator, saliency)
        if not mask.any():
            raise ValueError(
                f"nothing is hidden: {self.ratio} of the grid {tuple(grid)} is less than one patch for kind="
                f"{self.kind!r}; give larger or longer clips, or a higher ratio."
            )
        return mask.to(video.device)

    def forward(
        self, encoder: nn.Module, video: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Predict what is hidden.

        Args:
            encoder: gives ``tokens`` ``(B, L, D)`` and takes ``visible`` or ``mask``; has ``grid(T, H, W)`` and
                ``has_class_token``.
            video: ``(B, C, T, H, W)``, normalised; only views that exist.
            mask: ``(B, t * h * w)`` bool on the encoder's grid, true = hidden; none = drawn.
            generator: of the random numbers of drawing.

        Returns:
            ``mvm_pred`` and ``mvm_target``: ``(M, P)`` of the hidden patches of all samples, the target without
            gradient; ``mvm_mask``: ``(B, t * h * w)`` bool.

        Raises:
            ValueError: if the decoder does not predict as many values as a patch has, or nothing is hidden.
        """
        grid = tuple(encoder.grid(*video.shape[-3:]))
        mask = self.draw(video, grid, generator) if mask is None else mask.to(video.device)
        target = masked_places(self._target(encoder, video, grid), mask)
        if target.shape[2] != self.decoder.output.out_features:
            raise ValueError(
                f"the decoder predicts {self.decoder.output.out_features} values of a patch, a target has "
                f"{target.shape[2]} (clips {tuple(video.shape[1:])} on the grid {grid}); set its output_dim to that."
            )
        hidden = {"visible": ~mask} if self.decoder.visible_only else {"mask": mask}
        tokens = encoder(video, **hidden)["tokens"][:, int(encoder.has_class_token) :]
        pred = self.decoder(tokens, mask, grid)
        return {"mvm_pred": pred.flatten(0, 1), "mvm_target": target.flatten(0, 1), "mvm_mask": mask}

    @torch.no_grad()
    def _target(self, encoder: nn.Module, video: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """``(B, L, P)``: normalised pixels, or normalised features of the teacher, which sees the whole video."""
        if self.teacher is None:
            sides = tuple(video.shape[-3:])
            if any(side % count for side, count in zip(sides, grid, strict=True)):
                raise ValueError(
                    f"pixels of a patch are only defined where the encoder's grid {grid} divides the clip {sides}; "
                    "change the size of the clips (e.g. to a multiple of 32), or predict a teacher's features."
                )
            patch = tuple(side // count for side, count in zip(sides, grid, strict=True))
            return pixel_target(video, patch, self.normalised, self.floor_std)
        if self.training:
            self.teacher.follow(encoder)
        features = self.teacher(video)["tokens"][:, int(encoder.has_class_token) :].float()
        return F.layer_norm(features, features.shape[-1:])
