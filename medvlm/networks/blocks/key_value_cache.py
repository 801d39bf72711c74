"""Keys and values of the tokens that a decoder has already seen."""

from __future__ import annotations

import torch
from torch import Tensor


class DecoderCache:
    """Keys and values of every layer in memory that is taken once, so that a step copies only its own token.

    Args:
        layers: number of layers.
        rows: sequences decoded side by side (batch, or batch times beams).
        capacity: most tokens a sequence can have, prompt included.
        device: where the masks live; the keys and values come where the first ones are.

    Attributes:
        length: slots in use, the same for every row.
        visible: bool ``(rows, capacity)``; false = padding of a prompt, never looked at.
        positions: int64 ``(rows,)``, real tokens so far, which is the position of the next one.
    """

    def __init__(self, layers: int, rows: int, capacity: int, device: torch.device) -> None:
        self.capacity, self.length = capacity, 0
        self.visible = torch.ones(rows, capacity, dtype=torch.bool, device=device)
        self.positions = torch.zeros(rows, dtype=torch.long, device=device)
        self.all_visible = True
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers

    def reserve(self, visible: Tensor | None, tokens: int) -> tuple[Tensor, Tensor | None]:
        """Take the slots of the next tokens.

        Args:
            visible: bool ``(rows, tokens)``; none = all are real.
            tokens: how many.

        Returns:
            Their positions ``(rows, tokens)``, and which slot each may look at: bool ``(rows, 1, tokens, length)``,
            none where every slot is open to all of them.

        Raises:
            ValueError: if there is no room.
        """
        start, end = self.length, self.length + tokens
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens a sequence, got {end}; reserve more.")
        self.length = end
        if visible is None:
            steps = torch.arange(tokens, device=self.positions.device)
            positions = self.positions[:, None] + steps
            self.positions = self.positions + tokens
        else:
            self.all_visible = self.all_visible and bool(visible.all())
            self.visible[:, start:end] = visible
            counted = visible.long().cumsum(dim=1)
            positions = (self.positions[:, None] + counted - 1).clamp_min(0)
            self.positions = self.positions + counted[:, -1]
        if tokens == 1 and self.all_visible:
            return positions, None
        slots = torch.arange(end, device=self.visible.device)
        own = slots[start:, None]
        open_slots = self.visible[:, None, :end] & (slots <= own)  # (rows, tokens, end)
        return positions, (open_slots | (slots == own))[:, None]  # padding looks at itself, or its row would be empty

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values ``(rows, heads, tokens, d)`` of the reserved slots; return those of all slots."""
        if self._keys[layer] is None:
            rows, heads, _, head_dim = keys.shape
            self._keys[layer] = keys.new_empty(rows, heads, self.capacity, head_dim)
            self._values[layer] = values.new_empty(rows, heads, self.capacity, head_dim)
        start = self.length - keys.shape[2]
        all_keys, all_values = self._keys[layer], self._values[layer]
        all_keys[:, :, start : self.length] = keys
        all_values[:, :, start : self.length] = values
        return all_keys[:, :, : self.length], all_values[:, :, : self.length]

    def reorder(self, rows: Tensor) -> None:
        """Let each row go on from another one: ``rows`` int64 ``(rows,)`` are the rows to take."""
        if bool((rows == torch.arange(len(rows), device=rows.device)).all()):
            return
        for stored in (self._keys, self._values):
            for tensor in stored:
                used = tensor[:, :, : self.length]
                used.copy_(used[rows])  # the right side is a copy
        self.visible = self.visible[rows]
        self.positions = self.positions[rows]
