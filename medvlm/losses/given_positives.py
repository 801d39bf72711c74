"""Weights of positives that a data set gives, together with those that follow from equal reports and studies."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlm.losses.gathering import gather_rows, row_counts


def soft_positives(keys: Tensor, case_keys: Tensor, similar_keys: Tensor, similar_weights: Tensor) -> Tensor:
    """How well each text of all processes fits each own image.

    1 for its own text and for every text that shares a key (the same report, the same study); else the given weight
    of the text's case; else 0. The matrix is held whole, unlike the positives that follow from keys alone.

    Args:
        keys: ``(B,)`` or ``(B, G)`` integers of the own samples; 0 matches nothing.
        case_keys: ``(B,)`` integers that name the own samples.
        similar_keys: ``(B, P)``, the cases that are given; 0 = none.
        similar_weights: ``(B, P)`` in 0..1.

    Returns:
        ``(B, N)`` float, N the samples of all processes in the order of their ranks.
    """
    keys, own = keys.reshape(len(keys), -1), case_keys.reshape(-1)
    counts = row_counts(len(keys), keys.device)
    all_keys, names = gather_rows(keys, counts), gather_rows(own[:, None], counts)[:, 0]  # (N, G), (N,)
    shared = ((keys[:, None] == all_keys[None]) & (keys[:, None] != 0)).any(dim=2) | (own[:, None] == names[None])
    given = (similar_keys[:, None] == names[None, :, None]) & (similar_keys[:, None] != 0)  # (B, N, P)
    weights = torch.where(given, similar_weights[:, None].float(), 0.0).amax(dim=2)
    return torch.where(shared, 1.0, weights)
