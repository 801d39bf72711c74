"""Boxes of lesions: from pixels of a file to fractions of the frames that the network sees, with a phrase for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from transforms.text import plain_tokenizer

BOX_KEYS = ("box_values", "box_known", "box_views", "phrase_ids", "phrase_mask")
NEEDED = ("video", "view_mask", "view_ticks", "view_places", "view_numbers")
LEAST_SEEN = 0.5  # share of a box that must lie inside the picture


class Boxesd(Randomizable, MapTransform):
    """Turn the boxes of a case into fractions of what the network sees, and their names into tokens.

    It stands after the cines were read and their frames chosen (``LoadCined``, ``SampleFramesd``) and before
    ``RandCineAffined``, which moves the boxes along. A box counts where its view is among those that were read, and
    its frame is shown or lies between two frames that are; of more than ``count`` such boxes some are taken.

    Args:
        keys: the boxes' key: a list of ``{"view", "frame", "box": [left, top, right, bottom], "name"}`` in pixels of
            the file; a case may lack it.
        tokenizer: called as those of ``transformers`` are.
        count: M, boxes of a case.
        max_length: L, tokens of a phrase, begin and end included.
        phrases: what to call a box of a name, e.g. ``{"p70_90": "stenosis of 70 to 90 percent"}``; a name that is not
            there is taken as it is, with blanks for underscores.
        random: draw the boxes that are taken (in training), instead of taking them at even distances.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(
        self,
        keys: KeysCollection = "boxes",
        tokenizer: Callable | None = None,
        count: int = 4,
        max_length: int = 16,
        phrases: Mapping[str, str] | None = None,
        random: bool = False,
    ) -> None:
        super().__init__(keys)
        if not callable(tokenizer):
            raise TypeError(f"tokenizer must be one of transformers' tokenizers, got {tokenizer!r}; load it first.")
        if count < 1 or max_length < 3:
            raise ValueError(
                f"count must be at least 1 and max_length at least 3 (begin, one token, end), got {count} and "
                f"{max_length}."
            )
        self.tokenizer, self.count, self.max_length, self.random = tokenizer, count, max_length, random
        self.phrases = dict(phrases or {})

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Turn the boxes of one study.

        Args:
            data: the case, with ``video`` ``(N, C, T, H, W)`` and what ``LoadCined`` says of the views.

        Returns:
            The case with ``box_values`` ``(M, 5)`` float32: time, left, top, right, bottom as fractions of the clip
            and of the picture; ``box_known`` ``(M,)`` 0.0 or 1.0; ``box_views`` ``(M,)`` int64, the view among the N;
            ``phrase_ids`` and ``phrase_mask`` ``(M, L)`` int64.

        Raises:
            KeyError: where what is needed is absent, e.g. since the views were already moved.
            ValueError: where a box has no four corners.
        """
        d = dict(data)
        absent = [key for key in NEEDED if key not in d]
        if absent:
            raise KeyError(
                f"boxes need {absent} of the case; put Boxesd after LoadCined and SampleFramesd and before "
                "RandCineAffined."
            )
        found = self._chosen(self._seen(d))
        values, known = torch.zeros(self.count, 5), torch.zeros(self.count)
        views = torch.zeros(self.count, dtype=torch.int64)
        for place, (view, box, _) in enumerate(found):
            values[place], known[place], views[place] = torch.tensor(box), 1.0, view
        words = [words for *_, words in found] + [""] * (self.count - len(found))
        plain = plain_tokenizer(self.tokenizer)  # a phrase is no report, to be read in its style
        encoded = plain(words, max_length=self.max_length, truncation=True, padding="max_length")
        d |= {"box_values": values, "box_known": known, "box_views": views}
        d["phrase_ids"] = torch.as_tensor(encoded["input_ids"], dtype=torch.int64)
        d["phrase_mask"] = torch.as_tensor(encoded["attention_mask"], dtype=torch.int64)
        return d

    def _seen(self, case: Mapping) -> list[tuple[int, list[float], str]]:
        """View, fractions and phrase of the boxes that the network can see."""
        rows, columns = case["video"].shape[-2:]
        numbers, places, ticks = (json.loads(case[f"view_{name}"]) for name in ("numbers", "places", "ticks"))
        slots = {number: slot for slot, number in enumerate(numbers) if bool(case["view_mask"][slot])}
        found = []
        for box in case.get(self.keys[0]) or ():
            corners = box.get("box") or ()
            if len(corners) != 4:
                raise ValueError(
                    f"a box must have left, top, right and bottom in pixels of the file, got {box}; prepare the "
                    "datalist again."
                )
            slot = slots.get(box.get("view", 0))
            time = None if slot is None else time_of(int(box.get("frame", 0)), [row[0] for row in ticks[slot]])
            if slot is None or time is None:
                continue
            height, width, top, bottom, left, right = places[slot]
            x0, x1 = ((left + x / width * (right - left)) / columns for x in corners[::2])
            y0, y1 = ((top + y / height * (bottom - top)) / rows for y in corners[1::2])
            name = str(box.get("name") or "lesion")
            inside = [min(max(v, 0.0), 1.0) for v in (x0, y0, x1, y1)]
            found.append((slot, [time, *inside], self.phrases.get(name, name.replace("_", " "))))
        return found

    def _chosen(self, found: list) -> list:
        if len(found) <= self.count:
            return found
        if self.random:
            return [found[i] for i in sorted(self.R.permutation(len(found))[: self.count])]
        return [found[int((place + 0.5) * len(found) / self.count)] for place in range(self.count)]


def time_of(frame: int, shown: list[int]) -> float | None:
    """When a frame is seen, as a fraction of a clip that shows the frames ``shown``; None where it is not.

    A frame between two that are shown is seen at the nearer one; so is one at most half a step before the first or
    after the last.
    """
    if not shown:
        return None
    steps = [later - earlier for earlier, later in zip(shown, shown[1:], strict=False) if later > earlier]
    reach = max(steps, default=1) / 2
    place = min(range(len(shown)), key=lambda index: abs(shown[index] - frame))
    return (place + 0.5) / len(shown) if abs(shown[place] - frame) <= reach else None


def move_boxes(values: torch.Tensor, known: torch.Tensor, chosen: torch.Tensor, matrix: torch.Tensor) -> None:
    """Move boxes as ``torch.nn.functional.affine_grid`` and ``grid_sample`` move the picture; in place.

    Args:
        values: ``(M, 5)`` of ``Boxesd``.
        known: ``(M,)``; becomes 0 where less than half of a box stays inside.
        chosen: ``(M,)`` bool, which of them.
        matrix: ``(2, 3)``, from places of the new picture to those of the old one, -1..1.
    """
    back = torch.linalg.inv(torch.cat([matrix, matrix.new_tensor([[0.0, 0.0, 1.0]])]))
    for row in torch.nonzero(chosen & (known > 0)).flatten().tolist():
        x0, y0, x1, y1 = values[row, 1:].double().tolist()
        corners = matrix.new_tensor([[x, y, 1.0] for x in (2 * x0 - 1, 2 * x1 - 1) for y in (2 * y0 - 1, 2 * y1 - 1)])
        turned = (corners @ back.T)[:, :2] / 2 + 0.5  # (4, 2) fractions
        low, high = turned.amin(0), turned.amax(0)
        inside = (high.clamp(0, 1) - low.clamp(0, 1)).prod()
        if inside < LEAST_SEEN * (high - low).prod():
            known[row] = 0.0
        values[row, 1:] = torch.cat([low.clamp(0, 1), high.clamp(0, 1)]).to(values.dtype)
