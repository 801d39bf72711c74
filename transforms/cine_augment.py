"""Random changes of a study's cines that keep their anatomy: the same for all frames of a view, its own for each view.

There is no flip: a mirrored angiogram shows the right coronary where the left one lies.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch.nn import functional

from transforms.boxes import move_boxes


class _PerView(Randomizable, MapTransform):
    """Change each readable view of ``(N, C, T, H, W)`` with a probability; absent views stay 0."""

    def __init__(self, keys: KeysCollection, prob: float) -> None:
        super().__init__(keys)
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in 0..1, got {prob}.")
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Change the videos of one study."""
        d = dict(data)
        for key in self.key_iterator(d):
            video = d[key].clone()
            for index in self._chosen(d, len(video)):
                video[index] = self._change(video[index], d, index)
            d[key] = video
        return d

    def _chosen(self, case: Mapping, views: int) -> Iterator[int]:
        mask = case.get("view_mask", torch.ones(views, dtype=torch.bool))
        for index in range(views):
            if bool(mask[index]) and self.R.random_sample() < self.prob:
                yield index

    @abstractmethod
    def _change(self, view: torch.Tensor, case: dict, index: int) -> torch.Tensor:
        """Change one view ``(C, T, H, W)``, the one of number ``index`` of the case."""


class RandCineAffined(_PerView):
    """Rotate, scale and shift each view a little, and the boxes in it (``Boxesd``) with it.

    A box becomes the upright box around its turned corners; one that leaves the picture by half is no longer known.
    Where boxes have not been made yet they can no longer be: ``view_places`` is taken away.

    Args:
        keys: videos ``(N, C, T, H, W)``, float.
        prob: chance of a view to be changed.
        degrees: largest rotation to either side.
        scale: largest relative change of size.
        shift: largest shift, as a fraction of the side.
    """

    def __init__(
        self,
        keys: KeysCollection = "video",
        prob: float = 0.8,
        degrees: float = 10.0,
        scale: float = 0.1,
        shift: float = 0.05,
    ) -> None:
        super().__init__(keys, prob)
        if not 0 <= degrees <= 45 or not 0 <= scale < 1 or not 0 <= shift < 1:
            raise ValueError(
                f"degrees must lie in 0..45, scale and shift in 0..1, got {degrees}, {scale}, {shift}; "
                "larger changes look like another C-arm position."
            )
        self.degrees, self.scale, self.shift = degrees, scale, shift

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Change the videos of one study."""
        d = dict(data)
        d.pop("view_places", None)
        if "box_values" in d:
            d |= {name: d[name].clone() for name in ("box_values", "box_known")}
        return super().__call__(d)

    def _change(self, view: torch.Tensor, case: dict, index: int) -> torch.Tensor:
        angle = math.radians(self.R.uniform(-self.degrees, self.degrees))
        factor = 1.0 + self.R.uniform(-self.scale, self.scale)
        right, down = self.R.uniform(-2 * self.shift, 2 * self.shift, 2)  # the grid is 2 wide
        rows, columns = view.shape[2:]
        cos, sin = math.cos(angle) / factor, math.sin(angle) / factor
        matrix = view.new_tensor([[cos, sin * rows / columns, right], [-sin * columns / rows, cos, down]])
        frames = view.reshape(1, -1, rows, columns)  # 1 C*T H W
        if "box_values" in case:
            move_boxes(case["box_values"], case["box_known"], case["box_views"] == index, matrix.double())
        grid = functional.affine_grid(matrix[None], list(frames.shape), align_corners=False)
        return functional.grid_sample(frames, grid, padding_mode="border", align_corners=False).reshape(view.shape)


class RandCineIntensityd(_PerView):
    """Change contrast, brightness, gamma and noise of each view, after ``NormaliseCined``.

    Args:
        keys: videos ``(N, C, T, H, W)``, float, mean 0 and standard deviation 1 a view.
        prob: chance of a view to be changed.
        contrast: largest relative change of contrast.
        brightness: largest shift, in standard deviations.
        gamma: largest relative change of the exponent.
        noise: largest standard deviation of noise, its own in every frame.
    """

    def __init__(
        self,
        keys: KeysCollection = "video",
        prob: float = 0.8,
        contrast: float = 0.25,
        brightness: float = 0.2,
        gamma: float = 0.2,
        noise: float = 0.1,
    ) -> None:
        super().__init__(keys, prob)
        for name, value in (("contrast", contrast), ("gamma", gamma)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must lie in 0..1, got {value}; 0.2 changes it by up to a fifth.")
        if brightness < 0 or noise < 0:
            raise ValueError(f"brightness and noise must not be negative, got {brightness} and {noise}.")
        self.contrast, self.brightness, self.gamma, self.noise = contrast, brightness, gamma, noise

    def _change(self, view: torch.Tensor, case: dict, index: int) -> torch.Tensor:
        exponent = 1.0 + self.R.uniform(-self.gamma, self.gamma)
        low, high = view.min(), view.max()
        view = (view - low) / (high - low).clamp_min(1e-6)
        view = view.pow(exponent) * (high - low) + low
        view = view * (1.0 + self.R.uniform(-self.contrast, self.contrast))
        view = view + self.R.uniform(-self.brightness, self.brightness)
        sigma = float(self.R.uniform(0.0, self.noise))
        if sigma > 0:
            generator = torch.Generator().manual_seed(int(self.R.randint(2**31 - 1)))
            view = view + sigma * torch.randn(view.shape, generator=generator)
        return view


class RandDropViewd(Randomizable, MapTransform):
    """Take views out of a study, so that a network does not rely on any one; one readable view always stays.

    Args:
        keys: videos ``(N, C, T, H, W)``.
        prob: chance of each view to be taken out.
    """

    def __init__(self, keys: KeysCollection = "video", prob: float = 0.1) -> None:
        super().__init__(keys)
        if not 0 <= prob < 1:
            raise ValueError(f"prob must lie in 0..1, below 1, got {prob}.")
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Return the case with zeros and ``view_mask`` False at the views that were taken out."""
        d = dict(data)
        mask = d["view_mask"].clone()
        readable = torch.nonzero(mask).flatten().tolist()
        dropped = [index for index in readable if self.R.random_sample() < self.prob]
        if len(dropped) == len(readable) and readable:
            dropped.pop(int(self.R.randint(len(dropped))))
        mask[dropped] = False
        for key in (*self.key_iterator(d), "angles"):
            d[key] = d[key].clone()
            d[key][dropped] = 0
        d["view_mask"] = mask
        return d
