"""Whether a volume shows a whole head where the network has learnt from extracted brains."""

from __future__ import annotations

import numpy as np

CONSTANT_BORDER = 0.5
"""Share of the border with one value, below which a volume counts as a whole head. Brain-extracted volumes have at
least 0.97 there (240 phantoms, three real ones), two real whole heads 0.13 and 0.24."""
CAUTION = (
    "Not brain-extracted, as it seems: the network has learnt from extracted brains, and outlines scalp and healthy "
    "brain in whole heads; extract the brain first"
)


def constant_border(image: np.ndarray) -> float:
    """The largest share of one value among the voxels on the faces of a volume.

    Extraction sets all that is not brain to one value, while a whole head has noise in the air around it, or reaches
    the border. A head whose air was set to 0 is not told from an extracted brain.

    Args:
        image: ``(X, Y, Z)``.

    Returns:
        0 to 1; 1 where extraction has left only background there.
    """
    faces = [image.take(index, axis=axis).ravel() for axis in range(image.ndim) for index in (0, -1)]
    _, counts = np.unique(np.concatenate(faces), return_counts=True)
    return float(counts.max() / counts.sum())


def looks_whole(image: np.ndarray) -> bool:
    """Whether a volume ``(X, Y, Z)`` looks like a whole head."""
    return constant_border(image) < CONSTANT_BORDER
