"""Further inputs of a study beside its cines: an ECG vector, a table, a clinical note; each may be missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from transforms.text import clean_report, plain_tokenizer

Table = Mapping[str, Sequence[float]]


class SideInputsd(MapTransform):
    """Turn the further inputs of a case into tensors, and say what of them is known.

    A case holds them under one key, each by its name::

        "side": {"ecg": "ecg/0001.npy", "tabular": {"age": 63, "ldl": null}, "note": "Chest pain on exertion."}

    What is absent, null or not a number becomes 0 and not known. A name or a column that is not asked for is refused,
    since it may be a slip of the pen; ``ignored`` lets it pass.

    Args:
        keys: the key of the further inputs; a case may lack it.
        vectors: length of each vector by name, e.g. ``{"ecg": 512}``. A case gives its numbers, or a file of them
            (``.npy``; ``.csv``, numbers with commas between).
        tables: for each table its columns, and for each column the mean and the spread that its values are reduced by,
            e.g. ``{"tabular": {"age": [65, 12], "ldl": [3.0, 1.0]}}``.
        texts: most tokens of each text by name, e.g. ``{"note": 64}``.
        tokenizer: called as those of ``transformers`` are; without it texts cannot be read.
        ignored: names and columns that a case may hold and nobody reads.

    Raises:
        ValueError: if there is no input, a name stands twice, or a number is out of its range.
        TypeError: if ``tokenizer`` cannot be called.

    Attributes:
        names: of all further inputs.
    """

    def __init__(
        self,
        keys: KeysCollection = "side",
        vectors: Mapping[str, int] | None = None,
        tables: Mapping[str, Table] | None = None,
        texts: Mapping[str, int] | None = None,
        tokenizer: Callable | None = None,
        ignored: Sequence[str] = (),
    ) -> None:
        super().__init__(keys)
        self.vectors, self.tables, self.texts = dict(vectors or {}), dict(tables or {}), dict(texts or {})
        self.names = [*self.vectors, *self.tables, *self.texts]
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"further inputs need at least one name, each once, got {self.names}.")
        for name, length in self.vectors.items():
            if length < 1:
                raise ValueError(f"the vector {name!r} must have at least one value, got {length}.")
        for name, table in self.tables.items():
            wrong = [c for c, scale in table.items() if len(scale) != 2 or not scale[1] > 0]
            if wrong or not table:
                raise ValueError(
                    f"the table {name!r} needs columns, each with a mean and a spread above 0, e.g. "
                    f'{{"age": [65, 12]}}, got {dict(table)}.'
                )
        for name, length in self.texts.items():
            if length < 3:
                raise ValueError(f"the text {name!r} must have at least 3 tokens (begin, one, end), got {length}.")
        if tokenizer is not None and not callable(tokenizer):
            raise TypeError(f"tokenizer must be one of transformers' tokenizers, got {tokenizer!r}; load it first.")
        self.tokenizer, self.ignored = tokenizer, set(ignored)

    @property
    def lengths(self) -> dict[str, int]:
        """Numbers of each vector and each table, by name."""
        return self.vectors | {name: len(table) for name, table in self.tables.items()}

    @property
    def made(self) -> list[str]:
        """The keys that a case has afterwards."""
        return [key for name in self.names for key in (name, f"{name}_known")]

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Turn the further inputs of one case.

        Returns:
            The case with, by name, a vector ``(length,)`` or a table ``(columns,)`` float32, or a text's tokens
            ``(L,)`` int64; and ``NAME_known`` of the same shape, 1.0 = known.

        Raises:
            ValueError: where a name, a column or a value does not fit, or a file cannot be read.
        """
        d = dict(data)
        given = d.get(self.keys[0]) or {}
        self._refuse(given, self.names, "further input")
        for name in self.names:
            value = given.get(name)
            if name in self.texts:
                d[name], d[f"{name}_known"] = self._text(name, value)
                continue
            numbers = self._vector(name, value) if name in self.vectors else self._table(name, value)
            known = torch.isfinite(numbers)
            d[name], d[f"{name}_known"] = torch.where(known, numbers, 0.0), known.float()
        return d

    def _refuse(self, given: object, names: Sequence[str], what: str) -> None:
        if not isinstance(given, Mapping):
            raise ValueError(f"a {what} must have a name: {{name: value}}, got {given!r}.")
        unknown = sorted(set(given) - set(names) - self.ignored)
        if unknown:
            raise ValueError(
                f"no {what} is called {unknown[0]!r}, there are {list(names)}; correct the datalist, or name it in "
                "ignored."
            )

    def _vector(self, name: str, value: object) -> torch.Tensor:
        """``(length,)`` float32, NaN where not known."""
        length = self.vectors[name]
        if value is None or value == "":
            return torch.full((length,), math.nan)
        where = f" in {value}" if isinstance(value, str) else ""
        if isinstance(value, str):
            value = read_numbers(value)
        try:
            numbers = np.asarray(value, dtype=np.float32).reshape(-1)  # null becomes NaN
        except (TypeError, ValueError) as error:
            raise ValueError(f"the vector {name!r} must be numbers, got {str(value)[:60]}; correct it.") from error
        if len(numbers) != length:
            raise ValueError(f"the vector {name!r} must have {length} values, got {len(numbers)}{where}; correct it.")
        return torch.from_numpy(numbers.copy())

    def _table(self, name: str, value: object) -> torch.Tensor:
        """``(columns,)`` float32, reduced by mean and spread, NaN where not known."""
        table, row = self.tables[name], {} if value is None else value
        self._refuse(row, list(table), f"column of the table {name!r}")
        numbers = []
        for column, (mean, spread) in table.items():
            entry = row.get(column)
            try:
                number = math.nan if entry is None or entry == "" else float(entry)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"the column {column!r} of {name!r} must be a number or null, got {entry!r}; write categories as "
                    "numbers."
                ) from error
            numbers.append((number - mean) / spread)
        return torch.tensor(numbers, dtype=torch.float32)

    def _text(self, name: str, value: object) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens ``(L,)`` and which of them are there."""
        if self.tokenizer is None:
            raise ValueError(
                f"the text {name!r} needs the tokenizer of the weights, and there is none; give its folder."
            )
        text = clean_report(value)
        plain = plain_tokenizer(self.tokenizer)  # a note is no report, to be read in its style
        encoded = plain(text, max_length=self.texts[name], truncation=True, padding="max_length")
        ids = torch.as_tensor(encoded["input_ids"], dtype=torch.int64)
        known = torch.as_tensor(encoded["attention_mask"]).float() * float(bool(text))
        return torch.where(known > 0, ids, 0), known


def read_numbers(path: str) -> np.ndarray:
    """Numbers of a ``.npy`` or a ``.csv`` file.

    Raises:
        ValueError: where there is no such file, or it holds something else.
    """
    file = Path(path)
    try:
        if file.suffix.lower() == ".npy":
            return np.load(file, allow_pickle=False)
        return np.genfromtxt(file, delimiter=",", dtype=np.float32)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as numbers ({str(error)[:120]}); give a .npy or a .csv file, or null where the "
            "input is missing."
        ) from error
