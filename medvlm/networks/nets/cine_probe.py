"""Clinical targets from a trained cine encoder: frozen, partly frozen or fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from medvlm.networks.blocks.side_inputs import join_side
from medvlm.networks.blocks.view_set import complete_views, encode_views
from medvlm.networks.freezing import Freezable
from medvlm.networks.heads.mil import MilPooling
from medvlm.networks.heads.probes import ProbeHeads
from medvlm.networks.nets.cine_text import check_widths

LEVELS = ("views", "tokens")


class CineProbeNet(Freezable):
    """Cine encoder, aggregator, pooling and heads.

    Components, for freezing, learning rates and loading by name: ``video_encoder``, ``aggregator``, ``pooling``,
    ``side_inputs``, ``heads`` (and each head, ``heads.heads.NAME``). The first two are those of a ``CineTextNet``:
    ``load_initial(network, "model.pt", components=["video_encoder", "aggregator"])`` takes them from its checkpoint and
    refuses one that does not fit.

    Args:
        video_encoder: see ``CineTextNet``.
        heads: the settings of each head by name, see ``ProbeHeads``.
        aggregator: ``StudyAggregator``, which lets the views look at each other and know their angles; none: the views
            go from the encoder to the pooling.
        pooling: settings of ``MilPooling`` but ``dim`` and ``levels``.
        level: ``"views"``: one vector a view is pooled; ``"tokens"``: the tokens of each view first, then the views.
        side_inputs: ``SideInputs`` of the features' width, which they look at before they are pooled.

    Raises:
        ValueError: if a setting is not known, or widths do not fit each other.
    """

    def __init__(
        self,
        video_encoder: nn.Module,
        heads: Mapping[str, Mapping],
        aggregator: nn.Module | None = None,
        pooling: Mapping | None = None,
        level: str = "views",
        side_inputs: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if level not in LEVELS:
            raise ValueError(f"level must be one of {LEVELS}, got {level!r}.")
        if aggregator is not None:
            check_widths(video_encoder, aggregator, None)
        self.level = level
        self.video_encoder, self.aggregator, self.side_inputs = video_encoder, aggregator, side_inputs
        dim = video_encoder.embed_dim if aggregator is None else aggregator.embed_dim
        self.pooling = MilPooling(dim, levels=1 + LEVELS.index(level), **dict(pooling or {}))
        self.heads = ProbeHeads(self.pooling.output_dim, heads)

    def learning_rates(self, rates: Mapping[str, float]) -> dict[str, float]:
        """Learning rates by component with those of the heads that have their own (``lr``) for ``parameter_groups``."""
        return {**rates, **self.heads.settings("lr")}

    def weight_decays(self, decay: float | Mapping[str, float], rates: Mapping[str, float]) -> float | dict[str, float]:
        """Weight decays with those of the heads that have their own, for ``parameter_groups``.

        Args:
            decay: one for all, or one a component.
            rates: the learning rates, whose components take the one for all.
        """
        own = self.heads.settings("weight_decay")
        if isinstance(decay, Mapping):
            return {**decay, **own}
        return {**{name: decay for name in rates if name != "loss"}, **own} if own else decay

    def shared_parameters(self) -> list[nn.Parameter]:
        """Weights of the last layer that learns and that all heads share, for GradNorm.

        The last LayerNorm of the aggregator, else of the encoder; where both are frozen, the pooling.

        Raises:
            ValueError: if nothing that the heads share learns.
        """
        for part in (self.aggregator, self.video_encoder):
            modules = () if part is None else part.modules()
            norms = [m for m in modules if isinstance(m, nn.LayerNorm) and any(p.requires_grad for p in m.parameters())]
            if norms:
                return list(norms[-1].parameters())
        found = [parameter for parameter in self.pooling.parameters() if parameter.requires_grad]
        if not found:
            raise ValueError(
                f"GradNorm compares the heads at a layer that they share, but nothing shared learns: frozen are "
                f"{list(self.frozen)}, and the pooling has no parameters; unfreeze a component, pool by attention, or "
                "set weighting to 'fixed' or 'kendall'."
            )
        return found

    def pool(
        self,
        video: Tensor,
        view_mask: Tensor | None = None,
        angles: Tensor | None = None,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Features before the heads; arguments as in ``forward``, return as of ``MilPooling``."""
        view_mask, angles = complete_views(video, view_mask, angles)
        features = encode_views(self.video_encoder, video, view_mask)
        x = features["pooled"] if self.level == "views" else features["tokens"]
        if self.aggregator is not None:
            x, _ = self.aggregator(features["pooled"], features["tokens"], view_mask, angles, mode=self.level)
            x = x if self.level == "views" else x.unflatten(1, (video.shape[1], -1))  # (B, N, L, D)
        x = join_side(self.side_inputs, x.flatten(1, -2), side, side_known).reshape(x.shape)
        return self.pooling(x, view_mask)

    def forward(
        self,
        video: Tensor,
        view_mask: Tensor | None = None,
        angles: Tensor | None = None,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Answer every head.

        Args:
            video: ``(B, N, C, T, H, W)``, normalised; what is masked may hold anything.
            view_mask: ``(B, N)`` bool, False = absent or unreadable; none = all exist.
            angles: ``(B, N, 6)``; none = unknown.
            side: further inputs by name, ``{}`` where all are missing; see ``SideInputs``.
            side_known: what of them is known.

        Returns:
            Logits ``(B, K)`` by name of the head, see ``ProbeHeads``; ``attention``: ``(B, N)``, the weight of each
            view. A study without any view has defined values that no loss or metric counts.
        """
        pooled = self.pool(video, view_mask, angles, side, side_known)
        return {**self.heads(pooled["pooled"]), "attention": pooled["attention"]}
