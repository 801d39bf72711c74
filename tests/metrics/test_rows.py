from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.rows import (
    CASE_COLUMNS,
    REGION_COLUMNS,
    check_compared,
    read_rows,
    regions_of,
    score_case,
    write_rows,
)


@pytest.fixture
def masks():
    truth = np.zeros((2, 24, 24, 12), dtype=np.uint8)
    truth[0, 4:12, 4:12, 2:8] = 1
    pred = truth.copy()
    pred[0, 4:6] = 0
    pred[1, 20, 20, 10] = 1
    return pred, truth


def test_every_run_to_compare_with_that_does_not_exist_is_named(tmp_path):
    there = tmp_path / "cases.csv"
    there.write_text("case_id\na\n", encoding="utf-8")
    check_compared(None)
    check_compared({"there": str(there)})
    with pytest.raises(FileNotFoundError, match=r"no file at \S*b\.csv \(b\), \S*c\.csv \(c\); .*--ablation_against"):
        check_compared({"there": there, "b": tmp_path / "b.csv", "c": tmp_path / "c.csv"})


def test_a_case_is_scored_region_by_region(masks):
    row = score_case(*masks, (1.0, 1.0, 2.0), ["WT", "ET"])
    assert row["dice_WT"] == pytest.approx(2 * 6 / 14)
    assert row["iou_WT"] == pytest.approx(6 / 8)
    assert row["hd95_mm_WT"] == pytest.approx(2.0)
    assert (row["lw_tp_WT"], row["lw_fp_WT"], row["lw_fn_WT"]) == (1, 0, 0)
    assert row["true_volume_ml_WT"] == pytest.approx(8 * 8 * 6 * 2 / 1000)
    assert row["pred_volume_ml_WT"] == pytest.approx(6 * 8 * 6 * 2 / 1000)
    assert (row["dice_ET"], row["hd95_mm_ET"], row["lw_fp_ET"], row["lw_dice_ET"]) == (0.0, 374.0, 1, 0.0)
    assert list(row) == [f"{column}_{region}" for region in ("WT", "ET") for column in REGION_COLUMNS]


def test_without_a_truth_only_the_predicted_extent_is_known(masks):
    row = score_case(masks[0], None, (1.0, 1.0, 2.0), ["WT", "ET"])
    known = {key for key, value in row.items() if value is not None}
    assert known == {f"{column}_{region}" for column in ("pred_volume_ml", "pred_voxels") for region in ("WT", "ET")}


def test_a_picture_has_pixels_but_no_millimetres(masks):
    row = score_case(*masks, None, ["WT", "ET"])
    assert (row["true_voxels_WT"], row["pred_voxels_WT"]) == (8 * 8 * 6, 6 * 8 * 6)
    assert row["dice_WT"] == pytest.approx(2 * 6 / 14)
    assert all(row[f"{column}_WT"] is None for column in REGION_COLUMNS if "_mm" in column or "_ml" in column)


def test_lesion_wise_scores_can_be_left_out(masks):
    row = score_case(*masks, (1.0, 1.0, 2.0), ["WT", "ET"], lesionwise=None)
    assert row["lw_dice_WT"] is None
    assert row["dice_WT"] is not None


def test_channels_must_match_names(masks):
    with pytest.raises(ValueError, match="one channel a region"):
        score_case(*masks, (1, 1, 1), ["WT"])
    with pytest.raises(ValueError, match="share a grid"):
        score_case(masks[0], masks[1][:, :5], (1, 1, 1), ["WT", "ET"])


def test_a_file_gives_back_the_rows(rows, tmp_path):
    rows[0]["tumour"] = None
    rows[1]["patient_id"] = "007"
    rows = [{"kind": "volume", **row} for row in rows]
    path = write_rows(rows, tmp_path / "out" / "cases.csv")
    assert read_rows(path) == rows
    assert path.read_text(encoding="utf-8").splitlines()[0].startswith(",".join(CASE_COLUMNS))
    assert [file.name for file in path.parent.iterdir()] == ["cases.csv"]


def test_numbers_of_numpy_and_nan_are_written_plainly(tmp_path):
    row = {"case_id": "a", "tumour": np.int64(1), "probability": np.float32(0.5), "dice_WT": np.nan, "mask_known": True}
    path = write_rows([row], tmp_path / "cases.csv")
    assert read_rows(path) == [{"case_id": "a", "tumour": 1, "probability": 0.5, "mask_known": 1, "dice_WT": None}]


def test_regions_come_from_the_columns(rows):
    assert regions_of(rows) == ["WT"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("case_id,tumour\n", "must hold rows"),
        ("name,tumour\na,1\n", "case_id column"),
        ("case_id,tumour\na,1\na,0\n", r"got \['a'\] more often"),
        ("case_id,probability\na,high\n", "column probability must hold numbers"),
    ],
)
def test_files_that_hold_no_cases_are_refused(tmp_path, text, match):
    path = tmp_path / "cases.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=match):
        read_rows(path)


def test_a_missing_file_and_missing_rows_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no cases at"):
        read_rows(tmp_path / "cases.csv")
    with pytest.raises(ValueError, match="no rows to write"):
        write_rows([], tmp_path / "cases.csv")
