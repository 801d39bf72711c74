"""Draw docs/images/phantoms.png from what ``python -m medvlm phantom DIR`` wrote: ``phantoms.py DIR OUT.png``."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

SIDE = 104
COLOURS = np.array([(0, 0, 0), (70, 110, 200), (60, 160, 90), (240, 200, 60), (240, 200, 60)], np.uint8)
OLD, NEW = ("t1", "t1ce", "t2", "flair"), ("t1n", "t1c", "t2w", "t2f")
CASES = (
    ("brats2020/BraTS20_Training_019", "_", OLD),
    ("brats2020/BraTS20_Training_003", "_", OLD),
    ("brats2020/BraTS20_Training_002", "_", OLD),
    ("brats2021/BraTS2021_00000", "_", OLD),
    ("brats2021/BraTS2021_00001", "_", OLD),
    ("brats2021/BraTS2021_00008", "_", OLD),
    ("brats2023/BraTS-GLI-00005-000", "-", NEW),
    ("brats2023/BraTS-GLI-00013-000", "-", NEW),
)


def row(root: Path, case: str, joint: str, suffixes: tuple[str, ...]) -> np.ndarray:
    """Four modalities and the labels of one case, at its largest tumour slice: ``(SIDE, 5 * SIDE, 3)``."""
    folder = root / case
    names = {s: folder / f"{folder.name}{joint}{s}.nii.gz" for s in (*suffixes, "seg")}
    read = {s: np.asanyarray(nibabel.load(path).dataobj) for s, path in names.items()}
    seg = read.pop("seg")
    z = int((seg > 0).sum((0, 1)).argmax()) if seg.any() else seg.shape[2] // 2
    tiles = []
    for image in read.values():
        grey = (255 * np.clip(image[:, :, z].T / np.percentile(image[image > 0], 99.5), 0, 1)).astype(np.uint8)
        tiles.append(np.asarray(Image.fromarray(grey).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    labels = Image.fromarray(COLOURS[seg[:, :, z].T]).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return np.concatenate([*tiles, np.asarray(labels)], 1)


def pictures(root: Path, columns: int) -> np.ndarray:
    """Two rows of pictures from the two Kaggle layouts: ``(2 * SIDE, columns * SIDE, 3)``."""
    files = [p for s in ("kaggle_yes_no", "kaggle_four_class") for p in sorted((root / s).rglob("*.*"))]
    chosen = sorted(np.random.default_rng(4).choice(len(files), 2 * columns, replace=False))
    sheet = Image.new("RGB", (columns * SIDE, 2 * SIDE))
    for place, index in enumerate(chosen):
        picture = Image.open(files[index]).convert("RGB")
        picture.thumbnail((SIDE, SIDE))
        y, x = divmod(place, columns)
        sheet.paste(picture, (x * SIDE + (SIDE - picture.width) // 2, y * SIDE + (SIDE - picture.height) // 2))
    return np.asarray(sheet)


def main(root: str, out: str) -> None:
    """Write the sheet."""
    rows = [row(Path(root), *case) for case in CASES]
    half = len(rows) // 2
    volumes = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], 1)
    sheet = np.concatenate([volumes, pictures(Path(root), volumes.shape[1] // SIDE)])
    Image.fromarray(sheet).quantize(128).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
