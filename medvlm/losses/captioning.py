"""Loss of the next word of a report."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from medvlm.losses.distances import single

IGNORED = -100


def next_tokens(input_ids: Tensor, attention_mask: Tensor, known: Tensor | None = None) -> Tensor:
    """The token that each position is to predict: the one after it.

    Padding is told by the mask, not by its number: where a vocabulary pads with its end token, the end of the report is
    still learnt.

    Args:
        input_ids: ``(B, L)`` with begin and end tokens.
        attention_mask: ``(B, L)``, 0 where padded.
        known: ``(B,)``; reports that are False have nothing to predict.

    Returns:
        ``(B, L - 1)`` long, ``IGNORED`` where nothing is to be predicted.

    Raises:
        ValueError: when the shapes do not fit.
    """
    if input_ids.ndim != 2 or input_ids.shape != attention_mask.shape:
        raise ValueError(
            f"input_ids and attention_mask must both be (B, L), got {tuple(input_ids.shape)} and "
            f"{tuple(attention_mask.shape)}; Tokenised gives both."
        )
    targets = input_ids[:, 1:].long()
    targets = targets.masked_fill(attention_mask[:, 1:].to(targets.device) == 0, IGNORED)
    if known is not None:
        targets = targets.masked_fill(known.to(targets.device).reshape(-1, 1) <= 0, IGNORED)
    return targets


class CaptioningLoss(nn.Module):
    """Cross-entropy of tokens with label smoothing, averaged over the tokens that are not ignored.

    A token costs (1 − ε) · −log p_target + ε · mean over the vocabulary of −log p.

    Args:
        label_smoothing: ε, 0..1.
        ignore_index: target that costs nothing.

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture", 2016, https://arxiv.org/abs/1512.00567.
    """

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int = IGNORED) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}; 0.1 is usual.")
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index

    def per_token(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each token that counts, ``(n,)``; arguments as in ``forward``."""
        if logits.shape[:-1] != targets.shape:
            raise ValueError(
                f"logits (B, L, V) and targets (B, L) must have the same tokens, got {tuple(logits.shape)} and "
                f"{tuple(targets.shape)}; logits of L input tokens predict the next L - 1: leave the last out."
            )
        kept = targets != self.ignore_index
        return functional.cross_entropy(
            single(logits[kept]), targets[kept], reduction="none", label_smoothing=self.label_smoothing
        )

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compare logits with tokens.

        Args:
            logits: ``(B, L, V)``.
            targets: ``(B, L)``, see :func:`next_tokens`.

        Returns:
            A scalar; 0, with a gradient, when every token is ignored.
        """
        losses = self.per_token(logits, targets)
        return losses.sum() / max(1, losses.numel()) if losses.numel() else logits.sum() * 0.0
