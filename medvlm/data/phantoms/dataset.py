"""Write whole phantom data sets to disk, once and reproducibly."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medvlm.data.phantoms import pictures
from medvlm.data.phantoms.cases import SOURCES, Case, Difficulty, source_cases
from medvlm.data.phantoms.geometry import Grid
from medvlm.data.phantoms.layouts import VOLUME_LAYOUTS, Written
from medvlm.data.phantoms.marker import MARKER, is_there, make_root, read_marker, save_marker
from medvlm.data.phantoms.scanners import STYLES, ScannerStyle

GENERATOR = 2
"""Rises whenever the same seed would give other images."""
FIELD_OF_VIEW_MM = (200.0, 200.0, 148.0)
DEFAULT_SOURCES = ("brats2020", "brats2021", "brats2023", "msd", "kaggle_yes_no", "kaggle_four_class")
SOURCE_STYLES = {
    "brats2015_deepmedic": ("mixed", "thick"),
    "brats2020": ("mixed", "shaded"),
    "brats2021": ("sharp", "mixed"),
    "brats2023": ("sharp", "noisy"),
    "msd": ("thick", "mixed"),
    "kaggle_yes_no": ("mixed", "thick", "noisy", "shaded"),
    "kaggle_four_class": ("sharp", "noisy", "mixed"),
    "brats_slices": ("mixed", "shaded"),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of one source."""

    source: str
    cases: int
    healthy_fraction: float
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    seed: int
    styles: tuple[str, ...]
    difficulty: Difficulty
    four_class_names: str

    def marked(self) -> dict:
        """The recipe as it stands in the marker."""
        return {"generator": GENERATOR, **json.loads(json.dumps(asdict(self)))}


def write_phantoms(
    out: str | os.PathLike[str],
    sources: str | Sequence[str] = DEFAULT_SOURCES,
    cases_per_source: int = 24,
    healthy_fraction: float = 0.4,
    shape: Sequence[int] = (96, 96, 32),
    spacing_mm: Sequence[float] | None = None,
    seed: int = 0,
    faint_fraction: float = 0.15,
    mimic_fraction: float = 0.4,
    noise: float = 1.0,
    styles: Mapping[str, str | Sequence[str]] | None = None,
    four_class_names: str = "plain",
    workers: int = 2,
    progress: bool = True,
) -> dict[str, Path]:
    """Write seeded brain-MRI phantoms in the layouts of public data sets, healthy controls in every one.

    The same arguments give the same bytes, whatever the order, the number of workers or the other sources. A source
    that is there with the same arguments is left alone, so a second call is quick and changes nothing.

    Args:
        out: folder that gets one folder a source, and ``phantoms.json`` with the arguments and the truth of each case.
        sources: names of ``SOURCES``; a comma-separated string will do.
        cases_per_source: cases (time points, pictures) in each source, at least 4.
        healthy_fraction: share of healthy controls, between 0 and 1.
        shape: voxels of a volume along x (Left), y (Posterior), z (Superior); pictures have shapes of their own.
        spacing_mm: voxel sizes; by default the grid covers 200 x 200 x 148 mm.
        seed: the data set's seed.
        faint_fraction: share of tumours that are faint and small.
        mimic_fraction: share of persons with many bright things that are no tumour.
        noise: factor on the noise.
        styles: scanner styles for some sources instead of their own, names of ``STYLES``: ``{"msd": "noisy"}``.
        four_class_names: ``plain`` (``glioma``, ``notumor``) or ``long`` (``glioma_tumor``, ``no_tumor``).
        workers: threads.
        progress: show a progress bar.

    Returns:
        The folder of each source.

    Raises:
        ValueError: an argument is out of range, or names something that does not exist.
        FileExistsError: ``out`` holds the source with other arguments, or a folder that is not ours.
    """
    root = Path(out)
    difficulty = Difficulty(float(faint_fraction), float(mimic_fraction), float(noise))
    names = [name.strip() for name in sources.split(",")] if isinstance(sources, str) else list(sources)
    recipes = _recipes(
        names, cases_per_source, healthy_fraction, shape, spacing_mm, seed, difficulty, styles or {}, four_class_names
    )
    marker = read_marker(root)
    waiting = [recipe for recipe in recipes if not is_there(root, recipe.source, recipe.marked(), marker)]
    if waiting:
        make_root(root)
        bar = tqdm(total=len(waiting) * cases_per_source, desc="phantoms", unit="case", disable=not progress)
        with bar, ThreadPoolExecutor(max(1, int(workers))) as pool:
            for recipe in waiting:
                marker[recipe.source] = _write_source(root, recipe, pool, bar.update)
                save_marker(root, marker)
    return {recipe.source: root / recipe.source for recipe in recipes}


