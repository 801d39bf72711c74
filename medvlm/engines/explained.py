"""An inferer that adds to a prediction why, and how sure."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.inferers import Inferer
from torch import Tensor

from medvlm.engines.cam import check_level, eager_network, volume_activation
from medvlm.engines.mirrored import MirroredInferer
from medvlm.engines.uncertainty import flip_tta, mc_dropout


class ExplainedInferer(Inferer):
    """Run another inferer, then add class activation and uncertainty maps on the same grid.

    Args:
        inferer: gives ``mask`` and ``tumour`` logits, and ``slice_tumour`` where the network is 2D; one that averages
            mirror images leaves its own ``uncertainty_tta``, and dropout is sampled with what it wraps.
        cam: add ``cam`` (needs a class head).
        mc_samples: passes of Monte Carlo dropout for ``uncertainty_mc``; 0 switches it off.
        tta: add ``uncertainty_tta``, from a left-right flip, where the inferer has not done so.
        seed: of the dropout.
        cam_level: the encoder's map that Grad-CAM looks at, see :func:`medvlm.engines.cam.class_activation`.

    Raises:
        ValueError: When a setting is out of range.
    """

    def __init__(
        self,
        inferer: Inferer,
        cam: bool = True,
        mc_samples: int = 8,
        tta: bool = True,
        seed: int = 0,
        cam_level: int | None = None,
    ) -> None:
        if mc_samples < 0 or mc_samples == 1:
            raise ValueError(f"mc_samples must be 0 (off) or at least 2, got {mc_samples}.")
        self.inferer = inferer
        self.cam = cam
        self.mc_samples = mc_samples
        self.tta = tta
        self.seed = seed
        self.cam_level = cam_level

    def check(self, network: torch.nn.Module) -> None:
        """Look, before the first case, whether the settings fit a network.

        Raises:
            ValueError: When ``cam_level`` names none of the encoder's maps.
        """
        if self.cam and self.cam_level is not None:
            check_level(self.cam_level, len(eager_network(network).encoder.strides))

    def __call__(self, inputs: Tensor, network: Callable, *args, **kwargs) -> dict[str, Tensor]:
        """Infer one case and explain it.

        Args:
            inputs: ``(1, C, X, Y, Z)``; the background is exactly 0.
            network: see the inner inferer; its torch network also has ``encode`` and ``tumour_head``.

        Returns:
            What the inner inferer gives, and ``brain`` ``(1, 1, X, Y, Z)`` 0/1, ``cam``, ``uncertainty_mc``,
            ``uncertainty_tta`` (all ``(1, 1, X, Y, Z)``), ``tumour_spread_mc`` and ``tumour_spread_tta`` ``(1,)``,
            for what is switched on and the network's heads allow.

        Raises:
            ValueError: When a batch holds more than one case.
        """
        image = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        if len(image) != 1:
            raise ValueError(f"ExplainedInferer takes one case at a time, got {len(image)}; set the batch size to 1.")
        single = self.inferer.inferer if isinstance(self.inferer, MirroredInferer) else self.inferer
        out = dict(self.inferer(image, network))
        out["brain"] = (image != 0).any(dim=1, keepdim=True).float()
        if self.cam and "tumour" in out:
            slices = out["slice_tumour"][0] if "slice_tumour" in out else None
            batch_size = getattr(single, "batch_size", 1)
            out["cam"] = volume_activation(network, image, slices, batch_size, self.cam_level)
        spreads = {}
        if self.mc_samples:
            spreads["mc"] = mc_dropout(network, image, single, self.mc_samples, self.seed)
        if not self.tta:
            out = {key: value for key, value in out.items() if key not in ("uncertainty_tta", "tumour_spread_tta")}
        elif "uncertainty_tta" not in out and "tumour_spread_tta" not in out:
            spreads["tta"] = flip_tta(network, image, single, out)
        for name, spread in spreads.items():
            if "map" in spread:
                out[f"uncertainty_{name}"] = spread["map"]
            if "tumour" in spread:
                out[f"tumour_spread_{name}"] = spread["tumour"]
        return {key: value.detach() if isinstance(value, torch.Tensor) else value for key, value in out.items()}
