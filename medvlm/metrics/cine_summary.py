"""From evaluated studies to ``evaluation.json``: retrieval, zero-shot, captions, facts, each with n and interval.

A study none of whose views could be read has no part in any score; it is counted, and its reasons are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medvlm.metrics.bert_score import bert_score
from medvlm.metrics.box_scores import box_report
from medvlm.metrics.cine_comparison import compare_runs
from medvlm.metrics.fact_scores import compare_facts
from medvlm.metrics.intervals import interval_entry, weighted_mean
from medvlm.metrics.report_text import text_report
from medvlm.metrics.retrieval import KS, retrieval_report, text_key
from medvlm.metrics.summary import plain
from medvlm.metrics.trivial_reports import NORMAL_REPORT, constant_reports
from medvlm.metrics.zero_shot import zero_shot_report
from medvlm.metrics.zero_shot_tasks import ZeroShotTask

CONSTANT, NEAREST = "constant normal report", "nearest-neighbour report"


@dataclass
class Study:
    """What evaluation knows of one study.

    Attributes:
        case_id: unique.
        patient_id: unit of the intervals.
        study_id: as in the datalist.
        source: data set that it comes from.
        report: the written one; empty where unknown.
        views_read: number of views that could be read.
        problems: file -> why it could not be read; a study without files has its reason under "".
        targets: of the datalist.
        video: ``(E,)`` embedding; None where the network was not trained to align.
        text: ``(E,)`` embedding of the report.
        generated: the captioner's report; None where there is no captioner.
        caption_score: length-normalised log-probability of the generated report.
        nearest: report of the training study whose video is most alike; None without a gallery.
        nearest_case: that study.
        found_boxes: corners ``(K, 4)`` that the captioner found of phrases; None where it was not asked.
        true_boxes: ``(K, 4)`` of the references.
        reference_boxes: how many references the datalist has, those that the network does not see among them.
    """

    case_id: str
    patient_id: str
    study_id: str
    source: str
    report: str
    views_read: int
    problems: dict[str, str] = field(default_factory=dict)
    targets: Mapping[str, Any] = field(default_factory=dict)
    video: np.ndarray | None = None
    text: np.ndarray | None = None
    generated: str | None = None
    caption_score: float | None = None
    nearest: str | None = None
    nearest_case: str | None = None
    found_boxes: list[list[float]] | None = None
    true_boxes: list[list[float]] | None = None
    reference_boxes: int = 0

    @property
    def readable(self) -> bool:
        """Whether any view could be read."""
        return self.views_read > 0

    @property
    def reported(self) -> bool:
        """Whether its report is known."""
        return bool(text_key(self.report))


def summarise_studies(
    studies: Sequence[Study],
    rows: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, ZeroShotTask] | None = None,
    prompts: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    others: Mapping[str, str] | None = None,
    name: str = "this run",
    bert_model: str | None = None,
    ks: Sequence[int] = KS,
    seed: int = 0,
    n_boot: int = 1000,
) -> dict[str, Any]:
    """Everything that ``evaluation.json`` says of a video-text network but where it comes from.

    Args:
        studies: all of the section, the unreadable ones too.
        rows: of ``medvlm.metrics.cine_rows.study_rows``, for the comparison of runs.
        tasks: zero-shot tasks.
        prompts: task -> ``positive`` and ``negative`` embeddings ``(E,)``.
        others: name -> ``cases.csv`` of other runs on the same studies.
        name: of this run.
        bert_model: folder of a model for BERTScore; none: it is left out.
        ks: cut-offs of the retrieval.
        seed: of the bootstrap.
        n_boot: resamples of patients.

    Returns:
        ``n``, ``unreadable``, ``retrieval``, ``zero_shot``, ``captioning``, ``boxes``, ``ablation``, ``seed``,
        ``n_boot``. A part that could not be evaluated has a ``note`` that says why.

    Raises:
        ValueError: there is no study, or a case occurs twice.
    """
    twice = sorted(case for case, times in Counter(study.case_id for study in studies).items() if times > 1)
    if not studies or twice:
        raise ValueError(
            f"every study may occur once, got {twice[:5]} more often."
            if twice
            else "there is no study to evaluate: the section of the datalist is empty."
        )
    draw = {"seed": seed, "n_boot": n_boot}
    found = {
        "n": _counts(studies),
        "unreadable": [{"case_id": s.case_id, "problems": dict(s.problems)} for s in studies if not s.readable],
        "retrieval": _retrieval(studies, ks, draw),
        "zero_shot": _zero_shot(studies, tasks or {}, prompts, draw),
        "captioning": _captioning(studies, bert_model, draw),
        "boxes": _boxes(studies, draw),
        "ablation": compare_runs(rows, others or {}, name, **draw),
    }
    return plain(found | draw)


def _counts(studies: Sequence[Study]) -> dict[str, int]:
    readable = [study for study in studies if study.readable]
    return {
        "studies": len(studies),
        "patients": len({study.patient_id for study in studies}),
        "evaluated": len(readable),
        "unreadable": len(studies) - len(readable),
        "views_read": sum(study.views_read for study in studies),
        "views_unreadable": sum(sum(bool(file) for file in study.problems) for study in studies),
        "without_report": sum(not study.reported for study in readable),
    }


def _retrieval(studies: Sequence[Study], ks: Sequence[int], draw: dict) -> dict[str, Any]:
    if any(study.video is None or study.text is None for study in studies):
        return {"note": "the network was not trained to align videos and reports"}
    if not any(study.readable and study.reported for study in studies):
        return {"note": "no study has both a readable view and a report"}
    return retrieval_report(
        np.stack([study.video for study in studies]),
        np.stack([study.text for study in studies]),
        [study.report for study in studies],
        [study.patient_id for study in studies],
        [study.readable for study in studies],
        ks=ks,
        **draw,
    )


def _zero_shot(studies: Sequence[Study], tasks: Mapping, prompts: Mapping | None, draw: dict) -> dict[str, Any]:
    readable = [study for study in studies if study.readable]
    if not tasks or prompts is None:
        return {"note": "no prompts were given" if not tasks else "the network was not trained to align texts"}
    if not readable:
        return {"note": "no study has a readable view"}
    reports = zero_shot_report(
        np.stack([study.video for study in readable]),
        prompts,
        {name: [task.truth(study.targets) for study in readable] for name, task in tasks.items()},
        [study.patient_id for study in readable],
        **draw,
    )
    for name, report in reports.items():
        report["target"] = tasks[name].target
        report["prompts"] = {side: list(words) for side, words in tasks[name].prompts.items()}
    return {"tasks": reports}


def _captioning(studies: Sequence[Study], bert_model: str | None, draw: dict) -> dict[str, Any]:
    scored = [study for study in studies if study.readable and study.reported]
    if all(study.generated is None for study in studies):
        return {"note": "the network was not trained to write reports"}
    if not scored:
        return {"note": "no study has both a readable view and a report"}
    written, patients = [study.report for study in scored], [study.patient_id for study in scored]
    reports = {
        "network": [study.generated or "" for study in scored],
        CONSTANT: constant_reports(len(scored), NORMAL_REPORT),
    }
    found: dict[str, Any] = {"constant": NORMAL_REPORT}
    if all(study.nearest is not None for study in scored):
        reports[NEAREST] = [str(study.nearest) for study in scored]
    else:
        found["nearest_note"] = "no nearest-neighbour report: there is no gallery of training studies, or no alignment"
    texts = {name: text_report(said, written, patients, **draw) for name, said in reports.items()}
    if bert_model:
        for name, said in reports.items():
            texts[name]["bert_score"] = _bert(said, written, bert_model, patients, draw)
    return found | {"texts": texts, "facts": compare_facts(reports, written, patients, **draw)}


def _boxes(studies: Sequence[Study], draw: dict) -> dict[str, Any]:
    if all(study.found_boxes is None for study in studies):
        return {"note": "the network was not trained to locate phrases"}
    n = {"n_reference": sum(study.reference_boxes for study in studies)}
    pairs = [
        (found, true, study.patient_id)
        for study in studies
        for found, true in zip(study.found_boxes or (), study.true_boxes or (), strict=True)
    ]
    if not pairs:
        return n | {"n": 0, "note": "no study has a reference box in a view and a frame that the network sees"}
    found, true, patients = zip(*pairs, strict=True)
    return n | box_report(np.array(found), np.array(true), patients, **draw)


def _bert(said: list[str], written: list[str], model: str, patients: list[str], draw: dict) -> dict[str, Any]:
    entries = {}
    for name, values in bert_score(said, written, model).items():
        entries[name] = {"value": float(values.mean()), **interval_entry(weighted_mean(values), patients, **draw)}
    return entries
