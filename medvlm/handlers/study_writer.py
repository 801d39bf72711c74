"""Write what a prediction says of a study: report, evidence with pictures, retrieved reports, heads, page, manifest."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from medvlm.handlers.case_files import sha256_of, whole_folder
from medvlm.handlers.case_folders import CaseFolders, json_text, versions
from medvlm.handlers.study_evidence import STANDS_OUT, on_file
from medvlm.handlers.study_heads import read_points
from medvlm.tokenizer_fingerprint import fingerprint
from medvlm.trained_settings import caution
from medvlm.visualize.study_page import study_page
from medvlm.visualize.study_pictures import evidence_picture

logger = logging.getLogger(__name__)


class StudyWriter(CaseFolders):
    """Write each study that an evaluator has finished, and a summary of all.

    A study's folder holds ``report.txt``, ``evidence.json`` and ``evidence_NN.png``, ``retrieved.json``,
    ``heads.json``, ``report.html`` and ``manifest.json``. It is written beside its place and renamed, so that it is
    whole or absent.

    Args:
        output_dir: folder of the studies' folders, ``summary.csv`` and ``failed.json``.
        cases: the studies, looked up by ``case_id``.
        open_cine: opens a video: ``open_cine(path).read([frame])`` gives ``(1, H, W)`` in 0..1; none: no pictures.
        pictures: the most sentences of a report that get a picture, the first ones.
        bundle: ``{"name", "version"}``.
        checkpoint: the weights file, whose hash goes into the manifest.
        tokenizer: whose fingerprint goes there; ``None`` where there is none.
        probe: ``OptionalProbe``, whose weights' hash goes there; none: no probe.
        index: ``StudyIndex``, whose contents' hash goes there; none: no index.
        operating_points: file of the frozen thresholds.
        settings: what else decides the result; part of the manifest, and of what must agree for a study to count as
            done.
        resume: leave out studies that are already there from the same input, weights and settings.
        threshold_settings: in use, those that must be the ones under which the frozen thresholds were chosen.
    """

    def __init__(
        self,
        output_dir: str | Path,
        cases: Sequence[dict],
        bundle: Mapping[str, str],
        checkpoint: str | Path,
        settings: Mapping[str, Any],
        open_cine: Callable[[str], Any] | None = None,
        pictures: int = 12,
        tokenizer: Any = None,
        probe: Any = None,
        index: Any = None,
        operating_points: str | Path = "",
        resume: bool = True,
        threshold_settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(output_dir, cases, "video", resume)
        if pictures < 0:
            raise ValueError(f"pictures must be 0 (none) or more, got {pictures}.")
        self.bundle, self.checkpoint = dict(bundle), Path(checkpoint)
        self.settings = json.loads(json.dumps(dict(settings), default=str))
        self.pictures = pictures if open_cine is not None else 0
        self.open_cine, self.tokenizer, self.probe, self.index = open_cine, tokenizer, probe, index
        self.operating_points, self.threshold_settings = operating_points, threshold_settings

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the answers come from: weights, tokenizer, probe with thresholds, index."""
        probe = self.probe is not None and self.probe.there
        weights = sha256_of(self.probe.checkpoint) if probe else None
        points, unfit = read_points(self.operating_points, weights, self.threshold_settings) if probe else ({}, {})
        return {
            "checkpoint": {"file": self.checkpoint.name, "sha256": sha256_of(self.checkpoint)},
            "tokenizer": None if self.tokenizer is None else {"fingerprint": fingerprint(self.tokenizer)},
            "probe": {"file": Path(self.probe.checkpoint).name, "sha256": weights} if probe else None,
            "operating_points": points,
            "operating_points_not_used": unfit,
            "index": None if self.index is None else self.index.describe(),
        }

    def decides(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """Weights, tokenizer, probe, index, settings, and what the list says of the views and beside them."""
        said = {key: case[key] for key in ("view_angles", "view_fps", "side") if key in case}
        beside = case.get("side") if isinstance(case.get("side"), Mapping) else {}
        files = [value for value in beside.values() if isinstance(value, str) and value.endswith((".npy", ".csv"))]
        said |= {"side_files": [self.hash_of(file) for file in files]} if files else {}
        return {**self.identity, "settings": self.settings, "said": said, "pictures": self.pictures}

    def hash_of(self, file: str) -> str:
        """SHA-256 of a video; empty for one that is not there, which is told as a view that could not be read."""
        return sha256_of(file) if Path(file).exists() else ""

    def write(self, item: Mapping[str, Any]) -> Path:
        """Write one study.

        Args:
            item: ``case_id`` and ``result`` (see ``StudyResultd``).

        Returns:
            The study's folder.

        Raises:
            OSError: When it cannot be written; names the folder and the remedy, and nothing is left behind.
        """
        case, result = self.cases[item["case_id"]], item["result"]
        target = self.output_dir / case["case_id"]
        pictures = self._pictures(result)
        files = {
            "report.txt": f"{result['report']}\n" if result["report"] else "",
            "evidence.json": json_text(evidence_of(result)),
            "retrieved.json": json_text(result["retrieved"]),
            "heads.json": json_text(result["heads"]),
        }
        manifest = self._manifest(case, result)
        files["report.html"] = study_page(manifest, result, pictures)
        with whole_folder(target) as folder:
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
            for name, data in pictures.items():
                (folder / name).write_bytes(data)
            manifest |= {"files": sorted([*files, *pictures]), "seconds": self.seconds}
            (folder / "manifest.json").write_text(json_text(manifest), encoding="utf-8")
        self.written.append(case["case_id"])
        logger.info("%s: %s", case["case_id"], manifest["summary"].replace("\n", "; "))
        return target

    def _pictures(self, result: Mapping[str, Any]) -> dict[str, bytes]:
        """A picture of each sentence that has a place; the sentence is told its name."""
        pictures: dict[str, bytes] = {}
        frames: dict[tuple[str, int], Any] = {}
        for number, one in enumerate(result["sentences"], start=1):
            if "view" not in one or len(pictures) == self.pictures:
                continue
            key = (one["file"], one["frame"])
            if key not in frames:
                frames[key] = self.open_cine(one["file"]).read([one["frame"]])[0].numpy()  # (H, W)
            heat = one["heat"][one["view"] - 1, one["step"]]  # (h, w)
            place = result["places"][one["view"] - 1]["place"]
            edges = on_file(place, (0, heat.shape[0]), (0, heat.shape[1]), heat.shape)
            one["picture"] = f"evidence_{number:02d}.png"
            words = place_words(one)
            pictures[one["picture"]] = evidence_picture(frames[key], heat, edges, one["box"], one["sentence"], words)
        return pictures

    def _manifest(self, case: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
        known = {key: case[key] for key in ("study_id", "patient_id", "source") if key in case}
        return {
            "case_id": case["case_id"],
            **known,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "summary": result["summary"],
            "report": result["report"],
            "report_score": result["report_score"],
            "heads": result["heads"]["heads"],
            "retrieved": [{key: one[key] for key in ("rank", "score", "id")} for one in result["retrieved"]["matches"]],
            "boxes": result["boxes"],
            "views": result["views"],
            "bundle": self.bundle,
            **self.identity,
            "caution": caution(self.checkpoint, self.settings),
            "inputs": self.inputs_of(case),
            "settings": self.settings,
            "versions": versions(),
            "signature": self.signature(case),
        }

    def columns(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Views, report, the first retrieved study, and each head."""
        row: dict[str, Any] = {
            "views": len(manifest["views"]),
            "views_read": sum(bool(view["read"]) for view in manifest["views"]),
            "report": manifest["report"] or "",
        }
        for best in manifest["retrieved"][:1]:
            row |= {"nearest_study": best["id"], "nearest_score": best["score"]}
        for name, answer in manifest["heads"].items():
            if answer["kind"] == "multiclass":
                row |= {name: answer["class"], f"{name}_probability": answer["probabilities"][answer["class"]]}
                continue
            row[name] = answer.get("probability", answer.get("value"))
            row |= {
                f"{name}_{end}": value for end, value in zip(("low", "high"), answer["interval"] or (), strict=False)
            }
            row |= {f"{name}_verdict": answer["verdict"]} if "verdict" in answer else {}
        return row


def evidence_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """``evidence.json``: sentences without their maps, and the views with what each was given."""
    hidden = ("heat", "step")
    sentences = [{key: value for key, value in one.items() if key not in hidden} for one in result["sentences"]]
    method = (
        "mean cross-attention of the captioner over the sentence's tokens, layers and heads; the view and the frame "
        "with the largest share, and the box around the strongest cell and its neighbours at least halfway between the "
        f"frame's mean and it, where it has at least {STANDS_OUT} times that mean"
    )
    return {"method": method, "sentences": sentences, "views": result["views"]}


def place_words(one: Mapping[str, Any]) -> str:
    """Where a sentence's picture comes from, in words."""
    name = PurePath(one["file"]).name
    angles = f" ({one['angles']})" if one["angles"] else ""
    even = "" if one["box"] else f"; no place stands out (the strongest has {one['peak']:.1f} times the mean)"
    return (
        f"view {one['view']}{angles}, {name}, frame {one['frame']} at {one['time_ms'] / 1000:.2f} s; "
        f"{100 * one['weight']:.0f}% of the sentence's attention in this view (even: {100 * one['even']:.0f}%), "
        f"{100 * one['frame_weight']:.0f}% in this frame{even}"
    )
