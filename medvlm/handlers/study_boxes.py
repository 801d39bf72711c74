"""Boxes that were found in a study, in pixels of the files, with what the captioner says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from medvlm.handlers.caption_evidence import caption_text
from medvlm.handlers.study_evidence import on_file

NOTHING = "no box was asked for; weights of captioning_boxes are asked by the overlay captioning_boxes_inference"
NOTE = (
    "x and y of the left upper corner, width and height in pixels of the view's own frames, x to the right, y down; "
    "frame from 0 as the file numbers them. Every phrase is looked for in every view, whether or not it is there: a "
    "box says where the captioner would place it, score is the mean log-probability of its coordinates, text what the "
    "captioner says of the box."
)


def study_boxes(
    item: Mapping[str, Any], views: Sequence[Mapping[str, Any]], tokenizer: Any, phrases: Sequence[str]
) -> list[dict[str, Any]]:
    """Place the boxes of ``BoxLocator``.

    Args:
        item: a study without a batch dimension: ``pred_box_values`` ``(N, P, 4 or 5)``, ``pred_box_scores`` ``(N, P)``,
            ``pred_box_text_ids`` ``(N, P, L)``.
        views: of each of the N places what ``study_views`` gives.
        tokenizer: of the reports.
        phrases: the P phrases.

    Returns:
        The most certain first: ``view`` (from 1), ``file``, ``angles``, ``phrase``, ``text``, ``score``, with the time
        ``frame`` and ``time_ms``, and ``box`` (``x``, ``y``, ``width``, ``height``; None where all of it lies beside
        the frame). Views that were not read have none.
    """
    values, scores = (torch.as_tensor(item[f"pred_box_{name}"]).float().cpu() for name in ("values", "scores"))
    texts = torch.as_tensor(item["pred_box_text_ids"]).tolist()
    found = []
    for number, view in enumerate(views):
        for place, phrase in enumerate(phrases) if view["read"] else ():
            box = values[number, place].tolist()
            one = {"view": view["view"], "file": view["file"], "angles": view["angles"], "phrase": phrase}
            one |= {"text": caption_text(tokenizer, texts[number][place])}
            one |= {"score": round(float(scores[number, place]), 4)}
            if len(box) == 5:
                frame, time_ms = view["ticks"][min(int(box[0] * len(view["ticks"])), len(view["ticks"]) - 1)]
                one |= {"frame": int(frame), "time_ms": float(time_ms)}
            found.append(one | {"box": pixels(box[-4:], view["place"])})
    return sorted(found, key=lambda one: -one["score"])


def pixels(corners: Sequence[float], place: Sequence[int]) -> dict[str, float] | None:
    """Bring a box from fractions of the network's picture to pixels of the file's frame, cut to the frame.

    Args:
        corners: left, top, right, bottom.
        place: see ``on_file``.
    """
    height, width, *_ = place
    (top, bottom), (left, right) = on_file(place, corners[1::2], corners[::2], (1, 1))
    top, bottom = (min(max(edge, 0.0), height) for edge in (top, bottom))
    left, right = (min(max(edge, 0.0), width) for edge in (left, right))
    if right <= left or bottom <= top:
        return None
    sides = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return {name: round(float(value), 1) for name, value in sides.items()}
