"""Fill in masked patches of a video."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medvlm.networks.blocks.grid_positions import grid_positions


class MaskedVideoDecoder(nn.Module):
    """Transformer that predicts masked patches from the tokens of the visible ones; for encoders that see only those.

    Visible tokens and mask tokens both get the position of their patch, so that predictions differ by place.

    Args:
        encoder_dim: width of the encoder's tokens.
        output_dim: values P of a patch: frames × rows × columns × channels for pixels, the teacher's width for
            features.
        dim: width; 2 layers of 256 have about 2 M parameters.
        depth: layers.
        heads: heads of the attention.

    Raises:
        ValueError: if ``dim`` is not divisible by ``heads``.

    Reference:
        Tong et al., "VideoMAE", 2022, https://arxiv.org/abs/2203.12602.
    """

    visible_only = True

    def __init__(self, encoder_dim: int, output_dim: int, dim: int = 256, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.layers = transformer_layers(dim, depth, heads)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, output_dim)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, mask: Tensor, grid: Sequence[int]) -> Tensor:
        """Predict the masked patches.

        Args:
            tokens: ``(B, visible patches, encoder_dim)``, without class token, in the order of the grid.
            mask: ``(B, t * h * w)`` bool, true = masked, equally many in each sample.
            grid: ``(t, h, w)``.

        Returns:
            ``(B, masked patches, P)`` in the order of the grid.

        Raises:
            ValueError: if the tokens are not those of the visible patches.
        """
        seen, places = tokens.shape[1], mask.shape[1]
        if places != grid[0] * grid[1] * grid[2] or len(tokens) != len(mask):
            raise ValueError(
                f"mask must be ({len(tokens)}, {grid[0] * grid[1] * grid[2]}) for the grid {tuple(grid)}, got "
                f"{tuple(mask.shape)}."
            )
        if tokens.device.type == "cpu" and bool(((~mask).sum(dim=1) != seen).any()):
            raise ValueError(
                f"the encoder gave {seen} tokens, the mask leaves {(~mask).sum(dim=1).tolist()} visible; leave the "
                "class token out, and mask equally many patches in each sample."
            )
        order = mask.to(torch.uint8).argsort(dim=1, stable=True)  # visible places first, each part in order
        positions = grid_positions(grid, self.mask_token.shape[0], tokens.device).to(tokens.dtype)[order]
        hidden = self.mask_token.to(tokens.dtype).expand(len(tokens), places - seen, -1)
        x = torch.cat([self.project(tokens), hidden], dim=1) + positions  # (B, L, dim)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x[:, seen:]))


class MaskedVideoHead(nn.Module):
    """Predict masked patches from an encoder that has seen mask tokens in their place, such as an MViT.

    One token of the encoder's last grid predicts the whole block of pixels that it stands for. The positions are added
    again, because pooling has mixed them.

    Args:
        encoder_dim: width of the encoder's tokens.
        output_dim: values P of a block; see ``MaskedVideoDecoder``.
        dim: width of the layers.
        depth: layers between; 0 = a linear head.
        heads: heads of their attention.
    """

    visible_only = False

    def __init__(self, encoder_dim: int, output_dim: int, dim: int = 256, depth: int = 1, heads: int = 4) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, dim)
        self.layers = transformer_layers(dim, depth, heads)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, output_dim)

    def forward(self, tokens: Tensor, mask: Tensor, grid: Sequence[int]) -> Tensor:
        """Predict the masked blocks.

        Args:
            tokens: ``(B, t * h * w, encoder_dim)`` of the encoder's last grid, without class token.
            mask: ``(B, t * h * w)`` bool on that grid, true = masked, equally many in each sample.
            grid: ``(t, h, w)``.

        Returns:
            ``(B, masked blocks, P)`` in the order of the grid.

        Raises:
            ValueError: if tokens, mask and grid do not fit each other.
        """
        if tokens.shape[:2] != mask.shape or mask.shape[1] != grid[0] * grid[1] * grid[2]:
            raise ValueError(
                f"tokens and mask must have the {tuple(grid)} places of the grid, got {tuple(tokens.shape)} and "
                f"{tuple(mask.shape)}; leave the class token out."
            )
        x = self.project(tokens)
        x = x + grid_positions(grid, x.shape[2], x.device).to(x.dtype)
        for layer in self.layers:
            x = layer(x)
        return masked_places(self.output(self.norm(x)), mask)


def transformer_layers(dim: int, depth: int, heads: int) -> nn.ModuleList:
    """``depth`` layers of self-attention over tokens ``(B, L, dim)``, normalised first, without dropout.

    Raises:
        ValueError: if ``dim`` is not divisible by ``heads``.
    """
    if heads < 1 or dim % heads:
        raise ValueError(f"dim must be divisible by heads, got dim={dim} and heads={heads}.")
    return nn.ModuleList(
        nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
        for _ in range(depth)
    )


def masked_places(values: Tensor, mask: Tensor) -> Tensor:
    """Take the masked places.

    Args:
        values: ``(B, L, P)``.
        mask: ``(B, L)`` bool with equally many true in each row.

    Returns:
        ``(B, masked, P)`` in their order.

    Raises:
        ValueError: if the rows differ.
    """
    counts = mask.sum(dim=1)
    if bool((counts != counts[0]).any()):
        raise ValueError(f"every sample must have equally many masked places, got {counts.tolist()}.")
    return values[mask.to(values.device)].unflatten(0, (len(mask), int(counts[0])))
