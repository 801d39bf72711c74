"""Boxes as words: quantised coordinates, and the sequences of the two box tasks of LocCa."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BoxSequence:
    """Tokens of a box task.

    Attributes:
        input_ids: ``(B, L)``.
        attention_mask: ``(B, L)`` int64, 1 = real.
        target_mask: ``(B, L)`` int64, 1 = a token that is to be predicted; give it to a captioning loss in place of
            the attention mask. All 0 in a row whose box or text is not known.
    """

    input_ids: Tensor
    attention_mask: Tensor
    target_mask: Tensor


class BoxTokens:
    """Tokens of coordinates, numbered after those of the tokenizer, and the sequences that are written with them.

    Referring expression: ``text REFER c c c c c EOS``, where the coordinates are predicted from the text. Grounded
    captioning: ``BOS GROUND c c c c c text``, where the text is predicted from the coordinates. A box lies in one view:
    give the tokens of that view alone as context (the others false in ``context_mask``).

    Args:
        vocab_size: tokens of the tokenizer.
        bins: steps of a coordinate.
        bos_id: token that a text begins with.
        eos_id: token that a text ends with.
        pad_id: padding.
        coordinates: numbers of a box; 5 = time, x0, y0, x1, y1 as fractions of the view's duration and sides, 4 = the
            corners alone.

    Attributes:
        size: how many tokens these are: two tasks and the bins.
        refer_id: begins the coordinates that belong to a text.
        ground_id: begins the coordinates that a text is to be written for.
        first: token of the lowest bin.

    Raises:
        ValueError: if ``bins`` or ``coordinates`` is out of its range.

    Reference:
        Wan et al., "LocCa: Visual Pretraining with Location-aware Captioners", 2024,
        https://arxiv.org/abs/2403.19596. Deviation: what is given is not predicted too.
    """

    def __init__(self, vocab_size: int, bins: int, bos_id: int, eos_id: int, pad_id: int, coordinates: int = 5) -> None:
        if bins < 2:
            raise ValueError(f"bins must be at least 2, got {bins}; LocCa has 500.")
        if coordinates not in (4, 5):
            raise ValueError(f"coordinates must be 4 (x0, y0, x1, y1) or 5 (with the time first), got {coordinates}.")
        self.bins, self.coordinates = int(bins), int(coordinates)
        self.bos_id, self.eos_id, self.pad_id = int(bos_id), int(eos_id), int(pad_id)
        self.refer_id, self.ground_id, self.first = vocab_size, vocab_size + 1, vocab_size + 2
        self.size = self.bins + 2

    def encode(self, boxes: Tensor) -> Tensor:
        """Tokens ``(B, coordinates)`` of boxes ``(B, coordinates)`` in fractions, cut to 0..1.

        Raises:
            ValueError: if the number of coordinates is another.
        """
        if boxes.ndim != 2 or boxes.shape[1] != self.coordinates:
            raise ValueError(f"boxes must be (B, {self.coordinates}) fractions, got {tuple(boxes.shape)}.")
        steps = (boxes.nan_to_num(0.0).clamp(0, 1) * self.bins).long().clamp_max(self.bins - 1)
        return steps + self.first

    def decode(self, tokens: Tensor) -> Tensor:
        """Boxes ``(B, coordinates)`` at the middle of the bins of tokens ``(B, coordinates)``; corners in order."""
        fractions = ((tokens - self.first).clamp(0, self.bins - 1).float() + 0.5) / self.bins
        time, corners = fractions[:, :-4], fractions[:, -4:].unflatten(1, (2, 2))
        low, high = corners.amin(dim=1), corners.amax(dim=1)
        return torch.cat([time, low, high], dim=1)

    def referring_prompt(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and mask ``(B, L + 1)`` after which the coordinates follow; arguments as in ``referring``."""
        task = torch.full_like(input_ids[:, :1], self.refer_id)
        mask = attention_mask.long()
        return torch.cat([input_ids, task], dim=1), torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)

    def grounded_prompt(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and mask ``(B, 2 + coordinates)`` after which the text follows."""
        tokens = self.encode(boxes)
        first = tokens.new_tensor([self.bos_id, self.ground_id]).expand(len(tokens), -1)
        prompt = torch.cat([first, tokens], dim=1)
        return prompt, torch.ones_like(prompt)

    def referring(
        self, input_ids: Tensor, attention_mask: Tensor, boxes: Tensor, known: Tensor | None = None
    ) -> BoxSequence:
        """Sequences that learn a text's box.

        Args:
            input_ids: ``(B, L)`` from BOS to EOS, padded.
            attention_mask: ``(B, L)``.
            boxes: ``(B, coordinates)`` in fractions; any value where not known.
            known: ``(B,)``, whether the box is; none = all.

        Returns:
            ``L + 2 + coordinates`` tokens.
        """
        prompt, mask = self.referring_prompt(input_ids, attention_mask)
        tokens = self.encode(boxes)
        end = torch.full_like(tokens[:, :1], self.eos_id)
        answer = torch.cat([tokens, end], dim=1)
        real = torch.cat([mask, torch.ones_like(answer)], dim=1)
        target = torch.cat([torch.zeros_like(mask), torch.ones_like(answer)], dim=1)
        return BoxSequence(torch.cat([prompt, answer], dim=1), real, only_known(target, known))

    def grounded(
        self, input_ids: Tensor, attention_mask: Tensor, boxes: Tensor, known: Tensor | None = None
    ) -> BoxSequence:
        """Sequences that learn a box's text; arguments as in ``referring``, ``L + 1 + coordinates`` tokens."""
        prompt, mask = self.grounded_prompt(boxes)
        answer, real = input_ids[:, 1:], attention_mask[:, 1:].long()
        target = torch.cat([torch.zeros_like(mask), real], dim=1)
        ids = torch.cat([prompt, answer], dim=1)
        return BoxSequence(ids, torch.cat([mask, real], dim=1), only_known(target, known))


def only_known(target: Tensor, known: Tensor | None) -> Tensor:
    """``target`` ``(B, L)`` with zeros in the rows that are not ``known`` ``(B,)``."""
    return target if known is None else target * known.to(target.device).bool().long()[:, None]