def picture_masks(root: str | os.PathLike[str], source: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Draw pictures of a written Kaggle source again and return what their layout does not hold: the tumours' masks.

    Args:
        root: the folder given to ``write_phantoms``.
        source: ``kaggle_yes_no`` or ``kaggle_four_class``.
        names: the pictures' paths inside the source's folder.

    Returns:
        Name to bool rows and columns of the picture, all False in a control; near-duplicates are left out.

    Raises:
        ValueError: the source is none of pictures, was not written here or by another version, or lacks a name.
    """
    entry = read_marker(Path(root)).get(source)
    if entry is None or not source.startswith("kaggle_"):
        raise ValueError(f"{root} must hold phantoms of a Kaggle source, got {source!r}; write them with `phantom`.")
    arguments = {key: value for key, value in entry["recipe"].items() if key != "generator"}
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    recipe = Recipe(**{**arguments, "difficulty": Difficulty(**arguments["difficulty"])})
    if recipe.marked() != entry["recipe"]:
        raise ValueError(f"{source} in {root} was drawn by another version of the generator; write it anew.")
    cases = source_cases(source, recipe.cases, recipe.healthy_fraction, recipe.seed, recipe.difficulty)
    places = {one["case"]: place for place, one in enumerate(entry["cases"])}
    if unknown := [name for name in names if name not in places]:
        raise ValueError(f"{source} in {root} must hold the pictures, but has no {unknown[:3]}; see {MARKER}.")
    chosen = {name: cases[places[name]] for name in names}
    return {name: _picture(recipe, case).mask for name, case in chosen.items() if case.copy_of is None}


def _recipes(
    names: Sequence[str],
    count: int,
    healthy_fraction: float,
    shape: Sequence[int],
    spacing_mm: Sequence[float] | None,
    seed: int,
    difficulty: Difficulty,
    styles: Mapping[str, str | Sequence[str]],
    four_class_names: str,
) -> list[Recipe]:
    if unknown := sorted(set(names) - set(SOURCES)):
        raise ValueError(f"sources must be among {', '.join(SOURCES)}; got {', '.join(unknown)}. Check the spelling.")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"sources must name at least one source and each once, got {list(names)}; drop the repeats.")
    if count < 4:
        raise ValueError(f"cases_per_source must be at least 4, got {count}; fewer cannot be split by class.")
    if not 0 < healthy_fraction < 1:
        raise ValueError(
            f"healthy_fraction must lie between 0 and 1 (excluded), got {healthy_fraction}; both classes belong in "
            "every source, or source and class are confounded. 0.4 is the default."
        )
    if len(shape) != 3 or min(shape) < 8:
        raise ValueError(f"shape must be three numbers of at least 8, got {tuple(shape)}; for instance 96,96,32.")
    if spacing_mm is not None and (len(spacing_mm) != 3 or min(spacing_mm) <= 0):
        raise ValueError(f"spacing_mm must be three positive numbers, got {tuple(spacing_mm)}; leave it out to fit.")
    for name in ("faint_fraction", "mimic_fraction"):
        share = getattr(difficulty, name)
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {share}; it is a share of cases.")
    if difficulty.noise < 0:
        raise ValueError(f"noise must not be negative, got {difficulty.noise}; 1 is typical, 0 is none.")
    if four_class_names not in pictures.CLASS_NAMES:
        raise ValueError(f"four_class_names must be one of {sorted(pictures.CLASS_NAMES)}, got {four_class_names!r}.")
    if strangers := sorted(set(styles) - set(SOURCES)):
        raise ValueError(f"styles must name sources among {', '.join(SOURCES)}; got {', '.join(strangers)}.")
    spacing = spacing_mm or [field / side for field, side in zip(FIELD_OF_VIEW_MM, shape, strict=True)]
    out = []
    for name in names:
        chosen = styles.get(name, SOURCE_STYLES[name])
        chosen = (chosen,) if isinstance(chosen, str) else tuple(chosen)
        if not chosen or set(chosen) - set(STYLES):
            raise ValueError(f"styles[{name!r}] must name styles among {', '.join(STYLES)}; got {chosen}.")
        sides = (int(shape[0]), int(shape[1]), int(shape[2]))
        sizes = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
        fraction = float(healthy_fraction)
        out.append(Recipe(name, int(count), fraction, sides, sizes, int(seed), chosen, difficulty, four_class_names))
    return out


def _write_source(root: Path, recipe: Recipe, pool: ThreadPoolExecutor, step: Callable[[], object]) -> dict:
    """Write a source beside its place and move it there when it is complete; return its entry of the marker."""
    partial_folder = root / f".{recipe.source}.partial"
    if partial_folder.exists():
        shutil.rmtree(partial_folder)
    partial_folder.mkdir()
    cases = source_cases(recipe.source, recipe.cases, recipe.healthy_fraction, recipe.seed, recipe.difficulty)
    written: list[Written] = []
    for result in pool.map(partial(_write_case, partial_folder, recipe, cases), cases):
        written.append(result)
        step()
    if recipe.source in VOLUME_LAYOUTS:
        VOLUME_LAYOUTS[recipe.source].finish(partial_folder, written, recipe.seed)
    files = sum(1 for path in partial_folder.rglob("*") if path.is_file())
    partial_folder.replace(root / recipe.source)
    copies = [[written[case.copy_of].name, written[case.index].name] for case in cases if case.copy_of is not None]
    entry = {"recipe": recipe.marked(), "files": files}
    if copies:
        entry["near_duplicates"] = copies
    entry["cases"] = [{"case": one.name, "patient": one.patient, **one.facts} for one in written]
    return entry


def _write_case(root: Path, recipe: Recipe, cases: list[Case], case: Case) -> Written:
    original = case if case.copy_of is None else cases[case.copy_of]
    scanner, noise = _scanner(recipe, original), recipe.difficulty.noise
    if recipe.source in VOLUME_LAYOUTS:
        growth = 1.0 + 0.25 * float(case.rng(1).random()) if case.visit else 1.0
        grid = Grid(recipe.shape, recipe.spacing_mm)
        study = case.person().scan(case.rng(), scanner, grid, noise, growth=growth)
        return VOLUME_LAYOUTS[recipe.source].write(root, study, case.patient, case.visit)
    if recipe.source == "brats_slices":
        same = [other.index for other in cases if (other.kind is None) == (case.kind is None)]
        return pictures.write_brats_slice(root, case.person(), case.rng(), scanner, same.index(case.index), noise)
    picture = _picture(recipe, original)
    data = picture.data
    if case.copy_of is not None:
        data = pictures.copied(data, case.rng(3), picture.suffix, picture.rgb)
    if recipe.source == "kaggle_yes_no":
        name = pictures.yes_no_path(case.index, case.kind is not None, picture.suffix, case.rng(4))
    else:
        same = [other.index for other in cases if other.kind == case.kind]
        place = same.index(case.index)
        part = "Testing" if place % 4 == 1 else "Training"
        name = pictures.four_class_path(case.index, case.kind, part, recipe.four_class_names)
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Written(name, f"phantom-{case.patient:04d}", picture.facts)


def _picture(recipe: Recipe, case: Case) -> pictures.Picture:
    style = pictures.YES_NO_STYLE if recipe.source == "kaggle_yes_no" else pictures.FOUR_CLASS_STYLE
    return pictures.kaggle_picture(case.person(), case.rng(), _scanner(recipe, case), style, recipe.difficulty.noise)


def _scanner(recipe: Recipe, case: Case) -> ScannerStyle:
    return STYLES[recipe.styles[int(case.rng(5).integers(len(recipe.styles)))]]
