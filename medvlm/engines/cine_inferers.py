"""What an evaluation or a prediction asks of a video-text network or a probe: embeddings, captions, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from medvlm.handlers.located_boxes import located

OBJECTIVES = ("contrastive", "captioning")
EVALUABLE = (*OBJECTIVES, "boxes")
STUDY = ("view_mask", "angles", "side", "side_known")  # what a network is told of studies beside their videos


def evaluable(objectives: Sequence[str]) -> list[str]:
    """Of the objectives that a network was trained for, those whose outputs can be evaluated.

    Raises:
        ValueError: when there is none.
    """
    found = [name for name in EVALUABLE if name in objectives]
    if not found:
        raise ValueError(
            f"only {EVALUABLE} give something to evaluate, got a network trained for {list(objectives)}; train one of "
            "them on its weights first, or a probe (train_probe.json, evaluate_probe.json)."
        )
    return found


class CineInferer(Inferer):
    """Ask a ``CineTextNet`` for everything that evaluation and prediction look at, as tensors that decollate.

    Args:
        objectives: of ``"contrastive"`` (embeddings), ``"captioning"`` (reports) and ``"boxes"`` (places of phrases
            whose boxes are known); those the network lacks are an error of the network's own.
        generate: settings of ``Captioner.generate``; by default greedy, as long as the captioner can.
        view_embeddings: also embed each view as a study of its own, which tells what it contributes.

    Raises:
        ValueError: for an unknown objective.
    """

    def __init__(
        self,
        objectives: Sequence[str] = OBJECTIVES,
        generate: Mapping[str, Any] | None = None,
        view_embeddings: bool = True,
    ) -> None:
        unknown = sorted(set(objectives) - set(EVALUABLE))
        if unknown or isinstance(objectives, str) or not objectives:
            raise ValueError(f"objectives must be a list of some of {EVALUABLE}, got {objectives!r}.")
        self.objectives, self.generate, self.view_embeddings = tuple(objectives), dict(generate or {}), view_embeddings

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Infer a batch of studies.

        Args:
            inputs: ``(B, N, C, T, H, W)``.
            network: a ``CineTextNet``.
            args: not used.
            kwargs: ``view_mask`` ``(B, N)`` and ``angles`` ``(B, N, 6)``; ``side`` and ``side_known``, further inputs
                of a network that has them; ``input_ids`` and ``attention_mask``
                ``(B, L)`` where the reports are known; ``boxes`` where boxes are; ``objectives`` of the training are
                not read.

        Returns:
            ``video_embedding`` ``(B, E)``; with texts ``text_embedding`` ``(B, E)``; with ``view_embeddings``
            ``view_similarity`` ``(B, N)``, the cosine of each view's own embedding with the study's (0 where masked);
            ``caption_ids`` ``(B, L)`` (PAD after the end), ``caption_scores`` ``(B,)`` and ``caption_attention``
            ``(B, L, N, t, h, w)`` float16; with boxes ``located_boxes`` ``(B, M, 4)`` and ``located_known``
            ``(B, M)``, see ``located``.
        """
        network = getattr(network, "module", network)
        views = {name: kwargs.get(name) for name in STUDY}
        out: dict[str, Tensor] = {}
        if "contrastive" in self.objectives:
            out["video_embedding"] = network.embed_study(inputs, **views)
            if kwargs.get("input_ids") is not None:
                out["text_embedding"] = network.embed_text(kwargs["input_ids"], kwargs.get("attention_mask"))
            if self.view_embeddings:
                own = network.embed_views(inputs, **views)  # (B, N, E)
                out["view_similarity"] = torch.einsum("bne,be->bn", own, out["video_embedding"])
        if "captioning" in self.objectives:
            written = network.caption(inputs, **views, **self.generate)
            out["caption_ids"], out["caption_scores"] = written.ids, written.scores
            if written.attention is not None:
                out["caption_attention"] = written.attention.half()
        if "boxes" in self.objectives and kwargs.get("boxes") is not None:
            out["located_boxes"], out["located_known"] = located(network, inputs, {**views, "boxes": kwargs["boxes"]})
        return out


class ProbeInferer(Inferer):
    """Ask a ``CineProbeNet``: logits of its heads by name, and ``attention`` ``(B, N)``."""

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Infer a batch of studies; arguments as of ``CineInferer``, text is not read."""
        return network(inputs, **{name: kwargs.get(name) for name in STUDY})
