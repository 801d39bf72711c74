"""Where in a study each sentence of a generated report comes from: view, frame, time, and a box on the frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from medvlm.handlers.caption_evidence import caption_sentences, sentence_map

INSIDE = 0.5
"""Cells at least this far on the way from the frame's mean to the strongest cell, and joined to it, make the box."""

STANDS_OUT = 1.5
"""How many times the mean of its frame the strongest cell must have for a place to be named: else there is no box."""


def sentence_evidence(
    tokenizer: Any, ids: Sequence[int], attention: np.ndarray, views: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Find the evidence of each sentence.

    Args:
        tokenizer: of the report.
        ids: ``(L,)`` generated tokens.
        attention: ``(L, N, t, h, w)``, as ``CineTextNet.caption`` gives it.
        views: of each of the N places what ``study_views`` gives.

    Returns:
        By sentence: ``sentence``; of the view with most attention ``view`` (from 1), ``file``, ``angles``; of its
        frame with most attention ``frame`` (from 0, as the file numbers them), ``time_ms``, ``peak`` (its strongest
        cell over the mean of its cells) and ``box`` (``x``, ``y``, ``width``, ``height`` in pixels of the file; None
        where no place stands out, ``peak`` below ``STANDS_OUT``); ``weight`` (share of the sentence's attention in
        that view), ``even`` (what it would be were all readable views looked at alike), ``frame_weight`` (share in
        that frame) and ``views`` (share of each readable view). Where nothing was looked at, only the sentence. What
        holds no letter and no digit is no sentence.
    """
    found = []
    for sentence in caption_sentences(tokenizer, ids):
        if not any(character.isalnum() for character in sentence.text):
            continue
        heat = sentence_map(attention, sentence.tokens)  # (N, t, h, w)
        found.append({"sentence": sentence.text, **place_of(heat, views), "heat": heat})
    return found


def place_of(heat: np.ndarray, views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Name the view, the frame and the box of a map ``(N, t, h, w)``; empty where it is zero everywhere."""
    total = float(heat.sum())
    if not total > 0:
        return {}
    shares = heat.sum(axis=(1, 2, 3)) / total  # (N,)
    view = int(shares.argmax())
    step = int(heat[view].sum(axis=(1, 2)).argmax())
    known, readable = views[view], [index for index, one in enumerate(views) if one["read"]]
    tick = clip_frame(step, heat.shape[1], len(known["ticks"]))
    frame, time_ms = known["ticks"][tick]
    peak = float(heat[view, step].max() / heat[view, step].mean())
    return {
        "view": view + 1,
        "file": known["file"],
        "angles": known["angles"],
        "frame": int(frame),
        "time_ms": float(time_ms),
        "step": step,
        "peak": round(peak, 2),
        "box": attention_box(heat[view, step], known["place"]) if peak >= STANDS_OUT else None,
        "weight": round(float(shares[view]), 4),
        "even": round(1 / len(readable), 4),
        "frame_weight": round(float(heat[view, step].sum()) / total, 4),
        "views": {str(index + 1): round(float(shares[index]), 4) for index in readable},
    }


def clip_frame(step: int, steps: int, frames: int) -> int:
    """The middle frame of a clip of ``frames`` that step ``step`` of ``steps`` of the encoder's tokens stands for."""
    return min(int((step + 0.5) * frames / steps), frames - 1)


def on_file(place: Sequence[int], rows: Sequence[float], columns: Sequence[float], cells: tuple[int, int]) -> tuple:
    """Bring edges of cells of the network's picture to pixels of the file, outside of the frame where padding is.

    Args:
        place: rows and columns of the file's frame, and where it lies in the picture: top, bottom, left, right.
        rows: edges in cells from the top.
        columns: edges in cells from the left.
        cells: rows and columns of the map.

    Returns:
        Row and column edges in pixels of the file.
    """
    height, width, top, bottom, left, right = place
    tall, wide = bottom + top, right + left  # the frame lies in the middle of a picture of this size
    down = [(edge * tall / cells[0] - top) * height / (bottom - top) for edge in rows]
    along = [(edge * wide / cells[1] - left) * width / (right - left) for edge in columns]
    return down, along


def attention_box(heat: np.ndarray, place: Sequence[int]) -> dict[str, int]:
    """The box around the strongest cell and its neighbours of a map ``(h, w)``, in pixels of the file.

    Args:
        heat: not negative, somewhere above zero.
        place: see ``on_file``.
    """
    mean, peak = float(heat.mean()), float(heat.max())
    labels, _ = ndimage.label(heat >= mean + INSIDE * (peak - mean))
    rows, columns = np.nonzero(labels == labels[np.unravel_index(heat.argmax(), heat.shape)])
    down, along = on_file(
        place, (rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1), (heat.shape[0], heat.shape[1])
    )
    y0, y1 = (int(round(min(max(edge, 0), place[0]))) for edge in down)
    x0, x1 = (int(round(min(max(edge, 0), place[1]))) for edge in along)
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
