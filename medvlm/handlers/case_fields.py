"""What a handler or a metric needs of one evaluated case, gathered from Ignite's batch and output."""

from __future__ import annotations

from typing import Any

import torch

CASE_KEYS = ("mask_known", "tumour", "tumour_known", "case_id", "patient_id", "source", "class_name")
OUTPUT_KEYS = ("label", "pred_mask", "pred_tumour", "pred_features", "pred_slice_tumour")


def case_fields(state: Any) -> list[dict[str, Any]]:
    """One flat dictionary a case of the batch that an evaluator has just finished.

    Args:
        state: the engine's state after post-processing, ``state.batch`` and ``state.output`` decollated.

    Returns:
        The known ones of ``CASE_KEYS`` from the batch and of ``OUTPUT_KEYS`` from the output, and with class logits
        ``probability``: that of any class but the first (no tumour).
    """
    cases = []
    for batch, output in zip(state.batch, state.output, strict=True):
        case = {key: batch[key] for key in CASE_KEYS if key in batch}
        case.update({key: output[key] for key in OUTPUT_KEYS if key in output})
        if "pred_tumour" in case:
            case["probability"] = float(1.0 - torch.softmax(torch.as_tensor(case["pred_tumour"]).float(), dim=-1)[0])
        cases.append(case)
    return cases
