"""What a batch of studies becomes on its way into MONAI's stock trainer and evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

VIEW_KEYS = ("video", "view_mask", "angles")
TEXT_KEYS = ("input_ids", "attention_mask", "report_known", "report_key", "study_key")
TARGET_KEYS = ("targets", "targets_known")
BOX_KEYS = ("box_values", "box_known", "box_views", "phrase_ids", "phrase_mask")
GIVEN_KEYS = ("teacher", "teacher_known", "case_key", "similar_keys", "similar_weights")
OBJECTIVES = ("contrastive", "captioning", "boxes", "masked_video", "distillation")
TYPES = {
    "video": torch.float32, "view_mask": torch.bool, "angles": torch.float32, "input_ids": torch.long,
    "attention_mask": torch.long, "report_known": torch.float32, "report_key": torch.long, "study_key": torch.long,
    "targets": torch.float32, "targets_known": torch.float32, "teacher": torch.float32,
    "teacher_known": torch.float32, "case_key": torch.long, "similar_keys": torch.long,
    "similar_weights": torch.float32,
    "box_known": torch.bool, "box_views": torch.long, "phrase_ids": torch.long, "phrase_mask": torch.long,
}  # fmt: skip


class PrepareCineBatch:
    """Turn a collated batch of studies into what ``CineTextNet`` and ``CineTextLoss`` (or a probe) take.

    A study is valid when any of its views could be read; losses and metrics leave the others out.

    Args:
        objectives: what the network is asked for, of ``OBJECTIVES``; handed to it as it is. Text is read where an
            objective needs it. Empty: nothing is asked for and no text is given, as ``CineProbeNet`` wants it.
        targets: whether the batch holds ``targets`` and ``targets_known`` (probes).
        masks: draws the tokens to hide, ``(video (B, N, C, T, H, W), view_mask (B, N)) -> bool tensor``, given to the
            network as ``masked_tokens``; absent: the network draws them.
        side: keys of further inputs (ECG vector, note, table), given to the network as ``side``; what of one is known
            stands under its key with ``_known`` appended, where the batch has that.

    Raises:
        ValueError: for an unknown objective, or masks that have no effect.
    """

    def __init__(
        self,
        objectives: Sequence[str] = ("contrastive", "captioning", "masked_video"),
        targets: bool = False,
        masks: Callable[[Tensor, Tensor], Tensor] | None = None,
        side: Sequence[str] = (),
    ) -> None:
        unknown = sorted(set(objectives) - set(OBJECTIVES))
        if unknown or isinstance(objectives, str):
            raise ValueError(f"objectives must be a list of some of {OBJECTIVES}, got {objectives!r}.")
        if masks is not None and "masked_video" not in objectives:
            raise ValueError(f"masks belong to the objective 'masked_video', got objectives={tuple(objectives)}.")
        self.objectives, self.targets, self.masks = tuple(objectives), targets, masks
        self.text = bool({"contrastive", "captioning"} & set(objectives))
        self.boxes = "boxes" in objectives
        self.keys = VIEW_KEYS + TEXT_KEYS * self.text + BOX_KEYS * self.boxes + TARGET_KEYS * targets
        self.side = tuple(side)

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor], tuple, dict[str, Any]]:
        """Move the batch to the device and sort it into inputs and targets.

        Args:
            batchdata: ``video`` (B, N, C, T, H, W), ``view_mask`` (B, N), ``angles`` (B, N, 6); with text ``input_ids``
                and ``attention_mask`` (B, L), ``report_known``, ``report_key``, ``study_key`` (B,); with the
                objective ``boxes`` what ``Boxesd`` gives, (B, M, ...); for probes ``targets`` and ``targets_known``
                (B, K); optionally ``teacher`` (B, D) and ``teacher_known`` (B,), features of a given teacher, and
                ``case_key`` (B,), ``similar_keys`` and ``similar_weights`` (B, P), given positives.
            device: where the tensors go.
            non_blocking: as in ``torch.Tensor.to``.
            kwargs: further arguments of ``torch.Tensor.to``, as MONAI's ``to_kwargs`` gives them.

        Returns:
            The videos; the targets (``study_valid`` (B,) bool, and of the above what is no input or is also compared:
            tokens, flags, keys, targets); no further positional arguments; the keyword arguments of the network.

        Raises:
            KeyError: when the batch lacks a key.
        """
        missing = [key for key in (*self.keys, *self.side) if key not in batchdata]
        if missing:
            raise KeyError(
                f"a batch of studies needs {[*self.keys, *self.side]}, lacks {missing}; LoadCined gives the views, "
                "Tokenised the text, Boxesd the boxes (captioning_boxes.json), TargetsToTensord the targets, "
                "SideInputsd further inputs, and PickCined must keep them."
            )

        def move(key: str) -> Tensor:
            value = torch.as_tensor(batchdata[key])
            value = value.as_tensor() if hasattr(value, "as_tensor") else value
            kind = TYPES.get(key, torch.float32 if value.is_floating_point() else torch.long)
            return value.to(device=device, dtype=kind, non_blocking=non_blocking, **kwargs)

        batch = {key: move(key) for key in (*self.keys, *[key for key in GIVEN_KEYS if key in batchdata])}
        video, view_mask = batch.pop("video"), batch.pop("view_mask")
        inputs: dict[str, Any] = {"view_mask": view_mask, "angles": batch.pop("angles")}
        if self.text:
            inputs |= {key: batch[key] for key in ("input_ids", "attention_mask")}
        if self.objectives:
            inputs["objectives"] = self.objectives
        if self.side:
            inputs["side"] = {key: move(key) for key in self.side}
            inputs["side_known"] = {key: move(f"{key}_known") for key in self.side if f"{key}_known" in batchdata}
        if self.boxes:
            inputs["boxes"] = {key: batch.pop(key) for key in BOX_KEYS}
        if self.masks is not None:
            inputs["masked_tokens"] = self.masks(video, view_mask)
        return video, {"study_valid": view_mask.any(dim=1), **batch}, (), inputs
