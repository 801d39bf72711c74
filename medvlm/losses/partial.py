"""Means over the samples whose target is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass
class PartialMean:
    """Mean of a loss over the samples whose target is known.

    Attributes:
        local: scalar with a graph; its gradient, averaged over the processes, is the gradient of ``value``.
        value: detached scalar, the mean over the known samples of all processes.
        count: how many known samples there are in all processes.
    """

    local: Tensor
    value: Tensor
    count: int


def partial_means(losses: dict[str, Tensor], anchors: dict[str, Tensor]) -> dict[str, PartialMean]:
    """Average per-sample losses of several tasks, over all processes.

    In one process: Σ L_i / max(1, n). With ``torch.distributed`` initialised, and only while gradients are enabled
    (validation may have unequal numbers of batches), n is the number of known samples of all processes, and the
    local sum is multiplied by their number: the mean of the processes' gradients, which DistributedDataParallel
    takes, is then the gradient of one process on all samples, however the known samples are spread.

    Args:
        losses: for each task the losses of its known samples ``(n,)``; n may be 0.
        anchors: for each task the network's output, any shape; an absent task contributes exactly 0 times it, so
            that every parameter has a gradient.

    Returns:
        The mean of each task.
    """
    sums = {task: values.sum() if values.numel() else anchors[task].sum() * 0.0 for task, values in losses.items()}
    counts = torch.tensor([float(values.numel()) for values in losses.values()])
    device = next(iter(sums.values())).device
    totals = torch.cat([torch.stack([total.detach() for total in sums.values()]), counts.to(device)])
    processes = 1
    if dist.is_available() and dist.is_initialized() and torch.is_grad_enabled():
        processes = dist.get_world_size()
        dist.all_reduce(totals)
    result = {}
    for index, (task, total) in enumerate(sums.items()):
        count = int(totals[len(sums) + index])
        result[task] = PartialMean(
            local=total * (processes / max(1, count)),
            value=totals[index] / max(1, count),
            count=count,
        )
    return result
