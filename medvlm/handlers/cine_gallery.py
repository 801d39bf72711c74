"""The training studies as a gallery: what the nearest-neighbour report is taken from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.networks.utils import eval_mode
from tqdm import tqdm

from medvlm.handlers.gathering import gathered
from medvlm.metrics.cine_summary import Study
from medvlm.metrics.trivial_reports import nearest_reports

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gallery:
    """Studies with a readable view and a report.

    Attributes:
        embeddings: ``(M, E)`` of their videos.
        reports: ``(M,)``.
        cases: ``(M,)`` their ids.
        patients: ``(M,)`` their patients.
    """

    embeddings: np.ndarray
    reports: list[str]
    cases: list[str]
    patients: list[str]

    def without(self, patient: str) -> Gallery | None:
        """The gallery without a patient's own studies; None where nothing is left."""
        kept = [row for row, name in enumerate(self.patients) if name != patient]
        if not kept:
            return None
        parts = ([part[row] for row in kept] for part in (self.reports, self.cases, self.patients))
        return Gallery(self.embeddings[kept], *parts)


def add_nearest(studies: Sequence[Study], gallery: Gallery) -> None:
    """Give studies with a video the report of the gallery's study whose video is most alike, of another patient.

    Args:
        studies: changed in place; those without a video, or that could not be read, stay as they are.
        gallery: of the training section.
    """
    known = set(gallery.patients)
    seen = [study for study in studies if study.readable and study.video is not None]
    shared = sorted({study.patient_id for study in seen} & known)
    if shared:
        logger.warning(
            "%d patients are in the gallery too (%s): their own studies give them no nearest-neighbour report; split "
            "the datalist by patient",
            len(shared),
            ", ".join(shared[:5]),
        )
    groups = [([study for study in seen if study.patient_id not in known], gallery)]
    groups += [([study for study in seen if study.patient_id == name], gallery.without(name)) for name in shared]
    for members, rest in groups:
        if not members or rest is None:
            continue
        texts, rows, _ = nearest_reports(np.stack([s.video for s in members]), rest.embeddings, rest.reports)
        for study, text, row in zip(members, texts, rows, strict=True):
            study.nearest, study.nearest_case = text, rest.cases[int(row)]


def embed_gallery(
    loader: Iterable[dict[str, Any]],
    network: Any,
    prepare_batch: Callable,
    device: torch.device | str,
    amp: bool = False,
    progress: bool = True,
) -> Gallery | None:
    """Embed the videos of a section with the network that is evaluated.

    Args:
        loader: batches of studies, preprocessed as in evaluation.
        network: a ``CineTextNet``.
        prepare_batch: of the evaluator.
        device: where the network is.
        amp: mixed precision, as in the evaluator.
        progress: show a bar.

    Returns:
        The gallery, over all processes; None where no study has both a report and a readable view.
    """
    network = getattr(network, "module", network)
    found: list[tuple[str, np.ndarray, str, str]] = []
    kind = torch.device(device).type
    with eval_mode(network), torch.autocast(kind, enabled=amp):
        for batch in tqdm(loader, desc="gallery", disable=not progress):
            video, target, _, inputs = prepare_batch(batch, device, False)
            given = {name: inputs[name] for name in ("view_mask", "angles", "side", "side_known") if name in inputs}
            embedding = network.embed_study(video, **given).float().cpu().numpy()
            for index, case in enumerate(batch["case_id"]):
                if bool(target["study_valid"][index]) and batch["report"][index].strip():
                    patient = batch["patient_id"][index] or str(case)
                    found.append((str(case), embedding[index], batch["report"][index], patient))
    once = {case: rest for case, *rest in gathered(found)}
    if not once:
        return None
    vectors, reports, patients = zip(*once.values(), strict=True)
    return Gallery(np.stack(vectors), list(reports), list(once), list(patients))
