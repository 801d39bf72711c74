"""Boxes that a captioner with box tokens finds of phrases that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class BoxLocator:
    """Look for phrases in every view of a study, and say in words what is in the boxes that were found.

    A captioner always answers: each phrase gets a box in each view, whether or not it is there.

    Args:
        tokenizer: of the reports; ``None`` where none was trained yet, which only a study would notice.
        phrases: what to look for, worded as in the training (``box_phrases`` of captioning_boxes.json).
        max_length: tokens of a phrase, begin and end included, and most tokens of the words for a box.

    Raises:
        ValueError: if there is no phrase, or ``max_length`` is below 3.
    """

    def __init__(self, tokenizer: Any, phrases: Sequence[str], max_length: int = 16) -> None:
        if isinstance(phrases, str) or not phrases or not all(isinstance(p, str) and p.strip() for p in phrases):
            raise ValueError(f"phrases must be a list of texts such as ['stenosis'], got {phrases!r}.")
        if max_length < 3:
            raise ValueError(f"max_length must be at least 3 (begin, one token, end), got {max_length}.")
        self.tokenizer, self.phrases, self.max_length = tokenizer, list(dict.fromkeys(phrases)), max_length

    @torch.no_grad()
    def __call__(
        self,
        network: Any,
        video: Tensor,
        view_mask: Tensor,
        angles: Tensor,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Look in a batch of studies.

        Args:
            network: ``CineTextNet`` whose captioner has box tokens.
            video: ``(B, N, C, T, H, W)``.
            view_mask: ``(B, N)`` bool.
            angles: ``(B, N, 6)``.
            side: further inputs.
            side_known: what of them is known.

        Returns:
            For P phrases ``box_values`` ``(B, N, P, 4 or 5)`` (time where the captioner has it, left, top, right,
            bottom, as fractions of clip and picture), ``box_scores`` ``(B, N, P)`` (mean log-probability of the
            coordinates) and ``box_text_ids`` ``(B, N, P, L)``, what the captioner says of the box; zeros of views that
            are absent, and nothing where all are.

        Raises:
            ValueError: when there is no tokenizer, or the captioner has no box tokens.
        """
        if self.tokenizer is None:
            raise ValueError("phrases need the tokenizer of the weights, and there is none; give its folder.")
        network = getattr(network, "module", network)
        if not view_mask.any():
            return {}
        context, real = network.context(network.encode(video, view_mask, angles), side, side_known)
        batch, views = view_mask.shape
        rows = view_mask.nonzero(as_tuple=True)  # R views that exist
        seen, there = (part.unflatten(1, (views, -1))[rows] for part in (context, real))
        ids, mask = self._phrases(video.device)  # (P, L)
        asked = [part.repeat_interleave(len(ids), dim=0) for part in (seen, there)]  # (R * P, ...)
        words = [part.repeat(len(seen), 1) for part in (ids, mask)]
        captioner = network.captioner
        boxes, scores = captioner.locate(*words, *asked)
        room = captioner.max_length - 2 - boxes.shape[1]
        texts = captioner.describe(boxes, *asked, max_length=max(1, min(self.max_length, room))).ids
        out = {"box_values": boxes, "box_scores": scores / boxes.shape[1], "box_text_ids": texts}
        return {name: self._at(value, rows, (batch, views)) for name, value in out.items()}

    def _at(self, value: Tensor, rows: tuple[Tensor, Tensor], views: tuple[int, int]) -> Tensor:
        """Answers ``(R * P, ...)`` at their views ``(B, N, P, ...)``."""
        whole = value.new_zeros((*views, len(self.phrases), *value.shape[1:]))
        whole[rows] = value.unflatten(0, (-1, len(self.phrases)))
        return whole

    def _phrases(self, device: torch.device) -> tuple[Tensor, Tensor]:
        plain = getattr(self.tokenizer, "plain", self.tokenizer)  # a phrase is no report, to be read in its style
        read = plain(self.phrases, max_length=self.max_length, truncation=True, padding="max_length")
        ids, mask = (torch.as_tensor(read[key], dtype=torch.long) for key in ("input_ids", "attention_mask"))
        return ids.to(device), mask.to(device)
