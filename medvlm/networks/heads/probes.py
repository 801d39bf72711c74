"""Several small heads on one vector: binary, multiclass and regression, each with its own settings."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from medvlm.spelling import did_you_mean

LOSSES = {
    "binary": ("bce", "focal"),
    "multiclass": ("ce", "focal"),
    "regression": ("mse", "mae", "huber"),
}
DEFAULTS = {
    "kind": None,
    "classes": None,  # multiclass only; 1 otherwise
    "loss": None,  # the first of LOSSES for the kind
    "weight": 1.0,
    "lr": None,
    "weight_decay": None,
    "dropout": 0.0,
    "hidden": None,
    "start": None,  # binary: prevalence; regression: mean of the target
    "spread": 1.0,  # regression: standard deviation of the target
    "loss_options": {},
}


def complete_spec(name: str, given: Mapping) -> dict:
    """Check the settings of one head and fill in what is not given.

    Args:
        name: of the head, for the messages.
        given: see ``ProbeHeads``.

    Returns:
        All settings of the head.

    Raises:
        ValueError: if a setting is not known, is missing, or does not go with the kind.
    """
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        hint = did_you_mean(unknown[0], DEFAULTS)
        raise ValueError(f"head {name!r} has unknown settings {unknown}; it takes {sorted(DEFAULTS)}{hint}")
    spec = DEFAULTS | dict(given)
    kind = spec["kind"]
    if kind not in LOSSES:
        raise ValueError(f"head {name!r} needs a kind of {sorted(LOSSES)}, got {kind!r}.")
    if kind == "multiclass":
        if not isinstance(spec["classes"], int) or spec["classes"] < 2:
            raise ValueError(f"head {name!r} is multiclass and needs classes of at least 2, got {spec['classes']!r}.")
    elif spec["classes"] not in (None, 1):
        raise ValueError(f"head {name!r} is {kind} and has one output, got classes={spec['classes']!r}; leave it out.")
    spec["classes"] = spec["classes"] or 1
    spec["loss"] = spec["loss"] or LOSSES[kind][0]
    if spec["loss"] not in LOSSES[kind]:
        hint = did_you_mean(str(spec["loss"]), LOSSES[kind])
        raise ValueError(f"head {name!r} is {kind} and takes a loss of {LOSSES[kind]}, got {spec['loss']!r}{hint}")
    if spec["weight"] < 0 or not 0 <= spec["dropout"] < 1 or spec["spread"] <= 0:
        raise ValueError(
            f"head {name!r} needs weight >= 0, 0 <= dropout < 1 and spread > 0, got {spec['weight']}, "
            f"{spec['dropout']} and {spec['spread']}."
        )
    if spec["start"] is not None and kind == "multiclass":
        raise ValueError(f"start belongs to binary and regression heads, head {name!r} is multiclass; leave it out.")
    if spec["start"] is not None and kind == "binary" and not 0 < spec["start"] < 1:
        raise ValueError(f"start of the binary head {name!r} is a prevalence between 0 and 1, got {spec['start']}.")
    if spec["spread"] != 1 and kind != "regression":
        raise ValueError(f"spread belongs to regression heads, head {name!r} is {kind}; leave it out.")
    return spec


class ProbeHead(nn.Module):
    """One head: dropout, an optional hidden layer, and a linear layer.

    Args:
        dim: width D of the features.
        spec: from ``complete_spec``.
    """

    def __init__(self, dim: int, spec: Mapping) -> None:
        super().__init__()
        self.spread = spec["spread"] if spec["kind"] == "regression" else 1.0
        self.start = float(spec["start"] or 0.0) if spec["kind"] == "regression" else 0.0
        self.dropout = nn.Dropout(spec["dropout"])
        hidden = spec["hidden"]
        self.hidden = nn.Identity() if hidden is None else nn.Sequential(nn.Linear(dim, hidden), nn.GELU())
        self.linear = nn.Linear(dim if hidden is None else hidden, spec["classes"])
        nn.init.zeros_(self.linear.bias)
        if spec["kind"] == "binary" and spec["start"] is not None:
            nn.init.constant_(self.linear.bias, math.log(spec["start"] / (1 - spec["start"])))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, K)`` of features ``(B, D)``; of a regression the value in the target's unit."""
        raw = self.linear(self.hidden(self.dropout(features)))
        return self.start + self.spread * raw if self.spread != 1 or self.start else raw


class ProbeHeads(nn.Module):
    """Named heads on one vector a study.

    Each head is a component of its own (``heads.NAME``), so that parameter groups and freezing can name it.

    Args:
        dim: width D of the features.
        heads: the settings of each head by name:
            ``kind``: ``"binary"`` (one logit), ``"multiclass"`` (``classes`` logits) or ``"regression"`` (one value);
            ``loss``: ``"bce"`` or ``"focal"``; ``"ce"`` or ``"focal"``; ``"mse"``, ``"mae"`` or ``"huber"``;
            ``loss_options``: passed on to that loss; ``weight``: its factor; ``lr``, ``weight_decay``: of the head;
            ``dropout``; ``hidden``: width of a hidden layer; ``start``: the prevalence of a binary target or the mean
            of a regression target, where the head starts; ``spread``: factor of a regression, e.g. the target's
            standard deviation.

    Attributes:
        specs: the complete settings of each head by name, for a loss and for metrics.

    Raises:
        ValueError: if there is no head, a name cannot be used, or a setting is wrong.
    """

    def __init__(self, dim: int, heads: Mapping[str, Mapping]) -> None:
        super().__init__()
        if not heads:
            raise ValueError('heads needs at least one head, e.g. {"stenosis": {"kind": "binary"}}, got none.')
        wrong = [name for name in heads if "." in name or name == "attention"]
        if wrong:
            raise ValueError(f"a head's name has no dot and is not 'attention' (an output), got {wrong}.")
        self.specs = {name: complete_spec(name, given) for name, given in heads.items()}
        self.heads = nn.ModuleDict({name: ProbeHead(dim, spec) for name, spec in self.specs.items()})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute every head.

        Args:
            features: ``(B, D)``.

        Returns:
            Logits ``(B, K_h)`` by name: K_h = 1 for binary and regression. A regression is in the target's unit.
        """
        return {name: head(features) for name, head in self.heads.items()}

    def settings(self, key: str, prefix: str = "heads", default: float | None = None) -> dict[str, float]:
        """One setting of each head by the name of its parameters, for parameter groups.

        Args:
            key: ``"lr"`` or ``"weight_decay"``, or another setting.
            prefix: name of this module in the network.
            default: for heads without it; ``None`` leaves them out.

        Returns:
            ``{"PREFIX.heads.NAME": value}``.
        """
        if key not in DEFAULTS:
            raise ValueError(f"a head has no setting {key!r}; it has {sorted(DEFAULTS)}{did_you_mean(key, DEFAULTS)}")
        found = {name: default if spec[key] is None else spec[key] for name, spec in self.specs.items()}
        return {f"{prefix}.heads.{name}": value for name, value in found.items() if value is not None}
