"""Label values to tumour regions and back, by the convention that the case itself states."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from transforms.conventions import like

NESTED = ("ET", "TC", "WT")  # each is a part of the next
PAINT_ORDER = ("WT", "TC", "ET")  # the smaller region is painted over the larger
DATASTORE = "datastore_v2.json"  # lies beside the images that MONAI Label serves
EXTRA_VALUES = {"brats2024": (4,)}  # legal values that belong to no region: the resection cavity


def _check_nested(values: Mapping[str, Sequence[int]]) -> None:
    present = [name for name in NESTED if name in values]
    for inner, outer in zip(present, present[1:], strict=False):
        stray = sorted(set(values[inner]) - set(values[outer]))
        if stray:
            raise ValueError(
                f"{inner} must be a part of {outer}, but values {stray} are in {inner} {list(values[inner])} "
                f"and not in {outer} {list(values[outer])}; are the regions swapped? "
                "Prepare the datalist with its convention."
            )


def _check_channels(masks: torch.Tensor, regions: Sequence[str]) -> None:
    if len(masks) != len(regions):
        raise ValueError(f"masks must have one channel a region {regions}, got shape {tuple(masks.shape)}.")


class LabelsToRegions(Transform):
    """Turn a map of label values into one binary channel a region.

    Args:
        regions: names of the output channels, in order.
    """

    def __init__(self, regions: Sequence[str] = ("WT",)) -> None:
        if isinstance(regions, str) or not regions or len(set(regions)) != len(regions):
            raise ValueError(f"regions must be a list of distinct names such as ['TC', 'WT', 'ET'], got {regions!r}.")
        self.regions = tuple(regions)

    def __call__(
        self, label: torch.Tensor, values: Mapping[str, Sequence[int]], extra: Sequence[int] = (), name: str = "label"
    ) -> torch.Tensor:
        """Convert one label.

        Args:
            label: ``(1, X, Y[, Z])`` whole numbers.
            values: the label values of each region, such as ``{"WT": [1, 2, 4]}``.
            extra: further legal values, in no region.
            name: what messages call the label.

        Returns:
            ``(R, X, Y[, Z])`` uint8.

        Raises:
            ValueError: where a region has no values, regions are not nested, or the label holds other values.
        """
        missing = [region for region in self.regions if region not in values]
        if missing:
            raise ValueError(
                f"{name}: regions {missing} are not defined by this case's convention, which has {sorted(values)}; "
                "train with regions that all sources define, or leave the case out."
            )
        _check_nested(values)
        legal = sorted({0, *extra}.union(*values.values()))
        found = torch.unique(torch.as_tensor(label)).tolist()
        strange = [value for value in found if value not in legal]
        if strange:
            raise ValueError(
                f"{name}: label values must be among {legal}, found {strange[:10]}; "
                "is another convention meant (prepare --convention), or are two labels swapped?"
            )
        plain = torch.as_tensor(label)[0]
        if isinstance(plain, MetaTensor):
            plain = plain.as_tensor()
        table = torch.zeros(max(legal) + 1, len(self.regions), dtype=torch.uint8)
        for index, region in enumerate(self.regions):
            table[list(values[region]), index] = 1
        out = torch.stack([column[plain.long()] for column in table.T.contiguous()])
        return like(out, label)


class LabelsToRegionsd(MapTransform):
    """Dictionary form of ``LabelsToRegions``; the case says itself how its values are read.

    A case whose mask is unknown or empty gets zeros. ``regions`` and ``convention`` leave the case, since they do
    not collate.

    Args:
        keys: labels.
        regions: names of the output channels, in order.
        extra_values: legal values that belong to no region, by the convention's name.
        allow_missing_keys: skip keys that the case does not have.
        drawn: the values of each region in a label that was drawn in MONAI Label with the bundle's own label, and so
            states none: its file lies below a folder with MONAI Label's ``datastore_v2.json``. Other labels that
            state none are refused, whatever values they hold.
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        regions: Sequence[str] = ("WT",),
        extra_values: Mapping[str, Sequence[int]] | None = None,
        allow_missing_keys: bool = False,
        drawn: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.convert = LabelsToRegions(regions)
        self.drawn = dict(drawn or {})
        self.extra_values = EXTRA_VALUES if extra_values is None else extra_values

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Convert ``data[key]`` ``(1, X, Y, Z)`` to ``(R, X, Y, Z)``."""
        d = dict(data)
        stated = d.pop("regions", None)
        convention = d.pop("convention", None)
        for key in self.key_iterator(d):
            label = d[key]
            name = str(d.get("case_id") or key)
            values = stated or (self.drawn if was_drawn(label) else {})
            if values:
                d[key] = self.convert(label, values, self.extra_values.get(convention, ()), name)
            elif torch.count_nonzero(label):
                raise ValueError(
                    f"{name}: a label that is not empty must come with its convention, got regions {stated or {}}; "
                    "prepare the datalist again with --convention."
                )
            else:
                shape = (len(self.convert.regions), *label.shape[1:])
                d[key] = like(torch.zeros(shape, dtype=torch.uint8), label)
        return d


def was_drawn(label: object) -> bool:
    """Whether the file of a label lies in a folder that MONAI Label keeps (``datastore_v2.json``)."""
    file = getattr(label, "meta", {}).get("filename_or_obj")
    return bool(file) and any((folder / DATASTORE).is_file() for folder in Path(str(file)).parents)


class NestRegions(Transform):
    """Make each region hold the ones that are a part of it: ET lies in TC, and TC in WT.

    A network gives each region its own probability, so that an inner one may reach beyond an outer one. A map of
    label values, in which the inner is painted over the outer, then says more than the outer's own channel; with the
    larger of the two probabilities, map, volumes and scores are those of one mask.

    Args:
        regions: names of the channels, in order.
    """

    def __init__(self, regions: Sequence[str]) -> None:
        self.regions = tuple(regions)
        present = [self.regions.index(name) for name in NESTED if name in self.regions]
        self.pairs = list(itertools.pairwise(present))

    def __call__(self, masks: torch.Tensor) -> torch.Tensor:
        """Nest one prediction.

        Args:
            masks: ``(R, X, Y[, Z])`` masks or probabilities.

        Returns:
            The same shape and type.
        """
        _check_channels(masks, self.regions)
        if not self.pairs:
            return masks
        out = masks.clone()
        for inner, outer in self.pairs:
            out[outer] = torch.maximum(out[outer], out[inner])
        return out


class NestRegionsd(MapTransform):
    """Dictionary form of ``NestRegions``.

    Args:
        keys: predictions with one channel a region.
        regions: see ``NestRegions``.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(self, keys: KeysCollection, regions: Sequence[str], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.nest = NestRegions(regions)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Nest ``data[key]`` ``(R, X, Y[, Z])``."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.nest(d[key])
        return d


class RegionsToLabels(Transform):
    """Write binary regions into one map of label values: WT first, then TC, then ET over it.

    Args:
        regions: names of the input channels, in order.
        values: the value that each region is written with, such as ``{"WT": 2, "TC": 1, "ET": 4}``.
        threshold: a region is where its channel exceeds this.
    """

    def __init__(self, regions: Sequence[str], values: Mapping[str, int], threshold: float = 0.5) -> None:
        strange = sorted(set(regions) - set(PAINT_ORDER))
        missing = [region for region in regions if region not in values]
        if strange or missing:
            raise ValueError(
                f"regions must be among {PAINT_ORDER} and each must have a value, "
                f"got regions {list(regions)}, values {dict(values)}."
            )
        bad = {region: values[region] for region in regions if not 0 < values[region] < 256}
        if bad:
            raise ValueError(f"values must be 1 to 255, since 0 is the background and the map is uint8, got {bad}.")
        self.regions = tuple(regions)
        self.values = dict(values)
        self.threshold = threshold

    def __call__(self, masks: torch.Tensor) -> torch.Tensor:
        """Convert one prediction.

        Args:
            masks: ``(R, X, Y[, Z])`` masks or probabilities.

        Returns:
            ``(1, X, Y[, Z])`` uint8.
        """
        _check_channels(masks, self.regions)
        plain = masks.as_tensor() if isinstance(masks, MetaTensor) else torch.as_tensor(masks)
        out = torch.zeros((1, *plain.shape[1:]), dtype=torch.uint8, device=plain.device)
        for region in PAINT_ORDER:
            if region in self.regions:
                out[0][plain[self.regions.index(region)] > self.threshold] = self.values[region]
        return like(out, masks)


class RegionsToLabelsd(MapTransform):
    """Dictionary form of ``RegionsToLabels``.

    Args:
        keys: predictions or labels with one channel a region.
        regions: see ``RegionsToLabels``.
        values: see ``RegionsToLabels``.
        threshold: see ``RegionsToLabels``.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Sequence[str],
        values: Mapping[str, int],
        threshold: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.convert = RegionsToLabels(regions, values, threshold)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Convert ``data[key]`` ``(R, X, Y[, Z])`` to ``(1, X, Y[, Z])``."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.convert(d[key])
        return d
