"""Studies of a validation run with their embeddings, taken from the batches of an evaluator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ignite.engine import Engine

from medvlm.handlers.gathering import gathered

SIDES = ("video_embedding", "text_embedding")


@dataclass(frozen=True)
class EmbeddedStudy:
    """A study as the evaluator saw it.

    Attributes:
        case_id: its name.
        patient_id: whose it is.
        report: its text, empty where it is unknown.
        readable: whether any of its views could be read.
        video: ``(E,)`` embedding.
        text: ``(E,)`` embedding of the report; means nothing where that is unknown.
        thumbnail: ``(S, S)`` uint8, or None where none was asked for.
    """

    case_id: str
    patient_id: str
    report: str
    readable: bool
    video: np.ndarray
    text: np.ndarray
    thumbnail: np.ndarray | None = None


def embedded_studies(engine: Engine, thumbnails: int | None = None) -> list[EmbeddedStudy]:
    """The studies of the batch that an evaluator has just finished; none where the network gives no embeddings.

    Args:
        engine: an evaluator that keeps its batches whole (``decollate=False``).
        thumbnails: side of the thumbnails; none: without.
    """
    batch, pred, label = engine.state.batch, engine.state.output["pred"], engine.state.output["label"]
    if any(side not in pred for side in SIDES):
        return []
    video, text = (pred[side].detach().float().cpu().numpy() for side in SIDES)
    readable = label["study_valid"].reshape(-1).bool().tolist()
    known = (label["report_known"].reshape(-1) > 0).tolist()
    return [
        EmbeddedStudy(
            case_id=str(case),
            patient_id=batch["patient_id"][index] or str(case),
            report=batch["report"][index] if known[index] else "",
            readable=readable[index],
            video=video[index],
            text=text[index],
            thumbnail=_thumbnail(batch, index, thumbnails) if thumbnails and readable[index] else None,
        )
        for index, case in enumerate(batch["case_id"])
    ]


def gathered_studies(studies: list[EmbeddedStudy]) -> list[EmbeddedStudy]:
    """The studies of all processes; one that a sampler repeats counts once."""
    return list({study.case_id: study for study in gathered(studies)}.values())


def _thumbnail(batch: dict, index: int, side: int) -> np.ndarray:
    """The frame in the middle of the first view that could be read, ``(side, side)`` uint8."""
    view = int(torch.as_tensor(batch["view_mask"])[index].nonzero()[0])
    frames = torch.as_tensor(batch["video"])[index, view, 0]  # (T, H, W)
    frame = frames[len(frames) // 2].detach().float().cpu()
    small = torch.nn.functional.interpolate(frame[None, None], size=(side, side), mode="area")[0, 0].numpy()
    low, high = np.percentile(small, [1, 99.5])
    return np.clip((small - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
