"""The views of a study: which were read, at which angles, why others were not, and what the network gave each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from medvlm.handlers.cine_examples import angle_words

WEIGHTS = {
    "pred_view_similarity": "similarity",
    "pred_probe_attention": "probe_attention",
}
"""Keys of a study's output with one number a view, and what they are called in the results."""


def study_views(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is known of each place for a view.

    Args:
        item: a study after ``LoadCined`` and ``ResampleCined`` and, where it was inferred, the outputs ``WEIGHTS`` and
            ``pred_caption_attention`` ``(L, N, t, h, w)``.

    Returns:
        N dictionaries: ``view`` (from 1), ``file``, ``read``, ``problem``, ``notes``, ``angles``, ``ticks``, ``place``,
        and of those that were read ``caption_attention`` (share of the report's attention), ``similarity`` (cosine of
        the view's own embedding with the study's) and ``probe_attention``, as far as they exist.
    """
    names = ("view_files", "view_problems", "view_notes", "view_ticks", "view_places")
    rows = zip(*(json.loads(item[name]) for name in names), strict=True)
    mask, angles = torch.as_tensor(item["view_mask"]).tolist(), torch.as_tensor(item["angles"])
    shares = {words: _array(item[key]) for key, words in WEIGHTS.items() if key in item}
    if "pred_caption_attention" in item:
        looked = _array(item["pred_caption_attention"]).sum(axis=(0, 2, 3, 4))
        shares["caption_attention"] = looked / max(float(looked.sum()), 1e-12)
    views = []
    for number, (file, problem, notes, ticks, place) in enumerate(rows):
        view = {"view": number + 1, "file": file, "read": bool(mask[number]), "problem": problem, "notes": notes}
        view |= {"angles": angle_words(angles[number]), "ticks": ticks, "place": place}
        if view["read"]:
            view |= {words: round(float(values[number]), 4) for words, values in shares.items()}
        views.append(view)
    return views


def told(views: list[dict[str, Any]], skipped: str = "{}") -> list[dict[str, Any]]:
    """The views as results show them: without empty places, with how many frames were seen, and those left out."""
    shown = []
    for view in views:
        if view["file"] or view["problem"]:
            seen = sorted({int(frame) for frame, _ in view["ticks"]})
            frames = {"frames_seen": len(seen), "first_frame": seen[0], "last_frame": seen[-1]} if seen else {}
            shown.append({key: value for key, value in view.items() if key not in ("ticks", "place")} | frames)
    for file, why in json.loads(skipped or "{}").items():
        shown.append({"view": None, "file": file, "read": False, "problem": why})
    return shown


def _array(value: Any) -> np.ndarray:
    return torch.as_tensor(value).detach().float().cpu().numpy()
