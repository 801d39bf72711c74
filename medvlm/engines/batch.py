"""What a batch becomes on its way into MONAI's stock trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

REQUIRED_KEYS = ("image", "label", "mask_known", "tumour", "tumour_known")


class PrepareMultiTaskBatch:
    """Turn a collated batch into ``(image, targets)`` for a trainer whose loss takes a dictionary of targets.

    MONAI's ``default_prepare_batch`` turns a dictionary of targets into ``None`` without an error; this class is what a
    multi-task network needs instead.

    Args:
        targets: the tasks that go to the loss; ``("mask", "tumour")`` by default.
        skip_unknown_masks: tell the network which samples have a known mask (``masked``, an argument that it must
            take), so that it need not decode the others; the loss is the same.

    Raises:
        KeyError: when the batch lacks a key that a task needs.
    """

    def __init__(
        self, targets: tuple[str, ...] | list[str] = ("mask", "tumour"), skip_unknown_masks: bool = False
    ) -> None:
        unknown = sorted(set(targets) - {"mask", "tumour"})
        if unknown:
            raise ValueError(f"targets must be among ('mask', 'tumour'), got {unknown}; remove or rename them.")
        self.targets = tuple(targets)
        self.skip_unknown_masks = skip_unknown_masks

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]] | tuple[Tensor, dict[str, Tensor], tuple, dict[str, Tensor]]:
        """Move the batch to the device and name its targets.

        Args:
            batchdata: ``image`` (B, C, *S) float, ``label`` (B, R, *S) 0/1, ``mask_known`` (B,), ``tumour`` (B,) and
                ``tumour_known`` (B,).
            device: where the tensors go.
            non_blocking: as in ``torch.Tensor.to``.
            kwargs: further arguments of ``torch.Tensor.to``, as MONAI's ``to_kwargs`` gives them.

        Returns:
            The image and ``{"mask", "mask_known", "tumour", "tumour_known"}``: float masks, float flags, long classes.
            With ``skip_unknown_masks`` also no positional and one named argument of the network, as MONAI's trainers
            take them.
        """
        missing = [key for key in REQUIRED_KEYS if key not in batchdata]
        if missing:
            raise KeyError(
                f"a training batch needs {list(REQUIRED_KEYS)}, lacks {missing}; LoadCased sets the flags of a case."
            )

        def move(key: str, dtype: torch.dtype) -> Tensor:
            value = torch.as_tensor(batchdata[key])
            value = value.as_tensor() if hasattr(value, "as_tensor") else value
            return value.to(device=device, dtype=dtype, non_blocking=non_blocking, **kwargs)

        targets: dict[str, Tensor] = {}
        if "mask" in self.targets:
            targets["mask"] = move("label", torch.float32)
            targets["mask_known"] = move("mask_known", torch.float32).reshape(-1)
        if "tumour" in self.targets:
            targets["tumour"] = move("tumour", torch.long).reshape(-1)
            targets["tumour_known"] = move("tumour_known", torch.float32).reshape(-1)
        if self.skip_unknown_masks and "mask" in targets:
            return move("image", torch.float32), targets, (), {"masked": targets["mask_known"] > 0}
        return move("image", torch.float32), targets
