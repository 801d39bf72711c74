"""How well the brain is found in heads that are drawn around extracted brains.

    python benchmarks/brain_extraction.py "CASE/*bet.nii.gz" --lesion CASE/seg.nii.gz --heads 2

For every image and drawn head one line: Dice of what was found with the true brain, the share of the brain and of the
lesion that was kept, what was taken beside the brain as a share of it, and the processor time.
"""

from __future__ import annotations

import glob
import time
from pathlib import Path

import fire
import numpy as np
import torch
from monai.transforms import Compose, LoadImage, Orientation

from transforms import BrainZScore, RandHead, brain_in_head

NOISE = 0.03  # of the standard deviation of the head


def main(
    images: str, lesion: str | None = None, heads: int = 2, brain_share: tuple[float, float] = (0.75, 0.9)
) -> None:
    """Draw heads around brains and look for the brain in them.

    Args:
        images: pattern of extracted volumes.
        lesion: mask of a lesion on the same grid; above 0 is inside.
        heads: drawn around each image, seeds from 0 on.
        brain_share: range of the factor by which the brain shrinks.
    """
    read = Compose([LoadImage(ensure_channel_first=True, image_only=True), Orientation("LPS", labels=None)])
    inside = None if lesion is None else (read(lesion) > 0).float()
    for file in sorted(glob.glob(images)):
        image = BrainZScore()(read(file))
        for seed in range(heads):
            print(Path(file).name, seed, *_score(image, inside, seed, brain_share), sep="\t", flush=True)


def _score(image: torch.Tensor, lesion: torch.Tensor | None, seed: int, brain_share: tuple[float, float]) -> list[str]:
    draw = RandHead(brain_share=brain_share)
    draw.set_random_state(seed)
    draw.randomize()
    brain = draw.shrunk((image != 0).float(), smooth=False)[0].numpy() > 0
    head = draw.around(draw.shrunk(image, smooth=True))[0].numpy()
    head = np.where(head == 0, head.min(), head)  # the air is dark
    head += np.random.default_rng(seed).normal(0, NOISE, head.shape)
    begun = time.process_time()
    found = brain_in_head(head, [float(step) for step in image.pixdim])
    seconds = time.process_time() - begun
    words = [f"Dice {2 * (found & brain).sum() / (found.sum() + brain.sum()):.3f}", f"kept {found[brain].mean():.3f}"]
    if lesion is not None:
        words.append(f"lesion kept {found[draw.shrunk(lesion, smooth=False)[0].numpy() > 0].mean():.3f}")
    return [*words, f"beside {(found & ~brain).sum() / brain.sum():.3f}", f"{seconds:.1f} s"]


if __name__ == "__main__":
    fire.Fire(main)
