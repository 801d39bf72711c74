"""Write a whole set of coronary-angiography phantoms: XA studies, a manifest with reports and truth."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from medvlm.coronary import DOMINANCE, SEGMENTS
from medvlm.data.phantoms.coronary_cine import Look, draw_cine
from medvlm.data.phantoms.coronary_difficulty import Difficulty, difficulty_named
from medvlm.data.phantoms.coronary_files import FORMATS, Oddities, RunHeader, write_run
from medvlm.data.phantoms.coronary_projection import CArm
from medvlm.data.phantoms.coronary_reports import Reporter
from medvlm.data.phantoms.coronary_scene import Room
from medvlm.data.phantoms.coronary_studies import Study, draw_studies, table_row
from medvlm.data.phantoms.marker import is_there, make_root, read_marker, save_marker

SOURCE = "coronary"
GENERATOR = 1
"""Rises whenever the same seed would give other images."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes."""

    studies: int
    seed: int
    frames: tuple[int, int]
    fps: tuple[float, ...]
    views: tuple[int, int]
    size: int
    field_mm: float
    stenosis_fraction: float
    difficulty: Difficulty
    oddities: Oddities
    boilerplate: float
    repeat_fraction: float
    fractions: tuple[float, float, float]
    format: str

    def marked(self) -> dict:
        """The recipe as it stands in the marker."""
        return {"generator": GENERATOR, **json.loads(json.dumps(asdict(self)))}

    @property
    def look(self) -> Look:
        """How the frames look."""
        return Look(self.size, self.field_mm, self.difficulty.contrast, self.difficulty.variation)


