"""The few calls that make a training config run under ``torchrun``, on GPUs with NCCL and on CPUs with gloo."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

logger = logging.getLogger(__name__)


def start() -> None:
    """Join the process group that ``torchrun`` describes.

    Raises:
        RuntimeError: when the process was not started by ``torchrun``.
    """
    if dist.is_initialized():
        return
    if "LOCAL_RANK" not in os.environ:
        raise RuntimeError(
            "multi_gpu_train.json needs torchrun, LOCAL_RANK is not set; start it with "
            "`torchrun --nproc_per_node N -m monai.bundle run --config_file \"['train.json','multi_gpu_train.json']\"`."
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend="nccl" if torch.cuda.is_available() else "gloo")
    if dist.get_rank():
        logging.getLogger().setLevel(logging.WARNING)  # rank 0 speaks for all


def this_device() -> torch.device:
    """The device of this process: its own GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def wrap(network: torch.nn.Module, device: torch.device) -> DistributedDataParallel:
    """Wrap a network for data-parallel training.

    A head whose target no sample of the batch knows still takes part with a zero loss, but a head that is off or
    frozen has no gradient at all; unused parameters are therefore looked for.

    Args:
        network: already on ``device``.
        device: of this process.
    """
    return DistributedDataParallel(
        network, device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True
    )


def share_of(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """This process's part of the validation cases, every case in exactly one part.

    Raises:
        ValueError: when there are fewer cases than processes: one would wait for the others for ever.
    """
    if not dist.is_initialized():
        return list(cases)
    world, rank = dist.get_world_size(), dist.get_rank()
    if len(cases) < world:
        raise ValueError(f"validation needs at least one case a process, got {len(cases)} cases for {world} processes.")
    return list(cases[rank::world])


def stop(network: torch.nn.Module | None = None) -> None:
    """Leave the process group; meant for ``finalize``.

    A reducer that outlives the group joins the group's thread with the GIL held, which that thread may need: the
    processes of a finished run would wait for ever. So the wrapper lets go of its own first.

    Args:
        network: what :func:`wrap` gave; it cannot train afterwards, the network inside can.
    """
    if isinstance(network, DistributedDataParallel):
        network.reducer = network.logger = None
        gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()
