"""One of two gloo processes: the gradient of its share of a batch. Imports nothing of MONAI, whose import is slow."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

from medvlm.losses.partial import PartialMean, partial_means
from medvlm.losses.weighting import WEIGHTINGS


class Toy(torch.nn.Module):
    """A shared layer and two heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared, self.mask, self.tumour = torch.nn.Linear(3, 4), torch.nn.Linear(4, 5), torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = torch.tanh(self.shared(x))
        return {"mask": self.mask(features), "tumour": self.tumour(features)}


def data() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Six samples; all three known masks and one of four known classes among the first four."""
    torch.manual_seed(1)
    known = {"mask": torch.tensor([1, 1, 0, 1, 0, 0]), "tumour": torch.tensor([1, 0, 0, 0, 1, 1])}
    return torch.randn(6, 3), known


def step(network: torch.nn.Module, weighting: torch.nn.Module, x, known) -> dict[str, torch.Tensor]:
    """Gradients and values of one step."""
    heads = network(x)
    losses = {task: head.square().mean(1)[known[task] > 0] for task, head in heads.items()}
    means: dict[str, PartialMean] = partial_means(losses, heads)
    total = weighting(means)
    total.backward()
    inner = getattr(network, "module", network)
    result = {f"grad.{name}": p.grad for name, p in inner.named_parameters()}
    result |= {f"weighting.{name}": p.grad for name, p in weighting.named_parameters()}
    return result | {task: mean.value for task, mean in means.items()}


def weights_of(name: str, network: Toy) -> torch.nn.Module:
    """The weighting to test, GradNorm with a history."""
    weighting = WEIGHTINGS[name]({"mask": 2.0, "tumour": 0.7})
    if name == "gradnorm":
        weighting.bind(network.shared.parameters())
        weighting.initial_losses.copy_(torch.tensor([0.3, 0.9]))
    return weighting


def main(rank: int, store: str, out: str) -> None:
    """Take samples 0-3 or 4-5, and write what this process sees."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    x, known = data()
    part = slice(0, 4) if rank == 0 else slice(4, 6)
    seen = {}
    for name in WEIGHTINGS:
        network = Toy()
        wrapped = torch.nn.parallel.DistributedDataParallel(network)
        seen[name] = step(wrapped, weights_of(name, network), x[part], {k: v[part] for k, v in known.items()})
    with torch.no_grad():  # must not wait for the other process: validation batches are not paired
        if rank == 0:
            lone = partial_means({"mask": torch.tensor([1.0, 3.0])}, {"mask": torch.zeros(2)})
            seen["lone"] = {"mask": lone["mask"].value}
    torch.save(seen, f"{out}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
