"""Studies shown in a report: what was retrieved for them, and where the captioner looked, each with a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.data import list_data_collate
from monai.networks.utils import eval_mode

from medvlm.handlers.caption_evidence import CaptionSentence, caption_sentences, sentence_map
from medvlm.metrics.angiography_facts import extract_facts, fact_set
from medvlm.metrics.cine_summary import Study
from medvlm.metrics.retrieval import top_matches, unique_texts
from medvlm.visualize.cine_panels import Look, Tile, contact_sheet, looked_at, tile_row
from medvlm.visualize.numbers import rate

MOST_SENTENCES = 3


def chosen_examples(rows: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """Places of the studies to show: evenly from the best to the worst, so that nobody picks the flattering ones.

    Ordered by the rank of the own report; without retrieval by the share of right facts; of the readable studies with
    a report.

    Args:
        rows: of ``study_rows``.
        count: the most studies.
    """

    def order(place: int) -> tuple[float, int]:
        rank = rows[place].get("rank_video_to_text")
        if rank is None:
            right, *wrong = (rows[place].get(f"facts_{count}_all") or 0 for count in ("right", "extra", "missed"))
            rank = -2 * right / max(2 * right + sum(wrong), 1)
        return float(rank), place

    there = sorted((i for i, row in enumerate(rows) if row["readable"] and row["report_known"]), key=order)
    if len(there) <= count:
        return there
    return [there[i] for i in np.linspace(0, len(there) - 1, count).round().astype(int)]


def retrieved(studies: Sequence[Study], place: int, row: Mapping[str, Any], k: int = 5) -> list[dict[str, Any]]:
    """The reports nearest to a study's video among the different reports of the section; its own one is marked.

    Args:
        studies: all of the section.
        place: of the one that is shown.
        row: its row, for the rank of its own report.
        k: how many; the own report is added behind them where it is not among them.

    Returns:
        ``rank``, ``cosine``, ``text``, ``case_id`` (the first study with this report), ``right``.
    """
    held = [study for study in studies if study.readable]
    first, group = unique_texts([study.report for study in held])
    texts = np.stack([held[index].text for index in first])
    own = int(group[next(i for i, study in enumerate(held) if study is studies[place])])
    index, cosine = top_matches(studies[place].video[None], texts, k)
    found = [
        {
            "rank": float(rank),
            "cosine": float(value),
            "text": held[first[number]].report,
            "case_id": held[first[number]].case_id,
            "right": bool(number == own),
        }
        for rank, (number, value) in enumerate(zip(index[0], cosine[0], strict=True), start=1)
    ]
    if own >= 0 and not any(item["right"] for item in found):
        last = {"rank": row.get("rank_video_to_text"), "cosine": row.get("similarity")}
        found.append(last | {"text": studies[place].report, "case_id": studies[place].case_id, "right": True})
    return found


def found_studies(studies: Sequence[Study], place: int, row: Mapping[str, Any], k: int = 5) -> list[dict[str, Any]]:
    """The studies whose videos lie nearest to a study's report; those with this report are marked.

    Args:
        studies: all of the section.
        place: of the one whose report is the query.
        row: its row, for the rank of the study itself.
        k: how many; the study itself is added behind them where none of them has its report.

    Returns:
        ``rank``, ``cosine``, ``case_id``, ``right``.
    """
    held = [study for study in studies if study.readable]
    _, group = unique_texts([study.report for study in held])
    own = group[next(i for i, study in enumerate(held) if study is studies[place])]
    index, cosine = top_matches(studies[place].text[None], np.stack([study.video for study in held]), k)
    found = [
        {"rank": float(rank), "cosine": float(value), "case_id": held[n].case_id, "right": bool(group[n] == own)}
        for rank, (n, value) in enumerate(zip(index[0], cosine[0], strict=True), start=1)
    ]
    if not any(item["right"] for item in found):
        last = {"rank": row.get("rank_text_to_video"), "cosine": row.get("similarity")}
        found.append(last | {"case_id": studies[place].case_id, "right": True})
    return found


def picture_found(engine: Engine, found: Sequence[Mapping[str, Any]], places: Mapping[str, int]) -> bytes:
    """Show the middle frame of the first view of each study that was found.

    Args:
        engine: the evaluator, from whose dataset they are loaded again.
        found: of ``found_studies``.
        places: case -> place in the dataset.

    Returns:
        A PNG.
    """
    tiles = []
    for entry in found:
        sample = engine.state.dataloader.dataset[places[entry["case_id"]]]
        view = int(torch.nonzero(torch.as_tensor(sample["view_mask"]))[0, 0])
        video = torch.as_tensor(sample["video"])[view, 0].float().numpy()  # (T, H, W)
        rank = f"{entry['rank']:g}" if entry["rank"] is not None else "?"
        label = f"rank {rank}, cosine {rate(entry['cosine'])}" + ("\nits own" if entry["right"] else "")
        tiles.append(Tile(video[len(video) // 2], label, entry["right"]))
    return tile_row(tiles)


def view_labels(batch: Mapping[str, Any], kept: Sequence[int], index: int = 0) -> list[str]:
    """Number, angulation and file of the views that are shown of one study of a batch."""
    files = json.loads(batch["view_files"][index])
    labels = []
    for view in kept:
        lines = [f"view {view + 1}"]
        angle = angle_words(batch["angles"][index][view])
        lines += [angle] if angle else []
        lines += [PurePath(files[view]).name] if files[view] else []
        labels.append("\n".join(lines))
    return labels


def angle_words(features: Any) -> str:
    """C-arm angles as a cardiologist says them, ``LAO 30 CRA 20``; empty where they are unknown.

    Args:
        features: ``(6,)`` sine, cosine, known of the primary, then of the secondary angle.
    """
    words = []
    for part, names in zip(
        np.asarray(features, dtype=float).reshape(2, 3), (("LAO", "RAO"), ("CRA", "CAU")), strict=True
    ):
        if part[2] > 0.5:
            degrees = round(math.degrees(math.atan2(part[0], part[1])))
            words.append(f"{names[degrees < 0]} {abs(degrees)}")
    return " ".join(words)


def telling_sentences(sentences: Sequence[CaptionSentence]) -> list[CaptionSentence]:
    """Sentences with findings first, then those with other facts, then the rest; equal ones once."""

    def order(sentence: CaptionSentence) -> int:
        facts = fact_set(extract_facts(sentence.text))
        found = any(fact.kind == "stenosis" or (fact.kind, fact.value) == ("calcification", "yes") for fact in facts)
        return 0 if found else 1 if facts else 2

    once: dict[str, CaptionSentence] = {}
    for sentence in sentences:
        once.setdefault(sentence.text, sentence)
    return sorted(once.values(), key=order)


def picture_study(engine: Engine, place: int, tokenizer: Any) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Load a study again, and draw its contact sheet and where the captioner looked.

    Args:
        engine: the evaluator, whose dataset, preparation and inferer are used.
        place: of the study in its dataset.
        tokenizer: of the reports.

    Returns:
        ``views`` and, with captions, ``looked``, PNGs; and of each drawn sentence ``text`` and ``views``, the share of
        the captioner's weight that each view got.
    """
    batch = list_data_collate([engine.state.dataloader.dataset[place]])
    kept = torch.nonzero(torch.as_tensor(batch["view_mask"])[0]).flatten().tolist()
    video = torch.as_tensor(batch["video"])[0, kept, 0].float().numpy()  # (N, T, H, W)
    labels = view_labels(batch, kept)
    pictures = {"views": contact_sheet(video, labels)}
    inputs, _, args, kwargs = engine.prepare_batch(batch, engine.state.device, engine.non_blocking)
    with eval_mode(engine.network):
        output = engine.inferer(inputs, engine.network, *args, **kwargs)
    if "caption_attention" not in output:
        return pictures, []
    attention = output["caption_attention"][0].float().cpu().numpy()[:, kept]  # (L, N, t, h, w)
    looks = telling_looks(tokenizer, output["caption_ids"][0].tolist(), attention)
    if looks:
        pictures["looked"] = looked_at(video, labels, looks)
    said = []
    for look in looks:
        shares = look.heat.sum(axis=(1, 2, 3))
        total = max(float(shares.sum()), 1e-12)
        said.append(
            {"text": look.sentence, "views": {str(v + 1): float(s) / total for v, s in zip(kept, shares, strict=True)}}
        )
    return pictures, said


def telling_looks(tokenizer: Any, ids: Sequence[int], attention: np.ndarray) -> list[Look]:
    """Where the captioner looked for the sentences of ``telling_sentences``, the first few.

    What has no word in it is no sentence.

    Args:
        tokenizer: of the reports.
        ids: ``(L,)`` tokens that were written.
        attention: ``(L, N, t, h, w)``.
    """
    sentences = [s for s in caption_sentences(tokenizer, ids) if any(c.isalnum() for c in s.text)]
    return [Look(s.text, sentence_map(attention, s.tokens)) for s in telling_sentences(sentences)[:MOST_SENTENCES]]