def write_coronary_phantoms(
    out: str | os.PathLike[str],
    studies: int = 60,
    seed: int = 0,
    size: int = 96,
    frames: int | Sequence[int] = 16,
    fps: float | Sequence[float] = 7.5,
    views: int | Sequence[int] = (1, 6),
    difficulty: str = "typical",
    stenosis_fraction: float = 0.5,
    variation: float | None = None,
    projections: int | None = None,
    severe_from: int | None = None,
    occlusion_fraction: float | None = None,
    faint_fraction: float | None = None,
    branch_fraction: float | None = None,
    extra_lesions: float | None = None,
    moderate_fraction: float | None = None,
    calcification: float | None = None,
    lesion_length: float | None = None,
    calibre: float | None = None,
    contrast: float | None = None,
    noise: float | None = None,
    field_mm: float = 108.0,
    boilerplate: float = 0.7,
    eight_bit_fraction: float = 0.25,
    monochrome1_fraction: float = 0.15,
    rle_fraction: float = 0.2,
    missing_angles_fraction: float = 0.1,
    repeat_fraction: float = 0.08,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    format: str = "dicom",
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Write seeded coronary angiograms as XA studies with a manifest of reports and truth.

    The same arguments give the same bytes, whatever the number of workers. A set that is there with the same
    arguments is left alone.

    Args:
        out: folder that gets ``coronary/`` and ``phantoms.json`` with the arguments and the lesions of each study.
        studies: number of studies, at least 4.
        seed: of the set.
        size: pixels of a side, 48 to 1024.
        frames: of a run: a number, or least and most.
        fps: frames a second: a number, or several to choose from; contrast fills and washes out within a run.
        views: runs of a study: a number, or least and most, 1 to 6.
        difficulty: ``easy``, ``typical`` or ``hard``; those from variation to noise change parts of it.
        stenosis_fraction: share of patients with a stenosis over 70%.
        variation: factor on how much persons, angles and framing differ.
        projections: how many of the usual angles of each artery are in use.
        severe_from: least percentage of a severe stenosis that is not faint.
        occlusion_fraction: share of the patients with a severe stenosis whose worst lesion is a total occlusion.
        faint_fraction: share of the others whose worst lesion is short and 75 or 80%.
        branch_fraction: share of the severe lesions that are in side branches, where few pixels show them.
        extra_lesions: mean number of mild and moderate lesions, the same in both classes.
        moderate_fraction: share of these that are of 50 to 70% and look much like 75%.
        calcification: mean number of calcified segments, the same in both classes.
        lesion_length: factor on the length of narrowings, 8 to 16 mm, the same in both classes.
        calibre: factor on the diameter of the arteries; 1 is life size, more is easier at few pixels.
        contrast: factor on what the contrast absorbs.
        noise: factor on the noise.
        field_mm: side of the frame at the heart.
        boilerplate: chance of each sentence that does not belong to the findings.
        eight_bit_fraction: share of studies with 8 bits instead of 10 or 12.
        monochrome1_fraction: share of studies written inverted.
        rle_fraction: share of studies that are run-length encoded.
        missing_angles_fraction: share of runs without C-arm angles.
        repeat_fraction: share of studies that are another one of the same patient.
        fractions: of the patients for train, val and test.
        format: ``dicom``, ``npz`` or ``mp4`` (8 bits, lossy, without angles).
        workers: threads.
        progress: show a progress bar.

    Returns:
        The folder ``OUT/coronary``, with ``manifest.csv``.

    Raises:
        ValueError: an argument is out of range.
        FileExistsError: ``out`` holds another set, or a folder that is not ours.
    """
    chosen = difficulty_named(
        difficulty,
        variation=variation,
        projections=projections,
        severe_from=severe_from,
        occlusion_fraction=occlusion_fraction,
        faint_fraction=faint_fraction,
        branch_fraction=branch_fraction,
        extra_lesions=extra_lesions,
        moderate_fraction=moderate_fraction,
        calcification=calcification,
        lesion_length=lesion_length,
        calibre=calibre,
        contrast=contrast,
        noise=noise,
    )
    recipe = Recipe(
        studies=int(studies),
        seed=int(seed),
        frames=_pair(frames, "frames", 1, 10000),
        fps=tuple(float(rate) for rate in (fps if isinstance(fps, Sequence) else (fps,))),
        views=_pair(views, "views", 1, 6),
        size=int(size),
        field_mm=float(field_mm),
        stenosis_fraction=float(stenosis_fraction),
        difficulty=chosen,
        oddities=Oddities(eight_bit_fraction, monochrome1_fraction, rle_fraction, missing_angles_fraction),
        boilerplate=float(boilerplate),
        repeat_fraction=float(repeat_fraction),
        fractions=_three(fractions),
        format=str(format),
    )
    _check(recipe)
    root = Path(out)
    marker = read_marker(root)
    if not is_there(root, SOURCE, recipe.marked(), marker):
        make_root(root)
        bar = tqdm(total=recipe.studies, desc="coronary phantoms", unit="study", disable=not progress)
        with bar, ThreadPoolExecutor(max(1, int(workers))) as pool:
            marker[SOURCE] = _write(root, recipe, pool, bar)
        save_marker(root, marker)
    return root / SOURCE


def _pair(value: int | Sequence[int], name: str, least: int, most: int) -> tuple[int, int]:
    both = tuple(int(each) for each in (value if isinstance(value, Sequence) else (value, value)))
    if len(both) != 2 or not least <= both[0] <= both[1] <= most:
        raise ValueError(f"{name} must be a number or two rising ones from {least} to {most}, got {value}.")
    return both[0], both[1]


def _three(fractions: Sequence[float]) -> tuple[float, float, float]:
    if len(fractions) != 3 or min(fractions) < 0 or sum(fractions) <= 0:
        raise ValueError(f"fractions must be three shares, of train, val and test, got {fractions}; say 0.6,0.2,0.2.")
    return float(fractions[0]), float(fractions[1]), float(fractions[2])


def _check(recipe: Recipe) -> None:
    if recipe.studies < 4:
        raise ValueError(f"studies must be at least 4, got {recipe.studies}; fewer cannot be split by class.")
    if not 48 <= recipe.size <= 1024:
        raise ValueError(f"size must lie in 48..1024 pixels, got {recipe.size}; 96 suits a small network.")
    if recipe.format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {recipe.format!r}; dicom is the default.")
    if not recipe.fps or min(recipe.fps) <= 0:
        raise ValueError(f"fps must be positive, got {recipe.fps}; 7.5 and 15 are usual.")
    if recipe.field_mm <= 0:
        raise ValueError(f"field_mm must be positive, got {recipe.field_mm}; a heart needs about 108.")
    shares = {
        "stenosis_fraction": recipe.stenosis_fraction,
        "boilerplate": recipe.boilerplate,
        "repeat_fraction": recipe.repeat_fraction,
        "eight_bit_fraction": recipe.oddities.eight_bit,
        "monochrome1_fraction": recipe.oddities.monochrome1,
        "rle_fraction": recipe.oddities.rle,
        "missing_angles_fraction": recipe.oddities.missing_angles,
    }
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {share}; it is a share.")


def _write(root: Path, recipe: Recipe, pool: ThreadPoolExecutor, bar: tqdm) -> dict:
    """Write the set beside its place and move it there when it is complete; return its entry of the marker."""
    folder = root / f".{SOURCE}.partial"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    studies = draw_studies(
        recipe.studies, recipe.stenosis_fraction, recipe.repeat_fraction, recipe.views, recipe.fractions, recipe.seed
    )
    rows: list[dict] = []
    truth: list[dict] = []
    for written, facts in pool.map(partial(_write_study, folder, recipe), studies):
        rows += written
        truth.append(facts)
        bar.update()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    folder.replace(root / SOURCE)
    return {"recipe": recipe.marked(), "files": files, "cases": truth}


def _write_study(folder: Path, recipe: Recipe, study: Study) -> tuple[list[dict], dict]:
    """Write one study; return its rows of the manifest and its truth."""
    from pydicom.uid import generate_uid

    look, hard = recipe.look, recipe.difficulty
    tree = study.person(look.step_mm, hard.calibre, hard.variation)
    shown = study.shown(tree, hard.rates(recipe.stenosis_fraction))
    room, rng = Room.draw(study.room_rng, hard.noise), study.writing_rng
    writing, hour = recipe.oddities.draw(rng), int(rng.integers(8 * 3600, 17 * 3600))
    uid = generate_uid(entropy_srcs=["medvlm coronary phantom", str(recipe.seed), study.name])
    report = Reporter(study.report_rng, recipe.boilerplate).write(shown)
    shared = {"StudyInstanceUID": uid, "PatientID": study.patient_id, "Split": study.split, "Report": report}
    place = folder / recipe.format / study.name
    place.mkdir(parents=True)
    rows = []
    for number, view in enumerate(study.views(recipe.frames, recipe.fps, hard.projections, hard.variation), 1):
        silent = rng.random() < recipe.oddities.missing_angles
        arm = CArm(view.primary_deg, view.secondary_deg, look.size, look.field_mm)
        header = RunHeader(
            patient=study.patient_id,
            study_uid=uid,
            number=number,
            frame_time_ms=view.frame_time_ms,
            angles_deg=None if silent else (view.primary_deg, view.secondary_deg),
            arm=arm,
            seconds=hour,
        )
        path = place / f"xa_{number:02d}{FORMATS[recipe.format]}"
        write_run(path, draw_cine(tree, shown.disease, view, look, room, writing.bits), header, writing)
        rows.append({"FileName": path.relative_to(folder).as_posix(), **shared, **table_row(shown)})
    return rows, _truth(study, shown, rows)


def _truth(study: Study, shown, rows: list[dict]) -> dict:
    return {
        "study": study.name,
        "patient": study.patient_id,
        "split": study.split,
        "dominance": DOMINANCE[shown.tree.dominance],
        "sides": [("left", "right")[side] for side in study.sides],
        "views": len(rows),
        "lesions": [
            {
                "segment": one.name,
                "percent": one.percent,
                "length_mm": round(one.length_mm, 1),
                "chronic": one.chronic,
                "collaterals": one.collaterals,
            }
            for one in shown.disease.lesions
        ],
        "calcified": [SEGMENTS[index].name for index in sorted(shown.disease.calcified)],
    }
