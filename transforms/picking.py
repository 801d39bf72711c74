"""Keeping of a case what collates into a batch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from monai.transforms import MapTransform


class PickCased(MapTransform):
    """Keep the named keys of a case and drop the others, so that cases of different sources collate.

    Args:
        keys: keys that each case must have.
        defaults: further keys to keep, with the value that stands for an absent one or for None, such as
            ``{"class_name": "", "source": "unknown"}``.
    """

    def __init__(self, keys: Sequence[str], defaults: Mapping[str, object] | None = None) -> None:
        super().__init__(keys)
        self.defaults = dict(defaults or {})
        empty = [key for key, value in self.defaults.items() if value is None]
        if empty:
            raise ValueError(f"defaults must not be None, which does not collate, got {empty}; use '' or a number.")

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Pick from one case.

        Raises:
            KeyError: where a key of ``keys`` is absent.
            ValueError: where its value is None.
        """
        absent = [key for key in self.keys if key not in data]
        if absent:
            raise KeyError(f"the case must have {absent}, it has {sorted(map(str, data))}; add them or give a default.")
        empty = [key for key in self.keys if data[key] is None]
        if empty:
            raise ValueError(f"{empty} must not be None, which does not collate; give them a default.")
        d = {key: data[key] for key in self.keys}
        for key, default in self.defaults.items():
            d[key] = data[key] if data.get(key) is not None else default
        return d
