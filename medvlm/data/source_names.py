"""Sources by the beginnings of their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

__all__ = ["expect_sources"]

logger = logging.getLogger(__name__)


def expect_sources(
    cases: Sequence[Mapping], beginnings: Sequence[str] | None, share: float = 1.0, setting: str = "whole_heads"
) -> None:
    """Warn where a setting is on that is only for some sources, and no case is of one of them.

    Args:
        cases: of the training section, with ``source``.
        beginnings: of the names of the sources that the setting is for, capitals or not; None for all.
        share: the setting's value; 0 is off.
        setting: its name, for the message.
    """
    if not share or beginnings is None or not cases:
        return
    there = {str(case.get("source", "")) for case in cases}
    if not any(name.lower().startswith(tuple(str(one).lower() for one in beginnings)) for name in there):
        logger.warning(
            "%s %g has no effect: no source of the training section (%s) begins with one of %s; name yours in "
            "extracted_sources, or give null there for all.",
            setting,
            share,
            ", ".join(sorted(there)),
            list(beginnings),
        )
