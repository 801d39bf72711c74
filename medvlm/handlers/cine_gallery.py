"""The training studies as a gallery: what the nearest-neighbour report is taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.networks.utils import eval_mode
from tqdm import tqdm

from medvlm.handlers.gathering import gathered


@dataclass(frozen=True)
class Gallery:
    """Studies with a readable view and a report.

    Attributes:
        embeddings: ``(M, E)`` of their videos.
        reports: ``(M,)``.
        cases: ``(M,)`` their ids.
    """

    embeddings: np.ndarray
    reports: list[str]
    cases: list[str]


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
    found: list[tuple[str, np.ndarray, str]] = []
    kind = torch.device(device).type
    with eval_mode(network), torch.autocast(kind, enabled=amp):
        for batch in tqdm(loader, desc="gallery", disable=not progress):
            video, target, _, inputs = prepare_batch(batch, device, False)
            embedding = network.embed_study(video, inputs["view_mask"], inputs["angles"]).float().cpu().numpy()
            for index, case in enumerate(batch["case_id"]):
                if bool(target["study_valid"][index]) and batch["report"][index].strip():
                    found.append((str(case), embedding[index], batch["report"][index]))
    once = {case: (vector, report) for case, vector, report in gathered(found)}
    if not once:
        return None
    vectors, reports = zip(*once.values(), strict=True)
    return Gallery(np.stack(vectors), list(reports), list(once))
