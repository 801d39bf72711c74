"""What a prediction says of a study, gathered: report with evidence, retrieved reports, heads, views."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from medvlm.handlers.caption_evidence import caption_text
from medvlm.handlers.case_files import sha256_of
from medvlm.handlers.report_agreement import disagreements
from medvlm.handlers.study_boxes import NOTE, NOTHING, study_boxes
from medvlm.handlers.study_evidence import sentence_evidence
from medvlm.handlers.study_heads import LEVEL, METHOD, check_head_words, head_answers, head_words, read_points
from medvlm.handlers.study_views import study_views, told


class StudyResultd(Transform):
    """Set ``result`` of a study from the outputs of ``StudyInferer``, for the writer, for Python and for servers.

    Args:
        tokenizer: of the reports; ``None`` where none was trained yet, which only a study would notice.
        index: ``StudyIndex`` that similar reports are looked for in; none: nothing is retrieved.
        top_k: how many are retrieved.
        probe: ``OptionalProbe``, which knows its heads and its weights; none: no heads.
        operating_points: file of the frozen thresholds.
        class_names: of multiclass heads.
        units: of regression heads.
        threshold_settings: in use, those that must be the ones under which the frozen thresholds were chosen.
        locator: ``BoxLocator``, which knows its phrases; none: no boxes.

    Raises:
        ValueError: ``top_k`` is negative, or names of classes or units do not fit the probe's heads.
    """

    def __init__(
        self,
        tokenizer: Any = None,
        index: Any = None,
        top_k: int = 5,
        probe: Any = None,
        operating_points: str | Path = "",
        class_names: Mapping[str, Sequence[str]] | None = None,
        units: Mapping[str, str] | None = None,
        threshold_settings: Mapping[str, Any] | None = None,
        locator: Any = None,
    ) -> None:
        if top_k < 0:
            raise ValueError(f"top_k must be 0 (nothing is retrieved) or more, got {top_k}.")
        if probe is not None and probe.there:
            check_head_words(probe.specs, class_names, units)
        self.tokenizer, self.index, self.top_k, self.probe = tokenizer, index, top_k, probe
        self.operating_points, self.threshold_settings = operating_points, threshold_settings
        self.class_names, self.units, self.locator = class_names, units, locator

    @cached_property
    def probe_hash(self) -> str | None:
        """Hash of the probe's weights; ``None`` without them."""
        return sha256_of(self.probe.checkpoint) if self.probe is not None and self.probe.there else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the study with ``result``.

        Args:
            data: a study with the outputs under ``pred_...``, without a batch dimension.

        Returns:
            ``result``: ``report`` and ``report_score`` (mean log-probability a token), ``sentences`` (see
            ``sentence_evidence``), ``retrieved`` (``matches`` and ``note``), ``heads`` (see :meth:`heads_of`;
            ``disagreements`` with the report),
            ``boxes`` (``found``, see ``study_boxes``, and ``note``),
            ``views`` (see ``told``), ``notes`` and ``summary``.
        """
        d = dict(data)
        views = study_views(d)
        result: dict[str, Any] = {"report": None, "report_score": None, "sentences": []}
        if "pred_caption_ids" in d:
            result |= self._report(d, views)
        result["retrieved"] = self._retrieved(d)
        result["heads"] = self.heads_of(d)
        result["heads"]["disagreements"] = disagreements(result["report"], result["heads"]["heads"])
        result["boxes"] = self._boxes(d, views)
        result["views"] = told(views, str(d.get("view_skipped") or "{}"))
        result["places"] = views
        result["summary"] = summary_of(result)
        d["result"] = result
        return d

    def _report(self, d: Mapping, views: list[dict]) -> dict[str, Any]:
        ids = torch.as_tensor(d["pred_caption_ids"]).tolist()
        attention = d.get("pred_caption_attention")
        sentences = []
        if attention is not None:
            sentences = sentence_evidence(self.tokenizer, ids, torch.as_tensor(attention).float().cpu().numpy(), views)
        score = d.get("pred_caption_scores")
        return {
            "report": caption_text(self.tokenizer, ids),
            "report_score": None if score is None else round(float(score), 4),
            "sentences": sentences,
        }

    def _retrieved(self, d: Mapping) -> dict[str, Any]:
        if self.index is None or not self.top_k or "pred_video_embedding" not in d:
            return {"matches": [], "note": "retrieval is off (top_k is 0, or the embedding was not computed)"}
        embedding = torch.as_tensor(d["pred_video_embedding"]).detach().float().cpu().numpy()
        matches = self.index.search(embedding, self.top_k, without=d, reports=True)
        note = self.index.note or ("" if matches else "no other study of the search index has a report")
        return {"matches": matches, "note": note}

    def _boxes(self, d: Mapping, views: list[dict]) -> dict[str, Any]:
        if self.locator is None or "pred_box_values" not in d:
            return {"found": [], "note": NOTHING}
        return {"found": study_boxes(d, views, self.tokenizer, self.locator.phrases), "note": NOTE}

    def heads_of(self, d: Mapping) -> dict[str, Any]:
        """The answers of the heads with what they rest on; ``note`` says why there are none."""
        if self.probe is None or self.probe_hash is None:
            where = "" if self.probe is None else f": {Path(self.probe.checkpoint).name} is not there"
            return {"heads": {}, "probe": None, "note": f"no probe{where}; train one with the overlay train_probe"}
        points, unfit = read_points(self.operating_points, self.probe_hash, self.threshold_settings)
        nothing = "" if points else "no threshold was frozen for this probe; verdicts are at 0.5, not calibrated"
        draws = next((len(value) for key, value in d.items() if str(key).startswith("pred_resampled_")), 0)
        return {
            "heads": head_answers(d, self.probe.specs, points, self.class_names, self.units),
            "probe": {"file": Path(self.probe.checkpoint).name, "sha256": self.probe_hash},
            "interval": {"level": LEVEL, "resamples": draws, "method": METHOD},
            "note": "; ".join(f"{head} at 0.5, not calibrated: {why}" for head, why in unfit.items()) or nothing,
        }


def summary_of(result: Mapping[str, Any]) -> str:
    """A study in a few lines."""
    read = sum(bool(view["read"]) for view in result["views"])
    lines = [f"{read} of {len(result['views'])} views read"]
    heads = [head_words(name, answer) for name, answer in result["heads"]["heads"].items()]
    lines += ["; ".join(heads)] if heads else []
    lines += result["heads"].get("disagreements", [])
    if result["report"]:
        text = result["report"]
        lines.append(f"report: {text[:160]}{'...' if len(text) > 160 else ''}")
    if result["retrieved"]["matches"]:
        best = result["retrieved"]["matches"][0]
        lines.append(f"nearest study {best['id']} (cosine {best['score']:.2f})")
    return "\n".join(lines)
