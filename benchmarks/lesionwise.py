"""Lesion-wise scores inside crops against the same scores on whole volumes: one ratio, measured in one run.

    python benchmarks/lesionwise.py [--json FILE] [--repeats 3]

The case: 240 x 240 x 155 voxels of 1 mm, ten lesions, a prediction that shifts and misses some and adds others. The
reference is this library's own code with ``crop=False``, so that nothing but the cropping differs. Both give the same
scores, which the run checks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from medvlm.metrics.lesionwise import lesion_wise

SHAPE = (240, 240, 155)
SPACING_MM = (1.0, 1.0, 1.0)
# centre, radii (voxels), shift of the prediction (None: missed)
LESIONS = (
    ((90, 110, 80), (38, 30, 26), (3, -2, 2)),
    ((150, 70, 60), (9, 8, 7), (-1, 0, 1)),
    ((160, 160, 100), (7, 9, 8), (0, 1, 0)),
    ((60, 60, 40), (5, 5, 5), None),
    ((190, 120, 70), (6, 4, 5), (-1, 1, 1)),
    ((50, 180, 90), (4, 4, 4), (0, 0, 0)),
    ((120, 190, 60), (3, 3, 3), None),
    ((180, 60, 110), (10, 7, 6), (-1, 0, 1)),
    ((70, 150, 122), (3, 4, 3), (0, 1, 0)),
    ((200, 180, 50), (8, 8, 8), (1, 0, -1)),
)
FALSE_LESIONS = (((30, 120, 75), (4, 5, 4)), ((210, 90, 90), (3, 3, 3)))


def case() -> tuple[np.ndarray, np.ndarray]:
    """Draw the prediction and the truth."""
    truth, pred = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    for centre, radii, shift in LESIONS:
        _paint(truth, centre, radii)
        if shift is not None:
            _paint(pred, tuple(c + s for c, s in zip(centre, shift, strict=True)), radii)
    for centre, radii in FALSE_LESIONS:
        _paint(pred, centre, radii)
    return pred, truth


def _paint(mask: np.ndarray, centre: tuple[int, ...], radii: tuple[int, ...]) -> None:
    axes = np.ogrid[tuple(slice(0, size) for size in mask.shape)]
    mask |= sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radii, strict=True)) <= 1.0


def main() -> int:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the fastest counts, in alternation")
    arguments = parser.parse_args()
    pred, truth = case()
    lesion_wise(pred[:8, :8, :8], truth[:8, :8, :8], SPACING_MM)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    scores = {}
    for _ in range(arguments.repeats):
        for crop in seconds:
            start = time.perf_counter()
            scores[crop] = lesion_wise(pred, truth, SPACING_MM, convention="gli", crop=crop)
            seconds[crop].append(time.perf_counter() - start)
    equal = scores[True] == scores[False]
    figures = {
        "ratio": min(seconds[False]) / min(seconds[True]),
        "whole_volume_s": min(seconds[False]),
        "cropped_s": min(seconds[True]),
        "lesions": len(scores[True].lesions),
        "false_positives": scores[True].false_positives,
        "dice": scores[True].dice,
        "hd95_mm": scores[True].hd95_mm,
        "equal": equal,
    }
    print(
        f"{figures['lesions']} lesions in {SHAPE}: {figures['whole_volume_s']:.2f} s on whole volumes, "
        f"{figures['cropped_s']:.3f} s in crops: {figures['ratio']:.1f} times faster; scores "
        f"{'equal' if equal else 'DIFFER'} (Dice {figures['dice']:.4f}, HD95 {figures['hd95_mm']:.2f} mm)"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
