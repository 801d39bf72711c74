"""What each gloo process of test_distributed runs; apart, so that a spawned process imports nothing else."""

from __future__ import annotations

import os

import torch

from medvlm.engines.distributed import share_of, start, stop, this_device, wrap
from medvlm.losses import MultiTaskLoss
from medvlm.networks.nets import SegClsNet


def make_batch() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Four samples: masks known for three of them, classes for two, unevenly over two halves."""
    generator = torch.Generator().manual_seed(5)
    image = torch.randn(4, 1, 32, 32, generator=generator)
    target = {
        "mask": (torch.rand(4, 1, 32, 32, generator=generator) > 0.7).float(),
        "mask_known": torch.tensor([1.0, 1.0, 0.0, 1.0]),
        "tumour": torch.tensor([1, 0, 1, 0]),
        "tumour_known": torch.tensor([0.0, 0.0, 1.0, 1.0]),
    }
    return image, target


def make_network() -> SegClsNet:
    """The same small network in every process."""
    torch.manual_seed(0)
    return SegClsNet(features=(8, 8, 16), dropout=0.0)


def loss_and_gradients(network: torch.nn.Module, rows: slice) -> tuple[float, dict[str, torch.Tensor]]:
    """One backward pass over some rows of the batch."""
    image, target = make_batch()
    loss = MultiTaskLoss()(network(image[rows]), {name: value[rows] for name, value in target.items()})
    loss.backward()
    inner = getattr(network, "module", network)
    return float(loss.detach()), {name: p.grad.clone() for name, p in inner.named_parameters() if p.grad is not None}


def work(rank: int, port: int, file: str) -> None:
    """Join two processes, run one step on this one's half, and save what it saw."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    start()
    network = wrap(make_network(), this_device())
    loss, gradients = loss_and_gradients(network, slice(2 * rank, 2 * rank + 2))
    mine = [case["n"] for case in share_of([{"n": n} for n in range(5)])]
    torch.save({"loss": loss, "gradients": gradients, "mine": mine}, f"{file}.{rank}")
    stop(network)
    assert network.reducer is None
