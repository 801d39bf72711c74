"""One cine encoder that learns from reports in three ways: alignment, captioning, masked video modelling."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from medvlm.networks.blocks.pooling import masked_mean
from medvlm.networks.blocks.running_statistics import kept_statistics
from medvlm.networks.blocks.side_inputs import join_side
from medvlm.networks.blocks.view_set import chosen_views, complete_views, encode_views, gather_views, scatter_views
from medvlm.networks.decoders.box_tasks import box_tasks
from medvlm.networks.decoders.captioner import Generated
from medvlm.networks.freezing import Freezable
from medvlm.networks.heads.projection import LossParameters, ProjectionHead
from medvlm.spelling import did_you_mean

PARTS = {  # objective: the components that it alone uses; the first says whether it can be computed
    "contrastive": ("text_encoder", "text_projection", "video_projection", "loss_parameters"),
    "captioning": ("captioner",),
    "boxes": ("captioner",),
    "masked_video": ("masked_video",),
    "distillation": ("distillation",),
}
HIDING = ("mask_token", "mask_value")  # what an encoder puts in the place of hidden patches


class CineTextNet(Freezable):
    """Cine encoder, aggregation of the views of a study, and what learns from them.

    Components, for freezing, learning rates and loading by name: ``video_encoder``, ``aggregator``, ``text_encoder``,
    ``video_projection``, ``text_projection``, ``captioner``, ``masked_video``, ``distillation``, ``side_inputs``,
    ``loss_parameters`` (``log_scale``, ``bias``). A component that no switched-on objective uses is neither computed
    nor learnt, but stays in the state dict, so that the checkpoints of all stages fit each other.

    Views that are absent or unreadable are never encoded and have no influence on anything. A study without any view
    has the vector that the aggregator has learnt for it; losses and metrics leave it out (``study_valid``). A batch of
    one view a study is alignment of single videos.

    Args:
        video_encoder: ``(V, C, T, H, W)`` to ``tokens`` ``(V, L, D)`` and ``pooled`` ``(V, D)``; see
            ``medvlm.networks.encoders``.
        aggregator: ``StudyAggregator``, or anything of its kind.
        text_encoder: ``TextEncoder``; none: no alignment.
        captioner: ``Captioner`` whose ``context_dim`` is the aggregator's width; none: no captions.
        masked_video: ``MaskedVideoModelling``; none: no masked video modelling.
        embed_dim: width E of the space that videos and texts share.
        init_temperature: see ``LossParameters``.
        init_bias: -10 by default, which fits batches of thousands; ``balanced_bias`` gives one for a small batch.
        side_inputs: ``SideInputs`` of the aggregator's width, joined to the study and to the captioner's context.
        distillation: ``FeatureDistillation`` of the aggregator's width; none: no distillation.
        objectives: those that are on, of ``"contrastive"``, ``"captioning"``, ``"boxes"`` (of a captioner with
            ``box_bins``), ``"masked_video"`` and ``"distillation"``; by default all that have a component.
        masked_views: on how many views of a study patches are hidden; drawn in training, the first ones otherwise;
            all by default. Below 1: on one view of this share of a batch's studies, which costs less.

    Attributes:
        embed_dim: E.
        objectives: those that are on.

    Raises:
        ValueError: if widths do not fit each other, or an objective is unknown or lacks its component.
    """

    def __init__(
        self,
        video_encoder: nn.Module,
        aggregator: nn.Module,
        text_encoder: nn.Module | None = None,
        captioner: nn.Module | None = None,
        masked_video: nn.Module | None = None,
        embed_dim: int = 256,
        init_temperature: float = 10.0,
        init_bias: float | None = None,
        side_inputs: nn.Module | None = None,
        distillation: nn.Module | None = None,
        objectives: Sequence[str] | None = None,
        masked_views: float | None = None,
    ) -> None:
        super().__init__()
        check_widths(video_encoder, aggregator, captioner)
        if masked_views is not None and (masked_views <= 0 or masked_views > 1 and masked_views % 1):
            raise ValueError(
                "masked_views must be a whole number of views of each study (none = all), or one view of a share of "
                f"the studies, above 0 and below 1, got {masked_views}."
            )
        self.embed_dim, self.masked_views = embed_dim, masked_views
        self.video_encoder, self.aggregator = video_encoder, aggregator
        self.text_encoder, self.captioner, self.masked_video = text_encoder, captioner, masked_video
        self.video_projection = ProjectionHead(aggregator.embed_dim, embed_dim)
        self.text_projection = ProjectionHead(text_encoder.embed_dim, embed_dim) if text_encoder else None
        self.side_inputs, self.distillation = side_inputs, distillation
        self.loss_parameters = LossParameters(init_temperature, -10.0 if init_bias is None else init_bias)
        self.objectives = tuple(filter(self.has, PARTS) if objectives is None else self.known(objectives))
        if self.has("boxes") and "captioning" in self.objectives and "boxes" not in self.objectives:
            raise ValueError(
                f"the captioner has box_bins={captioner.boxes.bins}, but no box would reach the loss: the objectives "
                f"are {list(self.objectives)}. Add 'boxes' to them (captioning_boxes.json), or set box_bins to 0."
            )
        if "masked_video" in self.objectives:
            self.masked_video.check(video_encoder)
        self.switch_off()

    def has(self, objective: str) -> bool:
        """Whether the network has what an objective needs."""
        first = getattr(self, PARTS[objective][0])
        return first is not None and (objective != "boxes" or getattr(first, "boxes", None) is not None)

    def known(self, objectives: Sequence[str]) -> Sequence[str]:
        """Refuse objectives that do not exist, or that this network has no component for."""
        for name in [objectives] if isinstance(objectives, str) else objectives:
            if name not in PARTS:
                raise ValueError(f"there is no objective {name!r}; it is of {tuple(PARTS)}{did_you_mean(name, PARTS)}")
            if not self.has(name):
                with_boxes = " with box tokens (box_bins, e.g. 50)" * (name == "boxes")
                raise ValueError(
                    f"the objective {name!r} needs a {PARTS[name][0]}{with_boxes}, and the network was built without; "
                    "give it one, or leave the objective out."
                )
        return objectives

    def switch_off(self) -> None:
        """Let what no objective uses not learn."""
        on = {part for name in self.objectives for part in PARTS[name]}
        off = [part for parts in PARTS.values() for part in parts if part not in on]
        if not set(self.objectives) - {"masked_video"}:
            off += ["aggregator", "side_inputs"]
        for name in off:
            if getattr(self, name) is not None:
                getattr(self, name).requires_grad_(False)
        if "masked_video" not in self.objectives:
            for name in HIDING:
                if isinstance(getattr(self.video_encoder, name, None), nn.Parameter):
                    getattr(self.video_encoder, name).requires_grad_(False)

    def bind_tokenizer(self, tokenizer: Any) -> CineTextNet:
        """Bind the text encoder and the captioner to a tokenizer; see ``TokenizerBound``. Returns the network."""
        for part in (self.text_encoder, self.captioner):
            if part is not None:
                part.bind_tokenizer(tokenizer)
        return self

    def shared_parameters(self) -> list[nn.Parameter]:
        """Weights of the last layer that all objectives share (the encoder's last LayerNorm), for GradNorm."""
        norms = [module for module in self.video_encoder.modules() if isinstance(module, nn.LayerNorm)]
        if not norms:
            raise ValueError(f"{type(self.video_encoder).__name__} has no LayerNorm that GradNorm could look at.")
        return list(norms[-1].parameters())

    def encode(self, video: Tensor, view_mask: Tensor | None = None, angles: Tensor | None = None) -> dict[str, Tensor]:
        """Encode the views that exist, each by itself.

        Args:
            video: ``(B, N, C, T, H, W)``, normalised; what is masked may hold anything.
            view_mask: ``(B, N)`` bool, False = absent or unreadable; none = all exist.
            angles: ``(B, N, 6)``; none = all unknown.

        Returns:
            ``pooled``: ``(B, N, D)`` and ``tokens``: ``(B, N, L, D)``, zeros where masked; ``view_mask`` and
            ``angles``.

        Raises:
            ValueError: if a shape does not fit.
        """
        view_mask, angles = complete_views(video, view_mask, angles)
        features = encode_views(self.video_encoder, video, view_mask)
        return {**features, "view_mask": view_mask, "angles": angles}

    def study(self, features: dict[str, Tensor], side: dict | None = None, side_known: dict | None = None) -> Tensor:
        """One vector ``(B, D)`` a study from ``encode``'s features."""
        vector, _ = self.aggregator(features["pooled"], None, features["view_mask"], features["angles"], mode="study")
        return self.joined(vector, side, side_known)

    def context(
        self, features: dict[str, Tensor], side: dict | None = None, side_known: dict | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the captioner looks at: the tokens of all views, which know their angles, ``(B, N * L, D)``, and which
        of them exist ``(B, N * L)``."""
        tokens, real = self.aggregator(
            features["pooled"], features["tokens"], features["view_mask"], features["angles"], mode="tokens"
        )
        return self.joined(tokens, side, side_known), real

    def joined(self, vectors: Tensor, side: dict | None, known: dict | None) -> Tensor:
        """Add what further inputs say; see ``join_side``."""
        return join_side(self.side_inputs, vectors, side, known)

    def forward(
        self,
        video: Tensor,
        view_mask: Tensor | None = None,
        angles: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        masked_tokens: Tensor | None = None,
        objectives: Sequence[str] | None = None,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
        boxes: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Compute what the objectives compare.

        Args:
            video: ``(B, N, C, T, H, W)``, normalised; what is masked may hold anything.
            view_mask: ``(B, N)`` bool, False = absent or unreadable; none = all exist.
            angles: ``(B, N, 6)``: sine, cosine and known of the primary, then of the secondary angle; none = unknown.
            input_ids: ``(B, L)``, from BOS to EOS, padded; without it nothing of the text is computed.
            attention_mask: ``(B, L)``, 1 = real, 0 = padding.
            masked_tokens: ``(B, N, t * h * w)`` bool, the patches to hide, equally many in each view; none = drawn.
            objectives: those to compute; none = those that are on.
            side: further inputs by name, see ``SideInputs``; a network that has them wants to be given them, ``{}``
                where all are missing.
            side_known: what of them is known.
            boxes: boxes and their phrases, see ``box_tasks``; without them nothing of the boxes is computed.

        Returns:
            Only what was asked for. ``contrastive``: ``video_embedding`` and ``text_embedding`` ``(B, E)`` of length 1,
            ``log_scale``, ``bias``; ``captioning``: ``caption_logits`` ``(B, L - 1, V)``, which predict tokens 1 to
            L - 1; ``boxes``: ``box_logits``, ``box_ids`` and ``box_target_mask``, see ``box_tasks``;
            ``distillation``: ``distilled`` and, of an EMA teacher, ``teacher`` ``(B, D_teacher)``;
            ``masked_video``: ``mvm_pred`` and ``mvm_target`` ``(M, P)`` of the hidden patches, ``mvm_mask``
            ``(B, N, t * h * w)`` bool, which patches these are, in their order.

        Raises:
            ValueError: if a shape does not fit, or an objective is unknown or lacks its component.
        """
        objectives = self.objectives if objectives is None else self.known(objectives)
        view_mask, angles = complete_views(video, view_mask, angles)
        result: dict[str, Tensor] = {}
        captioning = "captioning" in objectives and input_ids is not None
        locating = "boxes" in objectives and boxes is not None
        studying = {"contrastive", "distillation"} & set(objectives)
        if studying or captioning or locating:
            features = self.encode(video, view_mask, angles)
        if studying:
            study = self.study(features, side, side_known)  # (B, D)
        if "contrastive" in objectives:
            result["video_embedding"] = self.video_projection(study)
            if input_ids is not None:
                result["text_embedding"] = self.embed_text(input_ids, attention_mask)
            # Copies: DistributedDataParallel takes a bare parameter among the outputs for an unused one, and fails.
            result |= {"log_scale": self.loss_parameters.log_scale.clone(), "bias": self.loss_parameters.bias.clone()}
        if captioning or locating:
            context, real = self.context(features, side, side_known)
        if locating:
            result |= box_tasks(self.captioner, context, real, view_mask, boxes)
        if captioning:
            shown = None if attention_mask is None else attention_mask[:, :-1]
            result["caption_logits"] = self.captioner(input_ids[:, :-1], shown, context, real)
        if "distillation" in objectives:
            result["distilled"] = self.distillation(study)
            if self.distillation.teacher is not None:
                result["teacher"] = self.taught(video, view_mask)
        if "masked_video" in objectives:
            whole = studying or captioning  # whole videos have set the running statistics already
            with kept_statistics(self.video_encoder) if whole else nullcontext():
                result |= self.predict_masked(video, view_mask, masked_tokens)
        return result

    @torch.no_grad()
    def taught(self, video: Tensor, view_mask: Tensor) -> Tensor:
        """Mean features ``(B, D_teacher)`` of the EMA teacher over the views that exist."""
        teacher = self.distillation.teacher
        if self.training:
            teacher.follow(self.video_encoder)
        return masked_mean(encode_views(teacher, video, view_mask)["pooled"], view_mask)[0]

    def embed_study(
        self,
        video: Tensor,
        view_mask: Tensor | None = None,
        angles: Tensor | None = None,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Unit vectors ``(B, E)`` of studies; arguments as in ``forward``."""
        return self.video_projection(self.study(self.encode(video, view_mask, angles), side, side_known))

    def embed_views(
        self,
        video: Tensor,
        view_mask: Tensor | None = None,
        angles: Tensor | None = None,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Unit vectors ``(B, N, E)`` of the views, each as a study of its own, with the further inputs of its study;
        zeros for those that do not exist."""
        features = self.encode(video, view_mask, angles)
        alone = {name: value.flatten(0, 1)[:, None] for name, value in features.items()}  # (B * N, 1, ...)
        each = (
            None if given is None else {k: v.repeat_interleave(video.shape[1], dim=0) for k, v in given.items()}
            for given in (side, side_known)
        )
        vectors = self.video_projection(self.study(alone, *each)).unflatten(0, features["view_mask"].shape)
        return vectors.masked_fill(~features["view_mask"][..., None], 0.0)

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Unit vectors ``(B, E)`` of texts; a text without any real token gives zeros.

        Args:
            input_ids: ``(B, L)``.
            attention_mask: ``(B, L)``, 1 = real, 0 = padding; none = all real.

        Raises:
            ValueError: if the network was built without a text encoder.
        """
        self.known(["contrastive"])
        vectors = self.text_projection(self.text_encoder(input_ids, attention_mask)["pooled"])
        return vectors if attention_mask is None else vectors * attention_mask.bool().any(dim=1, keepdim=True)

    @torch.no_grad()
    def caption(
        self,
        video: Tensor,
        view_mask: Tensor | None = None,
        angles: Tensor | None = None,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
        **settings: Any,
    ) -> Generated:
        """Write a report of each study.

        Args:
            video: this and the next: see ``forward``.
            view_mask: ``(B, N)``.
            angles: ``(B, N, 6)``.
            side: further inputs.
            side_known: what of them is known.
            settings: of ``Captioner.generate``: ``max_length``, ``mode``, ``beams`` ...

        Returns:
            See ``Generated``; its ``attention`` is ``(B, L, N, t, h, w)``: in which view, when and where the captioner
            looked for each token. Its sum over a token is 1, less the share of the encoder's class tokens.

        Raises:
            ValueError: if the network was built without a captioner, or a setting is out of its range.
        """
        self.known(["captioning"])
        context, real = self.context(self.encode(video, view_mask, angles), side, side_known)
        generated = self.captioner.generate(context, real, **settings)
        if generated.attention is None:
            return generated
        grid = tuple(self.video_encoder.grid(*video.shape[-3:]))
        maps = generated.attention.unflatten(2, (video.shape[1], -1))  # (B, L, N, tokens)
        maps = maps[..., int(self.video_encoder.has_class_token) :].unflatten(3, grid)
        return dataclasses.replace(generated, attention=maps)

    def predict_masked(
        self, video: Tensor, view_mask: Tensor | None = None, masked_tokens: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Hide patches of views that exist, and predict them; arguments and return as in ``forward``."""
        self.known(["masked_video"])
        view_mask, _ = complete_views(video, view_mask, None)
        views, places = gather_views(video, chosen_views(view_mask, self.masked_views, self.training))
        mask = None
        if masked_tokens is not None and len(places):
            if masked_tokens.ndim != 3 or masked_tokens.shape[:2] != view_mask.shape:
                raise ValueError(
                    f"masked_tokens must be {tuple(view_mask.shape)} and the patches of a view, got "
                    f"{tuple(masked_tokens.shape)}."
                )
            mask = masked_tokens.flatten(0, 1)[places.to(masked_tokens.device)]
        result = self.masked_video(self.video_encoder, views, mask)
        if not len(places):  # the blank view stands for none
            result = {name: value[:0] for name, value in result.items()}
        result["mvm_mask"] = scatter_views(result["mvm_mask"], places, *view_mask.shape)
        return result


def check_widths(video_encoder: nn.Module, aggregator: nn.Module, captioner: nn.Module | None) -> None:
    """Refuse components whose widths do not fit.

    Raises:
        ValueError: if the aggregator does not take what the encoder gives, or the captioner what the aggregator gives.
    """
    taken = getattr(getattr(aggregator, "project", None), "in_features", aggregator.embed_dim)
    if taken != video_encoder.embed_dim:
        raise ValueError(
            f"the aggregator takes features of width {taken}, {type(video_encoder).__name__} gives "
            f"{video_encoder.embed_dim}; set the aggregator's in_dim to that."
        )
    if captioner is not None and captioner.context_norm.normalized_shape[0] != aggregator.embed_dim:
        raise ValueError(
            f"the captioner's context_dim is {captioner.context_norm.normalized_shape[0]}, the aggregator gives width "
            f"{aggregator.embed_dim}; make them equal."
        )
