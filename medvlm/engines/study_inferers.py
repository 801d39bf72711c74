"""A study at the time of prediction: embedding, report with attention, heads, and what they do from draw to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from medvlm.engines.cine_inferers import STUDY

RESAMPLED = ("resampled_video", "resampled_mask")


class PrepareStudyBatch:
    """Turn a collated batch of studies into what ``StudyInferer`` takes; nothing is known of the answers.

    Args:
        side: names of further inputs, see ``PrepareCineBatch``.
    """

    def __init__(self, side: Sequence[str] = ()) -> None:
        self.side = tuple(side)

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor], tuple, dict[str, Tensor]]:
        """Move a batch to the device.

        Args:
            batchdata: ``video`` (B, N, C, T, H, W), ``view_mask`` (B, N), ``angles`` (B, N, 6), and perhaps
                ``resampled_video`` (B, R, N, C, T, H, W) and ``resampled_mask`` (B, R, N).
            device: where the tensors go.
            non_blocking: as in ``torch.Tensor.to``.
            kwargs: further arguments of ``torch.Tensor.to``.

        Returns:
            The videos; ``study_valid`` (B,), whether any view could be read; no positional and the keyword arguments
            of the inferer.
        """

        def move(key: str) -> Tensor:
            value = batchdata[key]
            value = value.as_tensor() if hasattr(value, "as_tensor") else torch.as_tensor(value)
            return value.to(device=device, non_blocking=non_blocking, **kwargs)

        view_mask = move("view_mask").bool()
        inputs = {"view_mask": view_mask, "angles": move("angles").float()}
        inputs |= {key: move(key) for key in RESAMPLED if key in batchdata}
        if self.side:
            inputs["side"] = {key: move(key) for key in self.side}
            inputs["side_known"] = {key: move(f"{key}_known") for key in self.side}
        return move("video").float(), {"study_valid": view_mask.any(dim=1)}, (), inputs


class StudyInferer(Inferer):
    """Ask the video-text network and the probe for everything that a prediction tells.

    Args:
        inferer: ``CineInferer``; none: the probe alone.
        probe: ``OptionalProbe``; none, or one without weights: no heads.
        locator: ``BoxLocator``; none: no boxes.
    """

    def __init__(self, inferer: Inferer | None = None, probe: Any = None, locator: Any = None) -> None:
        self.inferer, self.probe, self.locator = inferer, probe, locator

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Infer a batch of studies.

        Args:
            inputs: ``(B, N, C, T, H, W)``.
            network: see ``CineInferer``.
            args: not used.
            kwargs: see ``PrepareStudyBatch``.

        Returns:
            What ``CineInferer`` gives; with a probe ``head_NAME``: logits ``(B, K)``, ``resampled_NAME``: those of
            the draws ``(B, R, K)``, and ``probe_attention`` ``(B, N)``; with a locator what ``BoxLocator`` gives.
        """
        views = {name: kwargs.get(name) for name in STUDY}
        out = {} if self.inferer is None else dict(self.inferer(inputs, network, **views))
        if self.locator is not None:
            out |= self.locator(network, inputs, **views)
        if self.probe is None or not self.probe.there:
            return out
        answers = self.probe(inputs, **views)
        out["probe_attention"] = answers.pop("attention")
        out |= {f"head_{name}": logits for name, logits in answers.items()}
        video, mask = (kwargs.get(name) for name in RESAMPLED)
        draws = range(0 if video is None else video.shape[1])
        again = [self.probe(video[:, r].to(inputs.dtype), **{**views, "view_mask": mask[:, r].bool()}) for r in draws]
        if again:
            out |= {f"resampled_{name}": torch.stack([one[name] for one in again], dim=1) for name in answers}
        return out
