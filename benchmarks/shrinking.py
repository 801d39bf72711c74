"""Fitting an image into the network's plane: ``FitInPlane`` against MONAI's ``Resize`` with its own smoothing.

    python benchmarks/shrinking.py [--repeats 5]

Both smooth X and Y by the same Gaussian before they shrink them; MONAI's smooths Z too, where nothing shrinks, in three
dimensions. One thread, in turns, medians of processor time; the results are equal to rounding.
"""

from __future__ import annotations

import statistics
import time

import fire
import torch
from monai.transforms import Resize

from transforms import FitInPlane

SHAPES = {"picture": (1, 400, 350, 1), "four volumes": (4, 240, 240, 155)}


def main(repeats: int = 5, side: int = 128) -> None:
    """Measure and print.

    Args:
        repeats: rounds.
        side: of the plane that the images are fitted into.
    """
    torch.set_num_threads(1)
    for name, shape in SHAPES.items():
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        scale = side / max(shape[1:3])
        small = (round(shape[1] * scale), round(shape[2] * scale), shape[3])
        stock = Resize(small, mode="trilinear", align_corners=False, anti_aliasing=True)
        ways = {"Resize": stock, "FitInPlane": FitInPlane(side)}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        results = {}
        for _ in range(repeats):
            for way, transform in ways.items():
                start = time.process_time()
                results[way] = transform(image)
                seconds[way].append(time.process_time() - start)
        start = [(side - length) // 2 for length in small[:2]]
        inner = results["FitInPlane"][:, start[0] : start[0] + small[0], start[1] : start[1] + small[1]]
        difference = float((inner - results["Resize"]).abs().max())
        stock_time, ours = (statistics.median(seconds[way]) for way in ("Resize", "FitInPlane"))
        print(
            f"{name} {shape}: Resize {stock_time * 1000:.1f} ms, FitInPlane {ours * 1000:.1f} ms, "
            f"{stock_time / ours:.1f} times as fast, largest difference {difference:.1e}"
        )


if __name__ == "__main__":
    fire.Fire(main)
