"""Targets of a case, some of which nobody knows, as numbers and a mask."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class TargetsToTensord(MapTransform):
    """Turn a dictionary of targets into a vector in a fixed order.

    Args:
        keys: the targets' key; a case may lack it.
        names: K names, in the order of the vector.
    """

    def __init__(self, keys: KeysCollection = "targets", names: Sequence[str] = ()) -> None:
        super().__init__(keys)
        self.names = list(names)
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"names must be distinct and not empty, got {self.names}.")

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Convert the targets of one case.

        Returns:
            The case with ``targets`` ``(K,)`` float32, 0 where unknown (absent, None or NaN), and ``targets_known``
            ``(K,)`` float32, 0 or 1.

        Raises:
            ValueError: where a target is no number.
        """
        d = dict(data)
        for key in self.keys:
            given = d.get(key) or {}
            values, known = torch.zeros(len(self.names)), torch.zeros(len(self.names))
            for place, name in enumerate(self.names):
                value = given.get(name)
                if value is None:
                    continue
                if not isinstance(value, (int, float)) or math.isinf(value):
                    raise ValueError(
                        f"case {d.get('case_id', '')!r}: target {name!r} must be a finite number, got {value!r}; "
                        "prepare the datalist again, or leave it out where it is unknown."
                    )
                if not math.isnan(value):
                    values[place], known[place] = float(value), 1.0
            d[key], d[f"{key}_known"] = values, known
        return d
