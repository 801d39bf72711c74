"""What a case is given to learn from beside its report: studies that it resembles, and a teacher's features."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from transforms.side_inputs import read_numbers
from transforms.text import stable_key

POSITIVE_KEYS = ("case_key", "similar_keys", "similar_weights")
TEACHER_KEYS = ("teacher", "teacher_known")


class SoftPositivesd(MapTransform):
    """Say which other cases' reports fit the videos of a case too, and how well.

    Args:
        keys: the key of the given weights: ``{"CASE_ID": 0.5}``; a case may lack it. A weight is one way: the videos of
            this case, the report of the other; name it in both cases for both ways.
        count: P, most of them in a case.

    Raises:
        ValueError: if ``count`` is below 1.
    """

    def __init__(self, keys: KeysCollection = "similar", count: int = 16) -> None:
        super().__init__(keys)
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}.")
        self.count = count

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Number the cases.

        Returns:
            The case with ``case_key`` int, the same wherever the case is named; ``similar_keys`` ``(P,)`` int64, 0
            where there are fewer; ``similar_weights`` ``(P,)`` float32.

        Raises:
            ValueError: where there are too many, a weight lies outside 0..1, or the case has no ``case_id``.
        """
        d = dict(data)
        given = d.get(self.keys[0]) or {}
        if not d.get("case_id"):
            raise ValueError("a case that is to resemble others must have a case_id; prepare the datalist again.")
        if not isinstance(given, Mapping) or len(given) > self.count:
            raise ValueError(
                f"{self.keys[0]!r} must be at most {self.count} weights by case_id, got {str(given)[:80]}; raise count."
            )
        wrong = {name: value for name, value in given.items() if not 0 <= float(value) <= 1}
        if wrong:
            raise ValueError(f"weights of {self.keys[0]!r} must lie in 0..1 (1 = a report like its own), got {wrong}.")
        keys, weights = torch.zeros(self.count, dtype=torch.int64), torch.zeros(self.count)
        for place, (name, value) in enumerate(given.items()):
            keys[place], weights[place] = stable_key(f"case\n{name}"), float(value)
        return d | {"case_key": stable_key(f"case\n{d['case_id']}"), "similar_keys": keys, "similar_weights": weights}


class TeacherFeaturesd(MapTransform):
    """Read the features that another model gave a study, for distillation.

    Args:
        keys: the features' key: numbers, or a file of them (``.npy``, ``.csv``); a case may lack it.
        dim: D, how many there are.

    Raises:
        ValueError: if ``dim`` is below 1.
    """

    def __init__(self, keys: KeysCollection = "teacher", dim: int = 512) -> None:
        super().__init__(keys)
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}.")
        self.dim = dim

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Read one case.

        Returns:
            The case with ``teacher`` ``(D,)`` float32, zeros where there are none, and ``teacher_known`` 0.0 or 1.0.

        Raises:
            ValueError: where they are not D finite numbers, or the file cannot be read.
        """
        d = dict(data)
        value = d.get(self.keys[0])
        if value is None or (isinstance(value, str) and not value):
            return d | {"teacher": torch.zeros(self.dim), "teacher_known": 0.0}
        where = f" in {value}" if isinstance(value, str) else ""
        numbers = read_numbers(value) if isinstance(value, str) else np.asarray(value)
        numbers = np.asarray(numbers, dtype=np.float32).reshape(-1)
        if len(numbers) != self.dim or not math.isfinite(float(numbers.sum())):
            raise ValueError(
                f"a teacher's features must be {self.dim} finite numbers, got {len(numbers)}{where}; set teacher_dim "
                "to the teacher's width, or correct the datalist."
            )
        return d | {"teacher": torch.from_numpy(numbers.copy()), "teacher_known": 1.0}
