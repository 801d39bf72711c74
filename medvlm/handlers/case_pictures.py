"""The picture of an evaluated case: image, truth, prediction and activation on the grid that the network saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch
from PIL import Image

from medvlm.visualize.panels import case_panel
from medvlm.visualize.slices import informative_slice, slice_words


@dataclass
class CasePicture:
    """One slice of a case, small enough to keep until it is known whose picture is wanted.

    Args:
        image: (X, Y), x to the patient's left and y to the back.
        truth: mask (X, Y), or ``None`` where it is unknown.
        pred: mask (X, Y), or ``None`` without a mask head.
        cam: class activation (X, Y), or ``None``.
        spacing: millimetres a voxel along x and y.
        place: which slice of the volume it is, on the grid that the network saw; empty for a picture.
    """

    image: np.ndarray
    truth: np.ndarray | None
    pred: np.ndarray | None
    cam: np.ndarray | None
    spacing: tuple[float, float]
    place: str = ""

    def png(self, title: str = "", footer: str = "") -> bytes:
        """Draw the case as a row of pictures, under the title and the slice's place."""
        given = {"title": title, "place": self.place, "footer": footer, "spacing": self.spacing}
        return case_panel(self.image, self.truth, self.pred, self.cam, **given)

    def array(self, title: str = "") -> np.ndarray:
        """The drawn picture (H, W, 3) uint8, as TensorBoard takes it."""
        return np.asarray(Image.open(BytesIO(self.png(title))).convert("RGB"))


def take_picture(
    batch: dict[str, Any],
    output: dict[str, Any],
    threshold: float = 0.5,
    cam: Callable[..., torch.Tensor] | None = None,
    network: torch.nn.Module | None = None,
) -> CasePicture:
    """Take the most telling slice of a case that an evaluator has just finished.

    Args:
        batch: the decollated batch entry, with ``mask_known``.
        output: the decollated output with ``image`` (C, X, Y, Z) as the network saw it, LPS, and on the native grid
            ``label`` and ``pred_mask`` (R, X', Y', Z').
        threshold: probability above which a voxel belongs to a region.
        cam: ``cam(network, image (1, C, X, Y, Z), slice_logits) -> (1, 1, X, Y, Z)``, or ``None``.
        network: what ``cam`` looks into.
    """
    image = output["image"]
    truth = _onto(output["label"], image) > 0.5 if float(batch["mask_known"]) else None
    pred = _onto(output["pred_mask"], image) > threshold if "pred_mask" in output else None
    shown = _array(image)[0]
    z = informative_slice(shown, *(mask[None] for mask in (truth, pred) if mask is not None))
    heat = None
    if cam is not None and network is not None and "pred_tumour" in output:
        whole = torch.as_tensor(_array(image), device=next(network.parameters()).device)
        heat = _array(cam(network, whole[None], output.get("pred_slice_tumour")))[0, 0, :, :, z]
    spacing = tuple(float(s) for s in image.pixdim[:2]) if isinstance(image, MetaTensor) else (1.0, 1.0)
    return CasePicture(
        image=shown[:, :, z].astype(np.float16),
        truth=None if truth is None else truth[..., z],
        pred=None if pred is None else pred[..., z],
        cam=None if heat is None else heat.astype(np.float16),
        spacing=(spacing[0], spacing[1]),
        place=slice_words(z, shown.shape[2]),
    )


def _onto(mask: Any, image: Any) -> np.ndarray:
    """The first region of a mask on the image's grid, (X, Y, Z)."""
    if isinstance(mask, MetaTensor) and isinstance(image, MetaTensor):
        moved = ResampleToMatch(mode="nearest", padding_mode="zeros")(mask[:1].float(), img_dst=image[:1])
        return _array(moved)[0]
    return _array(mask)[0]


def _array(value: Any) -> np.ndarray:
    return torch.as_tensor(value).detach().cpu().numpy()
