"""Two, then four gloo processes: losses and gradients of their shares of a batch. Imports nothing of MONAI."""

from __future__ import annotations

import multiprocessing
import sys

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from medvlm.losses.cine_text import CineTextLoss
from medvlm.losses.contrastive import CONTRASTIVE
from medvlm.losses.given_positives import soft_positives

WORLDS = (2, 4)
SHARES = {1: [11], 2: [7, 4], 4: [4, 1, 2, 4]}  # of 11 samples; in four processes the second has nothing that counts
CASES = ("pairs", "keys", "given", "left_out", "soft")


class Towers(torch.nn.Module):
    """Two linear towers, a captioner and a decoder of patches, and the scale and bias among the outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = (torch.nn.Linear(6, 5, bias=False) for _ in range(2))
        self.caption, self.patches = torch.nn.Linear(5, 4 * 9), torch.nn.Linear(5, 3)
        self.log_scale, self.bias = (torch.nn.Parameter(torch.tensor(value)) for value in (2.3, -2.0))
        self.double()

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        image = functional.normalize(self.image(x), dim=1)
        return {
            "video_embedding": image,
            "text_embedding": functional.normalize(self.text(y), dim=1),
            "caption_logits": self.caption(image).unflatten(1, (4, 9)),
            "mvm_pred": self.patches(image),
            "mvm_target": x[:, :3],
            "log_scale": self.log_scale.clone(),  # DistributedDataParallel takes a bare parameter for an unused one
            "bias": self.bias.clone(),
        }


def data() -> dict[str, Tensor]:
    """Eleven samples whose equal reports and equal studies lie in different processes."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([5, 4, 3, 5, 5, 2, 4, 5, 3, 4, 5])
    return {
        "x": torch.randn(11, 6, generator=generator, dtype=torch.float64),
        "y": torch.randn(11, 6, generator=generator, dtype=torch.float64),
        "report_key": torch.tensor([3, 4, 3, 9, 8, 8, 8, 4, 3, 0, 0]),
        "study_key": torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 1, 10, 4]),
        "report_known": torch.tensor([1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1]),
        "study_valid": torch.tensor([1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1]).bool(),
        "positives": torch.rand(11, 11, generator=generator, dtype=torch.float64).square(),
        "named": torch.arange(101, 112),
        "alike": torch.randint(101, 112, (11, 3), generator=generator),
        "how_alike": torch.rand(11, 3, generator=generator, dtype=torch.float64),
        "input_ids": torch.randint(0, 9, (11, 5), generator=generator),
        "attention_mask": (torch.arange(5) < lengths[:, None]).long(),
    }


def contrastive_options(case: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the loss is told about who belongs together and who counts."""
    keys = torch.stack([batch["report_key"], batch["study_key"]], dim=1)
    valid = batch["study_valid"] & (batch["report_known"] > 0)
    if case == "soft":
        given = (batch[name] for name in ("named", "alike", "how_alike"))
        return {"positives": soft_positives(keys, *given), "valid": valid}
    return {
        "pairs": {},
        "keys": {"image_keys": keys},
        "given": {"positives": batch["positives"]},
        "left_out": {"image_keys": keys, "valid": valid},
    }[case]


def gradients(network: torch.nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Gradients by name, averaged over the processes where the network is wrapped."""
    network.zero_grad()
    loss.backward()
    inner = getattr(network, "module", network)
    return {name: parameter.grad.clone() for name, parameter in inner.named_parameters() if parameter.grad is not None}


def run(rank: int, world: int, share: slice) -> dict[str, dict]:
    """Every loss on this process's share."""
    batch = {name: value[share] for name, value in data().items()}
    seen = {}
    for kind, make in CONTRASTIVE.items():
        for case in CASES:
            network = wrapped(Towers(), world)
            pred = network(batch["x"], batch["y"])
            mean = make(chunk=3).partial(
                pred["video_embedding"], pred["text_embedding"], pred["log_scale"].exp(), pred["bias"],
                **contrastive_options(case, batch),
            )  # fmt: skip
            seen[f"{kind}.{case}"] = {"loss": mean.local.detach(), "value": mean.value, "count": mean.count}
            seen[f"{kind}.{case}"]["gradients"] = gradients(network, mean.local)
    for weighting in ("fixed", "kendall", "gradnorm"):
        network = wrapped(Towers(), world)
        loss = CineTextLoss(weighting=weighting, chunk=3, label_smoothing=0.1).double()
        if weighting == "gradnorm":
            loss.weighting.bind(getattr(network, "module", network).image.parameters())
            loss.weighting.initial_losses.copy_(torch.tensor([3.0, 1.5, 2.0]))
        total = loss(network(batch["x"], batch["y"]), batch)
        found = gradients(network, total)
        found |= {f"loss.{name}": parameter.grad for name, parameter in loss.named_parameters()}
        terms = {name: loss.terms[name] for name in ("contrastive", "captioning", "masked_video")}
        counts = {name: loss.terms[f"known_{name}"] for name in terms}
        seen[f"total.{weighting}"] = {"loss": total.detach(), "terms": terms, "counts": counts, "gradients": found}
    return seen


def golden(rank: int, world: int, stored: dict[str, Tensor]) -> dict[str, dict]:
    """open_clip's case: normalised products of given matrices."""
    rows = slice(rank * len(stored["X"]) // world, (rank + 1) * len(stored["X"]) // world)
    seen = {}
    for kind, make in CONTRASTIVE.items():
        network = torch.nn.ParameterDict({name: stored[name].clone() for name in ("Wi", "Wt", "log_scale", "bias")})
        image, text = (
            functional.normalize(stored[data][rows] @ network[weights], dim=1)
            for data, weights in (("X", "Wi"), ("Y", "Wt"))
        )
        loss = make(chunk=3)(image, text, network["log_scale"].exp(), network["bias"])
        found = gradients(network, loss)
        for gradient in found.values():  # what DistributedDataParallel does
            dist.all_reduce(gradient)
            gradient /= world
        seen[kind] = {"loss": loss.detach(), "gradients": found}
    return seen


def wrapped(network: torch.nn.Module, world: int) -> torch.nn.Module:
    """As ``medvlm.engines.distributed.wrap`` does."""
    return DistributedDataParallel(network, find_unused_parameters=True) if world > 1 else network


def work(rank: int, world: int, folder: str) -> None:
    """Run all cases on this process's share and write what it sees."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world)
    start = sum(SHARES[world][:rank])
    seen = {"ours": run(rank, world, slice(start, start + SHARES[world][rank]))}
    stored = torch.load(f"{folder}/golden.pt", weights_only=True)
    if stored:
        seen["golden"] = golden(rank, world, stored[world])
    if rank == 0:
        with torch.no_grad():  # must not wait for the others: validation batches are not paired
            seen["lone"] = CONTRASTIVE["sigmoid"]()(torch.eye(3), torch.eye(3), 1.0)
    torch.save(seen, f"{folder}/seen.{world}.{rank}")
    dist.barrier()
    dist.destroy_process_group()


def main(folder: str) -> None:
    """Fork the processes of each world size from this one, which has imported what they need."""
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    for world in WORLDS:
        processes = [context.Process(target=work, args=(rank, world, folder)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            sys.exit(f"{world} processes ended with {[process.exitcode for process in processes]}")


if __name__ == "__main__":
    main(sys.argv[1])
