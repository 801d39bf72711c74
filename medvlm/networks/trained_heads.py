"""Switch off the heads of a network that its weights' training never reached."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from medvlm.trained_settings import untrained_heads, untrained_words

logger = logging.getLogger(__name__)


def switch_off_untrained(network: nn.Module, weights: str | Path) -> nn.Module:
    """Switch off the heads that were never trained, by the record beside the weights, and say so in the log.

    The network of a first stage, or of an ablation, holds the random start of its other head: what that head answers
    looks like an answer.

    Args:
        network: with ``mask_on`` and ``tumour_on``, such as ``SegClsNet``; any other is left alone.
        weights: the file that the network's weights were read from; one without a record changes nothing.

    Returns:
        The network, for use in a JSON expression.

    Raises:
        ValueError: if none of the heads that are on was trained.
    """
    heads = [name.removesuffix("_on") for name in vars(network) if name.endswith("_on") and getattr(network, name)]
    off = untrained_heads(weights, heads)
    if not off:
        return network
    if len(off) == len(heads):
        raise ValueError(
            f"{Path(weights).name} was trained for none of the heads that are on ({', '.join(heads)}); give other "
            "weights (checkpoint), or switch on the head that it was trained for (network_def::heads)."
        )
    for name in off:
        setattr(network, f"{name}_on", False)
    logger.warning("%s. It is switched off.", untrained_words(weights, off))
    return network
