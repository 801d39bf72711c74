"""One row a study: what the comparison of runs, the report and the CSV read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medvlm.metrics.fact_scores import GROUPS, fact_counts, facts_of, made_up
from medvlm.metrics.retrieval import unique_texts
from medvlm.metrics.tied_ranks import CosineSimilarity, scores, tied_ranks
from medvlm.metrics.zero_shot import zero_shot_probabilities

if TYPE_CHECKING:
    from medvlm.metrics.cine_summary import Study
    from medvlm.metrics.zero_shot_tasks import ZeroShotTask

WAYS = ("video_to_text", "text_to_video")
COUNTS = ("right", "extra", "missed")


def study_rows(
    studies: Sequence[Study],
    tasks: Mapping[str, ZeroShotTask] | None = None,
    prompts: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    scale: float = 10.0,
) -> list[dict[str, Any]]:
    """Make the rows of ``cases.csv``.

    Args:
        studies: all of the section.
        tasks: zero-shot tasks.
        prompts: task -> ``positive`` and ``negative`` embeddings ``(E,)``.
        scale: of the cosines in the zero-shot probabilities, the network's temperature.

    Returns:
        In the order of the studies: who it is, ``readable``, the number of views, ``hit@1``, ``mrr`` and ``rank`` of
        both ways and the ``similarity`` with the own report, ``zero_shot_TASK`` and ``target_TASK``,
        ``facts_right_GROUP`` ... and ``findings_said``, ``findings_made_up``, the texts, and ``view_problems``. A value
        that is not known or not defined is None; an unreadable study has no scores.
    """
    columns = _retrieval_columns(studies) | _zero_shot_columns(studies, tasks or {}, prompts, scale)
    columns |= _fact_columns(studies)
    rows = []
    for index, study in enumerate(studies):
        row = {
            "case_id": study.case_id,
            "patient_id": study.patient_id,
            "source": study.source,
            "study_id": study.study_id,
            "readable": int(study.readable),
            "views_read": study.views_read,
            "views_unreadable": sum(bool(file) for file in study.problems),
            "report_known": int(study.reported),
        }
        row |= {name: values[index] for name, values in columns.items()}
        row |= {
            "caption_score": study.caption_score,
            "generated": study.generated,
            "reference": study.report or None,
            "nearest_case": study.nearest_case,
            "nearest_report": study.nearest,
            "view_problems": json.dumps(study.problems) if study.problems else None,
        }
        rows.append(row)
    return rows


def _retrieval_columns(studies: Sequence[Study]) -> dict[str, list]:
    known = [i for i, s in enumerate(studies) if s.readable and s.reported and s.video is not None]
    known = [i for i in known if studies[i].text is not None]
    if not known:
        return {}
    readable = [i for i, s in enumerate(studies) if s.readable]
    videos = np.stack([studies[i].video for i in readable])
    first, group = unique_texts([studies[i].report for i in readable])
    texts = np.stack([studies[readable[i]].text for i in first])
    holders = [np.flatnonzero(group == number).tolist() for number in range(len(first))]
    own = [[number] if number >= 0 else [] for number in group.tolist()]
    ways = {
        "video_to_text": (CosineSimilarity(videos, texts), own, np.arange(len(readable))),
        "text_to_video": (CosineSimilarity(texts, videos), holders, group),
    }
    columns: dict[str, list] = {}
    for way, (similarity, relevant, query) in ways.items():
        found = scores(tied_ranks(similarity, relevant), (1,))
        for name, key in (("rank", "first_rank"), ("hit@1", "hit@1"), ("mrr", "mrr")):
            columns[f"{name}_{way}"] = column = [None] * len(studies)
            for place, index in enumerate(readable):
                if group[place] >= 0:
                    column[index] = float(found[key][query[place]])
    columns["similarity"] = similar = [None] * len(studies)
    for index in known:
        a, b = (np.asarray(v, dtype=np.float64) for v in (studies[index].video, studies[index].text))
        similar[index] = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return columns


def _zero_shot_columns(
    studies: Sequence[Study], tasks: Mapping, prompts: Mapping | None, scale: float
) -> dict[str, list]:
    columns: dict[str, list] = {}
    if prompts is None:
        return columns
    for name, task in tasks.items():
        sides = np.stack([prompts[name]["negative"], prompts[name]["positive"]])
        columns[f"target_{name}"] = [task.truth(study.targets) for study in studies]
        columns[f"zero_shot_{name}"] = [
            float(zero_shot_probabilities(study.video[None], sides, scale)[0, 1])
            if study.readable and study.video is not None
            else None
            for study in studies
        ]
    return columns


def _fact_columns(studies: Sequence[Study]) -> dict[str, list]:
    scored = [i for i, s in enumerate(studies) if s.readable and s.reported and s.generated is not None]
    if not scored:
        return {}
    said, meant = (facts_of([getattr(studies[index], which) for index in scored]) for which in ("generated", "report"))
    names = [f"facts_{count}_{group}" for group in GROUPS for count in COUNTS]
    columns: dict[str, list] = {name: [None] * len(studies) for name in (*names, "findings_said", "findings_made_up")}
    for group in GROUPS:
        for index, counts in zip(scored, fact_counts(said, meant, group), strict=True):
            for count, value in zip(COUNTS, counts, strict=True):
                columns[f"facts_{count}_{group}"][index] = int(value)
    for index, a, b in zip(scored, said, meant, strict=True):
        columns["findings_said"][index], columns["findings_made_up"][index] = made_up(a, b)
    return columns
