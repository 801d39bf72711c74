"""Write a datalist in which phantom pictures have the masks that their Kaggle layouts hide from training.

    python benchmarks/hidden_masks.py data --out hidden
    python -m medvlm evaluate brats_mri_multitask --datalist hidden/datalist.json --overlays averaging,phantom

Pictures of the Kaggle layouts have a class and no mask: nothing in training says where their tumours lie. The phantoms
know, so that evaluation can tell whether outlines reach sources without masks. The pictures of ``data/datalist.json``
are drawn again; its volumes stay as they are, near-duplicate pictures are left out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import fire
import numpy as np
from PIL import Image

from medvlm.data.datalists import load_datalist, read_datalist
from medvlm.data.phantoms import picture_masks

CONVENTION = {"values": [0, 255], "regions": {"WT": [255]}}


def main(data: str, out: str = "hidden", section: str = "test") -> None:
    """Write ``OUT/datalist.json`` and ``OUT/masks``.

    Args:
        data: folder of the phantoms, with ``datalist.json``.
        out: folder of the results.
        section: section of the datalist; the only one of the new one.
    """
    root, folder = Path(data).resolve(), Path(out).resolve()
    lists, listed = read_datalist(root / "datalist.json"), load_datalist(root / "datalist.json", section)
    cases = [case for case in listed if not case["source"].startswith("kaggle_")]
    for source in sorted({case["source"] for case in listed} & {"kaggle_yes_no", "kaggle_four_class"}):
        print(f"{source}: the pictures are drawn again", flush=True)
        named = {Path(c["image"]).relative_to(root / source).as_posix(): c for c in listed if c["source"] == source}
        for name, mask in picture_masks(root, source, list(named)).items():
            file = folder / "masks" / source / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(file)
            case = {key: value for key, value in named[name].items() if key != "empty_mask"}
            cases.append({**case, "label": str(file), "convention": "hidden_wt", "regions": CONVENTION["regions"]})
    for case in cases:
        for key in {"image", "label"} & case.keys():
            paths = [os.path.relpath(path, folder) for path in np.atleast_1d(case[key])]
            case[key] = paths if isinstance(case[key], list) else paths[0]
    header = {key: value for key, value in lists.items() if key not in ("training", "validation", "test", "inference")}
    header["conventions"] = {**header.get("conventions", {}), "hidden_wt": CONVENTION}
    text = json.dumps({**header, "counts": [], "warnings": [], section: cases}, indent=1)
    (folder / "datalist.json").write_text(text + "\n", encoding="utf-8")
    print(f"{folder / 'datalist.json'}: {len(cases)} cases")


if __name__ == "__main__":
    fire.Fire(main)
