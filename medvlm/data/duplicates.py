"""Pictures that show the same slice: exact and near duplicates by perceptual hash.

Each picture is hashed twice with a 256-bit pHash: whole, and cropped to the head. The crop makes the hash blind to
margins and frames, which is how most copies in public collections differ; the whole picture serves where finding
the head fails.

Reference:
    pHash as in the ImageHash package (DCT of the reduced picture, median threshold), hash_size 16. The default
    distance of 36 of 256 bits was chosen on the 253 pictures of the Kaggle yes/no set: of its 31878 pairs, those
    that show the same picture (looked at by eye, pairs of equal hashes aside) lie at 0..26 in the head crop or 0..46
    as a whole, and no pair of different pictures lies below 48 (head) or 54 (whole).
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from medvlm.data.reading import read_picture_grey

HASH_SIZE = 16
MAX_DISTANCE = 36


def picture_hashes(path: str | Path) -> np.ndarray | None:
    """Hash a picture whole and cropped to the head.

    Returns:
        ``(2, 256)`` bool, or ``None`` for a picture without content (constant), which resembles nothing.

    Raises:
        ReadError: the picture cannot be read.
    """
    import imagehash
    from PIL import Image

    grey = read_picture_grey(path)
    low, high = float(grey.min()), float(grey.max())
    if not high > low:
        return None
    whole = ((grey - low) / (high - low) * 255).astype(np.uint8)
    views = (whole, head_crop(whole))
    return np.stack([imagehash.phash(Image.fromarray(v), hash_size=HASH_SIZE).hash.ravel() for v in views])


def head_crop(grey: np.ndarray) -> np.ndarray:
    """Cut the dark margins of a picture off: rows and columns in which at most 5% of the pixels are bright.

    Args:
        grey: ``(H, W)``; bright is above 15% of the 99th percentile.

    Returns:
        The part that holds the head, or the picture itself when nothing stands out.
    """
    bright = grey > 0.15 * np.percentile(grey, 99)
    rows = np.flatnonzero(bright.mean(axis=1) > 0.05)
    columns = np.flatnonzero(bright.mean(axis=0) > 0.05)
    if not len(rows) or not len(columns):
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def near_duplicates(
    hashes: Sequence[np.ndarray | None], max_distance: int = MAX_DISTANCE
) -> list[tuple[int, int, int]]:
    """Find the pairs of pictures whose hashes are close, whole or cropped.

    Args:
        hashes: one ``picture_hashes`` a picture.
        max_distance: bits that may differ, of 256.

    Returns:
        ``(i, j, distance)`` with i < j, the smaller of the two distances.
    """
    known = [i for i, h in enumerate(hashes) if h is not None]
    if len(known) < 2:
        return []
    signs = np.stack([hashes[i] for i in known]).astype(np.float32) * 2 - 1  # (N, 2, 256), +1 or -1
    bits, pairs = signs.shape[-1], []
    for start in range(0, len(known), 512):  # blocks bound the memory at 512 x N
        block = signs[start : start + 512]
        products = np.maximum(block[:, 0] @ signs[:, 0].T, block[:, 1] @ signs[:, 1].T)
        distances = ((bits - products) / 2).round().astype(int)
        for i, j in zip(*np.nonzero(distances <= max_distance), strict=True):
            if start + i < j:
                pairs.append((known[start + i], known[j], int(distances[i, j])))
    return pairs


def groups_from_links(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Number the connected components of a graph.

    Args:
        count: number of nodes.
        links: pairs of nodes that belong together.

    Returns:
        For each node the smallest node of its component.
    """
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in links:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(node) for node in range(count)]


def equal_files(files: Iterable[str | Path]) -> list[list[str]]:
    """Find files of equal bytes: by size, then by their edges and middle, then whole.

    Args:
        files: paths; those that are no files, or empty, resemble nothing. Two names of one file are equal.

    Returns:
        Groups of at least two paths, as given, in a fixed order.
    """
    groups: dict[tuple, list[str]] = defaultdict(list)
    for file in dict.fromkeys(str(f) for f in files):
        if os.path.isfile(file) and os.path.getsize(file):
            groups[(os.path.getsize(file),)].append(file)
    for sign in (_edges, _digest):
        finer: dict[tuple, list[str]] = defaultdict(list)
        for key, inside in groups.items():
            if len(inside) > 1:
                for file in inside:
                    finer[*key, sign(file)].append(file)
        groups = finer
    return sorted(sorted(inside) for inside in groups.values() if len(inside) > 1)


def _edges(file: str, length: int = 1 << 14) -> str:
    """Hash of the first, middle and last bytes: cheap, and different for most videos of one size."""
    size = os.path.getsize(file)
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for start in (0, max(0, size // 2 - length // 2), max(0, size - length)):
            stream.seek(start)
            digest.update(stream.read(length))
    return digest.hexdigest()


def _digest(file: str) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
