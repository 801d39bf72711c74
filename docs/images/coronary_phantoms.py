"""Draw docs/images/coronary_phantoms.png: runs of one person with and without lesions, and two other persons."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image, ImageDraw

from medvlm.data.phantoms.coronary_anatomy import LEFT, RIGHT, SEGMENT_INDEX, coronary_tree
from medvlm.data.phantoms.coronary_cine import Look, View, draw_cine
from medvlm.data.phantoms.coronary_disease import Disease, Lesion
from medvlm.data.phantoms.coronary_scene import Room

SIDE = 168
FRAMES = (0, 4, 8, 15)
LOOK = Look(size=SIDE)
ROWS = (
    ("no stenosis", 3, "right", RIGHT, (40, 0), ()),
    ("mid RCA 90%", 3, "right", RIGHT, (40, 0), (("mid_rca", 90, {}),)),
    ("mid RCA occluded, bridged", 3, "right", RIGHT, (40, 0),
     (("mid_rca", 100, {"chronic": True, "collaterals": "ipsilateral"}),)),
    ("no stenosis", 3, "right", LEFT, (-25, -22), ()),
    ("distal LCX 85%", 3, "right", LEFT, (-25, -22), (("distal_lcx", 85, {}),)),
    ("left dominant, mid LAD 95%", 7, "left", LEFT, (5, 36), (("mid_lad", 95, {}),)),
)  # fmt: skip


def row(title: str, seed: int, dominance: str, side: int, angles: tuple[int, int], lesions: tuple) -> np.ndarray:
    """Four frames of one run, ``(SIDE, 4 * SIDE)``."""
    tree = coronary_tree(np.random.default_rng(seed), dominance, LOOK.step_mm, 1.25)
    disease = Disease(tuple(Lesion(SEGMENT_INDEX[n], p, 0.5, 12.0, **more) for n, p, more in lesions), frozenset())
    room = Room.draw(np.random.default_rng(seed))
    frames = draw_cine(tree, disease, View(side, *angles, 16, 133.0, (seed, side)), LOOK, room, 8)
    strip = Image.fromarray(np.concatenate([frames[index] for index in FRAMES], 1))
    ImageDraw.Draw(strip).text((6, 4), title, fill=255, stroke_width=2, stroke_fill=0)
    return np.asarray(strip)


def main(out: str) -> None:
    """Write the sheet: three runs beside three others."""
    rows = [row(*each) for each in ROWS]
    half = len(rows) // 2
    sheet = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], 1)
    Image.fromarray(sheet).quantize(64).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
