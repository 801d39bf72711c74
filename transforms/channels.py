"""Choosing image channels by name, and learning to do without some of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform, Transform

from transforms.conventions import check_probability, like

UNNAMED = "MRI"  # an MR image of unstated weighting
PRESENT = "channels_present"


def _called(data: Mapping[Hashable, object], key: Hashable) -> str:
    """What messages call an image: its case and, where it was read from one, its file."""
    case, file = str(data.get("case_id") or key), getattr(data[key], "meta", {}).get("filename_or_obj")
    return f"{case} ({file})" if file else case


class SelectChannels(Transform):
    """Put the channels that a network wants in its order, by name and never by position.

    Args:
        channels: wanted names, such as ``["FLAIR", "T1", "T1c", "T2"]``.
        accept_unnamed: let a one-channel image of unstated weighting (``MRI``) serve a one-channel network.
        allow_missing: give a zero channel for a missing one instead of an error; one must be present.
    """

    def __init__(
        self, channels: Sequence[str] = ("FLAIR",), accept_unnamed: bool = True, allow_missing: bool = False
    ) -> None:
        if isinstance(channels, str) or not channels or len(set(channels)) != len(channels):
            raise ValueError(f"channels must be a list of distinct names such as ['FLAIR'], got {channels!r}.")
        self.channels = tuple(channels)
        self.accept_unnamed = accept_unnamed
        self.allow_missing = allow_missing

    def __call__(
        self, image: torch.Tensor, names: Sequence[str], case: str = "image"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Select from one image.

        Args:
            image: ``(C, X, Y[, Z])``.
            names: the C names of its channels.
            case: what messages call the image.

        Returns:
            The image ``(len(channels), X, Y[, Z])``, and which channels are present, float32 ``(len(channels),)``.

        Raises:
            ValueError: where names and channels do not match in number, or a wanted channel is missing.
        """
        names = list(names)
        if len(set(names)) != len(names):
            raise ValueError(f'{case}: each channel must have its own name, got {names}; correct its "channels".')
        if len(names) != len(image):
            raise ValueError(
                f"{case}: each channel must have a name, got {len(image)} channels and {len(names)} names {names}; "
                'give "channels" in file order.'
            )
        if self.accept_unnamed and names == [UNNAMED] and len(self.channels) == 1:
            names = list(self.channels)
        missing = [name for name in self.channels if name not in names]
        if missing and (not self.allow_missing or len(missing) == len(self.channels)):
            raise ValueError(
                f"{case}: channels {missing} are missing, the case has {names}; add the files, say which channel "
                "a file really holds (`--channels FLAIR` of predict, `input_channels` of inference.json, `channels` of "
                "a datalist), or use a network that was trained with allow_missing and modality dropout."
            )
        present = torch.tensor([float(name in names) for name in self.channels])
        if names == list(self.channels):
            return image, present
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        out = plain.new_zeros((len(self.channels), *plain.shape[1:]))
        for index, name in enumerate(self.channels):
            if name in names:
                out[index] = plain[names.index(name)]
        return like(out, image), present


class SelectChannelsd(MapTransform):
    """Dictionary form of ``SelectChannels``; names come from the case's ``channels``.

    Sets ``channels_present``, float32 ``(C,)``, and removes ``channels``, whose length differs between sources and
    would not collate.

    Args:
        keys: images.
        channels: see ``SelectChannels``.
        accept_unnamed: see ``SelectChannels``.
        allow_missing: see ``SelectChannels``.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        channels: Sequence[str] = ("FLAIR",),
        accept_unnamed: bool = True,
        allow_missing: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.select = SelectChannels(channels, accept_unnamed, allow_missing)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Select in ``data[key]`` ``(C, X, Y, Z)``; a case without ``channels`` holds what the network wants.

        Raises:
            ValueError: see ``SelectChannels``.
        """
        d = dict(data)
        names = d.pop("channels", None) or self.select.channels
        for key in self.key_iterator(d):
            d[key], d[PRESENT] = self.select(d[key], names, _called(d, key))
        return d


