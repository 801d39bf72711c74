"""One row a case: what evaluation measures, what the summary and the report read, and the CSV between them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from medvlm.atomic import replacing
from medvlm.metrics.lesionwise import lesion_wise
from medvlm.metrics.segmentation import dice, hd95_mm, iou, volume_ml

IDENTITY = ("case_id", "patient_id", "source", "kind")
CASE_COLUMNS = (*IDENTITY, "tumour", "probability", "mask_known")
REGION_COLUMNS = (
    "dice",
    "iou",
    "hd95_mm",
    "lw_dice",
    "lw_hd95_mm",
    "lw_tp",
    "lw_fp",
    "lw_fn",
    "true_volume_ml",
    "pred_volume_ml",
    "true_voxels",
    "pred_voxels",
)
_WHOLE_NUMBERS = (
    "tumour",
    "mask_known",
    "lw_tp",
    "lw_fp",
    "lw_fn",
    "true_voxels",
    "pred_voxels",
    "mask_emptied",
    "emptied_voxels",
)


def score_case(
    pred: np.ndarray,
    truth: np.ndarray | None,
    spacing_mm: Sequence[float] | None,
    region_names: Sequence[str],
    lesionwise: str | None = "gli",
    empties: str = "brats",
) -> dict[str, float | int | None]:
    """Segmentation columns of one case.

    Args:
        pred: ``(R, X, Y, Z)`` or ``(R, X, Y)``, boolean or 0/1, one channel a region, on the truth's own grid.
        truth: same shape, or None where the mask is unknown.
        spacing_mm: one distance a spatial axis; None for a picture, whose pixels have no size: nothing is then said in
            millimetres or millilitres.
        region_names: R names, in channel order.
        lesionwise: convention of the lesion-wise scores, see :data:`medvlm.metrics.lesionwise.CONVENTIONS`; None
            leaves their columns empty.
        empties: see :data:`medvlm.metrics.segmentation.EMPTY_POLICIES`.

    Returns:
        For each region r the columns ``dice_r``, ``iou_r``, ``hd95_mm_r``, ``lw_dice_r``, ``lw_hd95_mm_r``,
        ``lw_tp_r``, ``lw_fp_r``, ``lw_fn_r``, ``true_volume_ml_r``, ``pred_volume_ml_r``, ``true_voxels_r``,
        ``pred_voxels_r``; without a truth all None but those of the prediction.

    Raises:
        ValueError: when channels and names differ in number, or the masks do not fit together.
    """
    pred = np.asarray(pred)
    if pred.ndim < 3 or pred.shape[0] != len(region_names):
        raise ValueError(f"one channel a region is needed, got shape {pred.shape} for regions {list(region_names)}.")
    if truth is not None and np.shape(truth) != pred.shape:
        raise ValueError(f"prediction and truth must share a grid, got {pred.shape} and {np.shape(truth)}.")
    row: dict[str, float | int | None] = {}
    for channel, name in enumerate(region_names):
        values: dict[str, float | int | None] = dict.fromkeys(REGION_COLUMNS)
        answer = pred[channel]
        values["pred_voxels"] = int(np.count_nonzero(answer))
        if spacing_mm is not None:
            values["pred_volume_ml"] = volume_ml(answer, spacing_mm)
        if truth is not None:
            real = np.asarray(truth[channel])
            values |= {
                "dice": dice(answer, real, empties),
                "iou": iou(answer, real, empties),
                "true_voxels": int(np.count_nonzero(real)),
            }
            if spacing_mm is not None:
                values["hd95_mm"] = hd95_mm(answer, real, spacing_mm, empties)
                values["true_volume_ml"] = volume_ml(real, spacing_mm)
            if lesionwise is not None and spacing_mm is not None:
                lesions = lesion_wise(answer, real, spacing_mm, lesionwise)
                values |= {
                    "lw_dice": lesions.dice,
                    "lw_hd95_mm": lesions.hd95_mm,
                    "lw_tp": lesions.true_positives,
                    "lw_fp": lesions.false_positives,
                    "lw_fn": lesions.false_negatives,
                }
        row |= {f"{column}_{name}": value for column, value in values.items()}
    return row


def regions_of(rows: Sequence[dict]) -> list[str]:
    """Names of the regions that rows have columns for, in the order of the columns."""
    return list(dict.fromkeys(key[len("dice_") :] for row in rows for key in row if key.startswith("dice_")))


def write_rows(rows: Sequence[dict], path: str | Path) -> Path:
    """Write rows as CSV, unknown values as empty cells, replacing the file in one step.

    Args:
        rows: at least one; a column that only some rows have is empty in the others.
        path: of the file.

    Returns:
        The path.
    """
    if not rows:
        raise ValueError("no rows to write: the section holds no case that could be evaluated.")
    path = Path(path)
    columns = list(dict.fromkeys([*(c for c in CASE_COLUMNS if c in rows[0]), *(key for row in rows for key in row)]))
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return path


def check_compared(against: Mapping[str, str | Path] | None) -> None:
    """Refuse runs to compare with whose rows do not exist, before an evaluation that may take hours.

    Args:
        against: ``{name: cases.csv}``, or None.

    Raises:
        FileNotFoundError: one or more do not exist; names them and the remedy.
    """
    absent = [f"{path} ({name})" for name, path in (against or {}).items() if not Path(path).is_file()]
    if absent:
        raise FileNotFoundError(
            f"ablation_against must name the cases.csv of other runs, got no file at {', '.join(absent)}; evaluate "
            "those runs first (cases.csv lies in their --output_dir), or leave them out of --ablation_against."
        )


def read_rows(path: str | Path) -> list[dict]:
    """Read what :func:`write_rows` wrote.

    Args:
        path: of the file.

    Returns:
        Rows with text for ids and sources, int for counts and classes, float for the rest, None for empty cells.

    Raises:
        FileNotFoundError: when there is no file.
        ValueError: on a file without rows, without ``case_id``, with a case twice, or with a cell that is no number.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no cases at {path}; evaluation writes them as cases.csv beside evaluation.json.")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        raw = list(csv.DictReader(stream))
    if not raw or "case_id" not in raw[0]:
        raise ValueError(f"{path} must hold rows with a case_id column, got {list(raw[0]) if raw else 'no rows'}.")
    rows = [{key: _parsed(key, cell, path) for key, cell in row.items() if key is not None} for row in raw]
    check_unique(rows, str(path))
    return rows


def check_unique(rows: Iterable[dict], where: str) -> None:
    """Refuse rows in which a case occurs twice."""
    seen: set = set()
    twice = sorted({str(row["case_id"]) for row in rows if row["case_id"] in seen or seen.add(row["case_id"])})
    if twice:
        raise ValueError(f"every case may occur once in {where}, got {twice[:5]} more often; make case_id unique.")


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, bool) else value


def _parsed(key: str, cell: str | None, path: Path) -> str | int | float | None:
    if cell is None or cell == "":
        return None
    if key in IDENTITY:
        return cell
    whole = key in _WHOLE_NUMBERS or key.rsplit("_", 1)[0] in _WHOLE_NUMBERS
    try:
        return int(float(cell)) if whole else float(cell)
    except ValueError as error:
        if key in CASE_COLUMNS or key.startswith(REGION_COLUMNS):
            raise ValueError(f"{path}: column {key} must hold numbers, got {cell!r}.") from error
        return cell  # a column of somebody else's
