"""What the processes of a run have found, put together."""

from __future__ import annotations

from typing import Any

import torch


def gathered(values: list) -> list:
    """The values of all processes in the order of their ranks; the list itself where there is one process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, values)
    return [value for part in parts for value in part]
