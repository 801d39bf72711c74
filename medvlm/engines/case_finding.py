"""What a bundle's inference reads: images or studies of videos, as the entry ``cases`` of its config says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pydoc import locate
from typing import Any

from medvlm.engines.inputs import InputCases


class CaseFinder:
    """Looks for cases as a bundle's config does, without anything of the config being built.

    Args:
        config: with an entry ``cases`` such as ``{"_target_": "medvlm.engines.inputs.InputCases", "path": ...,
            "channels": "@input_channels"}``; without one images are looked for.

    Raises:
        ValueError: When the entry names a class that does not exist.
    """

    def __init__(self, config: Any) -> None:
        entry = config.get("cases")
        entry = entry if isinstance(entry, Mapping) and "_target_" in entry else {}
        self.kind = locate(entry["_target_"]) if entry else InputCases
        if self.kind is None:
            raise ValueError(
                f"the config's cases are {entry['_target_']!r}, which does not exist; mend inference.json."
            )
        self.ids = {
            name: str(value)[1:] for name, value in entry.items() if str(value).startswith("@") and name != "path"
        }

    def find(self, source: Any, **reading: Any) -> Sequence[dict]:
        """The cases of a path; ``reading`` are arguments of the class, such as ``channels`` or ``section``.

        Raises:
            FileNotFoundError: When there is nothing.
            ValueError: When it cannot be understood.
            TypeError: When the class does not take an argument.
        """
        return list(self.kind(source, **reading))

    def check(self, source: Any, overrides: Mapping[str, Any]) -> None:
        """Look for the cases with what overrides say of the ids that the entry refers to; errors as of :meth:`find`."""
        self.find(source, **{name: overrides[id_] for name, id_ in self.ids.items() if id_ in overrides})