class RandModalityDropout(RandomizableTransform):
    """Set random channels to 0, so that a network learns to do without a modality.

    Args:
        prob: probability that an image loses channels at all; how many is uniform over what is allowed.
        min_kept: number of channels that always stay.
    """

    def __init__(self, prob: float = 0.1, min_kept: int = 1) -> None:
        check_probability(prob)
        if min_kept < 1:
            raise ValueError(f"min_kept must be at least 1, got {min_kept}; an image without channels shows nothing.")
        super().__init__(prob)
        self.min_kept = min_kept
        self.dropped: np.ndarray = np.array([], dtype=int)

    def randomize(self, present: np.ndarray) -> None:
        """Draw the channels to drop among the ``present`` ones (indices)."""
        super().randomize(None)
        self.dropped = np.array([], dtype=int)
        room = len(present) - self.min_kept
        if self._do_transform and room > 0:
            count = self.R.randint(1, room + 1)
            self.dropped = self.R.choice(present, count, replace=False)

    def __call__(
        self, image: torch.Tensor, present: torch.Tensor | None = None, randomize: bool = True
    ) -> torch.Tensor:
        """Drop channels of one image.

        Args:
            image: ``(C, ...)``.
            present: which channels are there, ``(C,)``; None for all.
            randomize: draw anew.

        Returns:
            The image with the dropped channels 0; ``dropped`` holds their indices.
        """
        if randomize:
            here = np.arange(len(image)) if present is None else np.flatnonzero(np.asarray(present))
            self.randomize(here)
        if not len(self.dropped):
            return image
        out = image.clone()
        out[torch.as_tensor(self.dropped)] = 0
        return out


class RandModalityDropoutd(RandomizableTransform, MapTransform):
    """Dictionary form of ``RandModalityDropout``: the same channels in every key; updates ``channels_present``.

    Args:
        keys: images.
        prob: see ``RandModalityDropout``.
        min_kept: see ``RandModalityDropout``.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(
        self, keys: KeysCollection = "image", prob: float = 0.1, min_kept: int = 1, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.drop = RandModalityDropout(prob, min_kept)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandModalityDropoutd:
        """Seed this transform and the one it wraps."""
        super().set_random_state(seed, state)
        self.drop.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Drop channels of ``data[key]`` ``(C, ...)``."""
        d = dict(data)
        present = d.get(PRESENT)
        for number, key in enumerate(self.key_iterator(d)):
            d[key] = self.drop(d[key], present, randomize=number == 0)
            if present is None:
                present = torch.ones(len(d[key]))
        if present is not None:
            present = present.clone()
            present[torch.as_tensor(self.drop.dropped)] = 0
            d[PRESENT] = present
        return d


class RandChanneld(RandomizableTransform, MapTransform):
    """Show a one-channel network now and then another channel of the case: a mask drawn on FLAIR holds on T1 too.

    A network that has seen only FLAIR with masks knows T1 or T2 from unlabelled pictures alone. Takes the place of
    ``SelectChannelsd`` in training, after the deterministic transforms, so that a cache holds every channel.

    Args:
        keys: images ``(C, X, Y[, Z])``.
        channels: what the network wants. With several names the case's channels are put in their order, as
            ``SelectChannelsd`` does, and ``prob`` has no effect.
        prob: chance of another channel than the one wanted, each of the case's others alike. A case that lacks the
            wanted one always shows one of those it has; one of unstated weighting (``MRI``) shows that.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        channels: Sequence[str] = ("FLAIR",),
        prob: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        check_probability(prob)
        self.select = SelectChannelsd(keys, channels, allow_missing_keys=allow_missing_keys)
        self.channels = self.select.select.channels

    def randomize(self, names: Sequence[str]) -> int:
        """Draw the index of a channel among ``names``."""
        super().randomize(None)
        others = [index for index, name in enumerate(names) if name != self.channels[0]]
        if others and (self._do_transform or self.channels[0] not in names):
            return int(self.R.choice(others))
        return list(names).index(self.channels[0])

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Choose from ``data[key]``; removes ``channels`` and sets ``channels_present``.

        Raises:
            ValueError: when names and channels do not match in number; with several wanted, when one is missing.
        """
        d = dict(data)
        names = list(d.get("channels") or self.channels)
        if len(self.channels) > 1:
            return self.select(d)
        d.pop("channels", None)
        index = self.randomize(names)
        for key in self.key_iterator(d):
            if len(d[key]) != len(names):
                raise ValueError(
                    f"{_called(d, key)}: each channel must have a name, got {len(d[key])} channels and {len(names)} "
                    f'names {names}; give "channels" in file order.'
                )
            d[key] = d[key][index : index + 1]
        d[PRESENT] = torch.ones(1)
        return d
