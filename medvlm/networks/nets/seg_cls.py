"""One network that segments and classifies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from medvlm.networks.decoders.attention_unet import AttentionUNetDecoder
from medvlm.networks.encoders.unet import UNetEncoder
from medvlm.networks.freezing import Freezable
from medvlm.networks.heads.classification import ClassificationHead
from medvlm.networks.heads.mask import MaskHead

HEADS = ("mask", "tumour")


class SegClsNet(Freezable):
    """Attention U-Net with a classification head on its encoder.

    Components, for freezing, learning rates and loading by name: ``encoder``, ``decoder``, ``mask_head``,
    ``tumour_head``. A head that is off is not computed, but its parameters (without gradient) stay in the state dict,
    so that the checkpoints of all stages of a curriculum fit each other.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        regions: regions of the mask, each with its own sigmoid.
        classes: classes of the classification head.
        features: channels of the stages, finest to coarsest. The default has about 2 M parameters, four times the
            channels about 32 M.
        attention: whether attention gates weigh the skip connections.
        norm: MONAI's normalisation, a name or ``(name, arguments)``.
        dropout: probability of dropping channels of the coarsest maps, and before the classification layer.
        heads: the heads that are on, from ``"mask"`` and ``"tumour"``.
        stem_stride: stride of the first stage; above 1 the mask head upsamples its logits. With 2 a training step
            costs 0.3 of the CPU time of 1, and in equal CPU time the network learns more.
        encoder_block: ``"residual"`` or ``"plain"``.
        decoder_block: ``"residual"`` or ``"plain"``.
        pooled_scales: how many of the coarsest maps the classification head pools; by default three, or as many as
            there are. In equal CPU time three told small lesions from none better than two.
        pooling: any of ``"mean"`` and ``"max"``.

    Attributes:
        cam_layer: name of the finest module that the classification head pools, the target for Grad-CAM.

    Raises:
        ValueError: if a setting is out of its range.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        regions: int = 1,
        classes: int = 2,
        features: Sequence[int] = (16, 32, 64, 128, 256),
        attention: bool = True,
        norm: tuple | str = ("GROUP", {"num_groups": 8}),
        dropout: float = 0.1,
        heads: Sequence[str] = HEADS,
        stem_stride: int = 2,
        encoder_block: str = "residual",
        decoder_block: str = "plain",
        pooled_scales: int | None = None,
        pooling: Sequence[str] = ("mean", "max"),
    ) -> None:
        super().__init__()
        if not heads or set(heads) - set(HEADS):
            raise ValueError(f"heads takes one or both of {HEADS}, got {tuple(heads)}.")
        self.mask_on, self.tumour_on = "mask" in heads, "tumour" in heads
        self.encoder = UNetEncoder(spatial_dims, in_channels, features, stem_stride, norm, encoder_block, dropout)
        channels, strides = self.encoder.output_channels, self.encoder.strides
        self.decoder = AttentionUNetDecoder(spatial_dims, channels, strides, attention, norm, decoder_block)
        self.mask_head = MaskHead(spatial_dims, self.decoder.output_channels, regions, self.decoder.output_stride)
        pooled_scales = min(3, len(channels)) if pooled_scales is None else pooled_scales
        self.tumour_head = ClassificationHead(channels, classes, pooled_scales, pooling, dropout)
        self.cam_layer = f"encoder.stages.{len(channels) - pooled_scales}"
        if not self.mask_on:
            self.decoder.requires_grad_(False)
            self.mask_head.requires_grad_(False)
        if not self.tumour_on:
            self.tumour_head.requires_grad_(False)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Feature maps of the encoder.

        Args:
            image: ``(B, C, *S)``; sides divisible by the encoder's last stride.

        Returns:
            ``(B, C_i, *S / stride_i)``, finest to coarsest.

        Raises:
            ValueError: if the image does not fit the network.
        """
        if not torch.jit.is_scripting():
            image = self.checked(image)
        return self.encoder(image)

    @torch.jit.unused
    def checked(self, image: Tensor) -> Tensor:
        """Refuse an image that does not fit, and take the plain tensor of a ``MetaTensor``.

        Args:
            image: ``(B, C, *S)``.

        Returns:
            The same values: heads must be plain tensors, since MONAI would give them the image's affine.
        """
        if not torch.jit.is_tracing():
            self.encoder.check_input(image)
        return image.as_tensor() if isinstance(image, MetaTensor) else image

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the heads that are on.

        Args:
            image: ``(B, C, *S)``, normalised per channel.

        Returns:
            ``mask``: logits ``(B, R, *S)``; ``tumour``: logits ``(B, K)``; only those that are on.
        """
        maps = self.encode(image)
        result: dict[str, Tensor] = {}
        if self.tumour_on:
            result["tumour"] = self.tumour_head(maps)
        if self.mask_on:
            result["mask"] = self.mask_head(self.decoder(maps))  # the decoder empties the list of maps
        return result

    def forward(self, image: Tensor, masked: Tensor | None = None) -> dict[str, Tensor]:
        """Segment and classify; see ``heads`` for the shapes.

        Args:
            image: ``(B, C, *S)``, normalised per channel.
            masked: ``(B,)`` bool, the samples whose mask is wanted; the decoder is spared for the others, and their
                mask logits are 0. Of a batch without any, the first sample is decoded, so that every parameter has a
                part in every step.
        """
        if masked is None or not self.mask_on or bool(masked.all()):
            return self.heads(image)
        maps = self.encode(image)
        result: dict[str, Tensor] = {}
        if self.tumour_on:
            result["tumour"] = self.tumour_head(maps)
        rows = torch.nonzero(masked).flatten() if bool(masked.any()) else torch.zeros_like(masked[:1], dtype=torch.long)
        some = self.mask_head(self.decoder([level[rows] for level in maps]))
        shape = [image.shape[0]] + list(some.shape[1:])  # noqa: RUF005 - TorchScript knows no unpacking
        result["mask"] = torch.zeros(shape, dtype=some.dtype, device=some.device).index_copy(0, rows, some)
        return result

    def segment(self, image: Tensor) -> Tensor:
        """Logits of the mask alone ``(B, R, *S)``, whatever heads are on."""
        return self.mask_head(self.decoder(self.encode(image)))

    def classify(self, image: Tensor) -> Tensor:
        """Logits of the classes alone ``(B, K)``, whatever heads are on; the decoder is not computed."""
        return self.tumour_head(self.encode(image))

    def pooled_features(self, image: Tensor) -> Tensor:
        """Vector that the classification head sees, ``(B, F)``."""
        return self.tumour_head.pool(self.encode(image))

    def shared_parameters(self) -> list[nn.Parameter]:
        """Weights of the last layer that both heads share, for GradNorm."""
        return list(self.encoder.stages[-1].conv2.parameters())
