"""What a training run can do without must not stop it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def surviving(what: str) -> Iterator[None]:
    """Log an error of the block instead of raising it; its traceback too where debugging is logged.

    Args:
        what: could not be made.
    """
    try:
        yield
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        detail = logger.isEnabledFor(logging.DEBUG)
        logger.warning("%s could not be made, the training goes on without (%s)", what, words, exc_info=detail)
