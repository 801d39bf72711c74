"""The two box tasks of LocCa on a batch of studies: which view, which sequences, and what they are to predict."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from medvlm.networks.decoders.captioner import Captioner

KEYS = ("box_values", "box_known", "box_views", "phrase_ids", "phrase_mask")


def box_tasks(
    captioner: Captioner, context: Tensor, real: Tensor, view_mask: Tensor, boxes: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Predict the place of each phrase (referring expression) and the phrase of each place (grounded captioning).

    Each box is looked for in the tokens of its own view alone. Boxes that are not known, or whose view is absent, are
    not computed; where there is none, one sequence without a target stands for them, so that gradients exist.

    Args:
        captioner: one with box tokens.
        context: ``(B, N * L, D)``, the tokens of all views, those of a view next to each other.
        real: ``(B, N * L)`` bool, which of them exist.
        view_mask: ``(B, N)`` bool.
        boxes: ``box_values`` ``(B, M, 5)`` fractions: time, left, top, right, bottom; ``box_known`` ``(B, M)``;
            ``box_views`` ``(B, M)`` int64, below N; ``phrase_ids`` and ``phrase_mask`` ``(B, M, P)``.

    Returns:
        ``box_logits`` ``(R, S - 1, V)``, which predict tokens 1 to S - 1 of ``box_ids`` ``(R, S)`` where
        ``box_target_mask`` ``(R, S)`` is 1: R = twice the boxes, first the places of phrases, then the phrases.

    Raises:
        ValueError: if a tensor is missing, or a shape does not fit.
    """
    missing = [key for key in KEYS if key not in boxes]
    batch, views = view_mask.shape
    if missing or boxes["box_values"].shape[:2] != boxes["phrase_ids"].shape[:2] or len(boxes["box_known"]) != batch:
        raise ValueError(
            f"boxes of {batch} studies need {KEYS}, got "
            f"{ {key: tuple(value.shape) for key, value in boxes.items()} }; Boxesd gives them."
        )
    view = boxes["box_views"].long().clamp(0, views - 1)  # (B, M)
    known = boxes["box_known"].bool() & view_mask.gather(1, view)
    rows, places = known.nonzero(as_tuple=True)
    if not len(rows):
        rows = places = torch.zeros(1, dtype=torch.long, device=known.device)
    own = (rows, view[rows, places])
    values, ids, shown = (boxes[key][rows, places] for key in ("box_values", "phrase_ids", "phrase_mask"))
    tokens = captioner.boxes
    given = (ids.long(), shown.long(), values[:, -tokens.coordinates :], known[rows, places])
    refer, ground = tokens.referring(*given), tokens.grounded(*given)
    sequences = []
    for name, fill in (("input_ids", tokens.pad_id), ("attention_mask", 0), ("target_mask", 0)):
        first, second = getattr(refer, name), getattr(ground, name)
        longer = max(first.shape[1], second.shape[1])
        sequences.append(
            torch.cat([functional.pad(part, (0, longer - part.shape[1]), value=fill) for part in (first, second)])
        )
    sequence, attended, target = sequences  # (R, S)
    if sequence.shape[1] - 1 > captioner.max_length:
        raise ValueError(
            f"a phrase of {ids.shape[1]} tokens and its box are {sequence.shape[1] - 1} tokens, the captioner reads at "
            f"most {captioner.max_length}; lower max_length of Boxesd, or raise the captioner's."
        )
    seen = context.unflatten(1, (views, -1))[own].repeat(2, 1, 1)  # (R, L, D)
    there = real.unflatten(1, (views, -1))[own].repeat(2, 1)
    logits = captioner(sequence[:, :-1], attended[:, :-1], seen, there, parallel=False)
    return {"box_logits": logits, "box_ids": sequence, "box_target_mask": target}
