"""Boxes that a captioner with box tokens finds of phrases whose boxes are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def located(network: Any, video: Tensor, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Ask a ``CineTextNet`` for the places of the known phrases of a batch, each in its own view.

    Args:
        network: with box tokens.
        video: ``(B, N, C, T, H, W)``.
        inputs: of ``PrepareCineBatch`` with the objective ``boxes``: M boxes a study.

    Returns:
        Corners ``(B, M, 4)`` that were found (left, top, right, bottom as fractions of the picture), zeros where a box
        is not known or its view absent; and ``(B, M)`` bool, where it is known.
    """
    boxes, mask = inputs["boxes"], inputs["view_mask"]
    features = network.encode(video, mask, inputs["angles"])
    context, real = network.context(features, inputs.get("side"), inputs.get("side_known"))
    view = boxes["box_views"].clamp(0, mask.shape[1] - 1)  # (B, M)
    known = boxes["box_known"].bool() & mask.gather(1, view)
    rows, places = known.nonzero(as_tuple=True)
    corners = boxes["box_values"].new_zeros((*known.shape, 4))
    if len(rows):
        own = (rows, view[rows, places])
        seen, there = (part.unflatten(1, (mask.shape[1], -1))[own] for part in (context, real))
        phrases = (boxes[key][rows, places] for key in ("phrase_ids", "phrase_mask"))
        found, _ = network.captioner.locate(*phrases, seen, there)
        corners[rows, places] = found[:, -4:].to(corners)
    return corners, known
