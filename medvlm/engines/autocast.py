"""The forward pass of training in bfloat16, on processors too, where MONAI's ``amp`` has an effect on GPUs alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16")


def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 itself; without that, bfloat16 is slower than float32.

    False also where torch cannot tell: an older one, or on a processor that is not an x86.
    """
    told = getattr(torch.cpu, "get_capabilities", dict)()
    return any(told.get(unit, False) for unit in BFLOAT16_UNITS)


class AutocastInferer(Inferer):
    """Run another inferer under ``torch.autocast`` in bfloat16, and give its outputs as float32 to the loss.

    Weights, gradients and optimiser stay in float32. bfloat16 has the range of float32, so that no loss is scaled.

    Args:
        inferer: calls the network.
        device: that the network is on.
        enabled: without it the inner inferer's answer is passed on as it is.
    """

    def __init__(self, inferer: Inferer, device: torch.device | str = "cpu", enabled: bool = True) -> None:
        self.inferer = inferer
        self.device = torch.device(device)
        self.enabled = enabled

    def __call__(self, inputs: Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Infer a batch; arguments as those of the inner inferer, whose tensor or mapping of tensors is returned."""
        if not self.enabled:
            return self.inferer(inputs, network, *args, **kwargs)
        with torch.autocast(self.device.type, torch.bfloat16):
            out = self.inferer(inputs, network, *args, **kwargs)
        if isinstance(out, Mapping):
            return {name: value.float() if value.is_floating_point() else value for name, value in out.items()}
        return out.float()
