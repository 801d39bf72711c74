"""A small convolutional text encoder: learns phrases from some hundred reports, where a transformer needs thousands."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvlm.networks.blocks.pooling import masked_max
from medvlm.networks.blocks.tokenizer_binding import TokenizerBound


class TextConvEncoder(TokenizerBound):
    """Look for phrases of some widths anywhere in a text, and keep the strongest answer to each.

    A report is mostly set phrases of what is normal, in which the one sentence of a lesion drowns when all tokens are
    averaged; the maximum over the tokens keeps it. In training a share of the words is left out, so that single words
    (which report it is) weigh less than phrases (what it says).

    Args:
        vocab_size: tokens of the vocabulary.
        embed_dim: width D of the output.
        token_dim: width of a token's embedding.
        widths: tokens that a phrase spans, odd numbers; the answers of all widths are added.
        token_dropout: share of the tokens that training leaves out, from 0 to below 1.
        max_length: most tokens of a text.

    Attributes:
        embed_dim: width D of the pooled output.
        vocab_size: tokens of the vocabulary.
        max_length: most tokens of a text.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Kim, Y., "Convolutional Neural Networks for Sentence Classification", 2014, https://arxiv.org/abs/1408.5882.
        Deviation: the answers of the widths are added, not joined.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int = 128,
        token_dim: int = 64,
        widths: Sequence[int] = (1, 5, 9),
        token_dropout: float = 0.3,
        max_length: int = 512,
    ) -> None:
        super().__init__()
        if not widths or any(width < 1 or width % 2 == 0 for width in widths):
            raise ValueError(f"widths must be odd numbers of tokens, got {tuple(widths)}; (1, 5, 9) is usual.")
        if not 0 <= token_dropout < 1:
            raise ValueError(f"token_dropout is a share from 0 to below 1, got {token_dropout}.")
        if min(vocab_size, embed_dim, token_dim, max_length) < 1:
            raise ValueError(
                f"vocab_size, embed_dim, token_dim and max_length must be at least 1, got {vocab_size}, {embed_dim}, "
                f"{token_dim} and {max_length}."
            )
        self.vocab_size, self.embed_dim, self.max_length = vocab_size, embed_dim, max_length
        self.token_dropout = token_dropout
        self.embedding = nn.Embedding(vocab_size, token_dim)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.phrases = nn.ModuleList(nn.Conv1d(token_dim, embed_dim, width, padding=width // 2) for width in widths)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Encode texts.

        Args:
            input_ids: ``(B, L)`` int64.
            attention_mask: ``(B, L)``, 1 = real token, 0 = padding; none = all real.

        Returns:
            ``tokens``: ``(B, L, D)``; ``pooled``: ``(B, D)``, a text without any real token gives zeros.

        Raises:
            ValueError: if a text is too long.
        """
        if input_ids.shape[1] > self.max_length:
            raise ValueError(
                f"the text encoder reads at most {self.max_length} tokens, got {input_ids.shape[1]}; set max_length of "
                "the tokenising transform to that or less."
            )
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        real = real.bool()
        seen = real
        if self.training and self.token_dropout:
            seen = real & (torch.rand(real.shape, device=real.device) >= self.token_dropout)
        words = self.embedding(input_ids) * seen[..., None]  # (B, L, token_dim)
        words = words.transpose(1, 2)  # (B, token_dim, L)
        answers = functional.gelu(sum(phrase(words) for phrase in self.phrases))  # (B, D, L)
        tokens = answers.transpose(1, 2)  # (B, L, D)
        return {"tokens": tokens, "pooled": masked_max(tokens, real)[0]}
