"""The index of studies: reports are not needed, and what cannot be done is said and stops nothing else."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from medvlm.data.datalists import save_datalist
from medvlm.data.search_index import open_index
from medvlm.engines.study_index import StudyIndex


class Direction(nn.Module):
    """Embeds a study as the first two numbers of its video."""

    def prepare(self) -> Direction:
        return self

    def embed_study(self, video, view_mask=None, angles=None):
        if float(video[0, 0]) == 99:
            raise RuntimeError("out of memory")
        return nn.functional.normalize(video, dim=1)


def read(case: dict) -> dict:
    if case["point"] is None:
        raise ValueError(f"{case['video'][0]}: the file is empty.")
    point = torch.tensor(case["point"], dtype=torch.float32)
    return {"video": point, "view_mask": torch.ones(1), "angles": torch.zeros(1, 6), "case_id": case["case_id"]}


def study(name: str, point, report: str | None = None) -> dict:
    case = {"case_id": name, "study_id": name, "patient_id": name, "video": [f"{name}.dcm"], "point": point}
    return case | ({} if report is None else {"report": report})


SILENT = [study(f"silent_{i}", [1.0, i / 100]) for i in range(12)]
STUDIES = [*SILENT, study("told", [0.0, 1.0], "Severe stenosis of the LAD."), study("blank", [-1.0, 0.0], "  ")]


def index_of(folder, tmp_path) -> StudyIndex:
    (tmp_path / "model.pt").write_bytes(b"weights")
    return StudyIndex(folder, Direction(), read, tmp_path / "model.pt", engine="exact", progress=False)


def test_studies_without_report_are_found_but_never_retrieved_as_reports(tmp_path):
    index = index_of(tmp_path / "index", tmp_path)
    done = index.build([*STUDIES, study("bad", None, "A report."), study("large", [99.0, 0.0])])
    assert (done.added, done.without_report) == (14, 13)
    assert [failure.case_id for failure in done.failures] == ["bad", "large"]
    assert str(done) == "14 studies added, 13 of them without a report, 2 left out that cannot be read"
    assert [one["id"] for one in index.search([1.0, 0.0], 2)] == ["silent_0", "silent_1"]
    (found,) = index.search([1.0, 0.0], 3, reports=True, without={"case_id": "silent_0"})
    assert (found["id"], found["rank"], found["text"]) == ("told", 1, "Severe stenosis of the LAD.")
    assert index.search([1.0, 0.0], 3, reports=True, without={"case_id": "told"}) == []


def test_what_is_left_out_of_an_index_that_grows_is_counted_with_its_reason(tmp_path):
    index = index_of(tmp_path / "index", tmp_path)
    index.build(STUDIES[:3])
    done = index.append([*STUDIES[2:5], study("bad", None)])
    assert (done.added, done.already, len(done.failures)) == (2, 1, 1)
    assert str(done) == (
        "2 studies added, 2 of them without a report, 1 left out, whose id is in the index already, "
        "1 left out that cannot be read"
    )
    assert len(open_index(tmp_path / "index")) == 5
    assert index.append([study("bad", None)]).failures[0].message == "bad.dcm: the file is empty."


@pytest.mark.parametrize(
    ("folder", "training", "reason"),
    [
        ("file/index", STUDIES[-2:], "cannot write"),
        ("index", [study("bad", None, "A report.")], "studies with a readable view, none of 1 has (bad: "),
        ("index", [study("told", [0.0, 0.0], "A report.")], "embeddings must be finite and not zero"),
    ],
    ids=["no folder can be made", "no readable study", "no embedding"],
)
def test_an_index_that_cannot_be_built_is_told_and_stops_nothing(tmp_path, caplog, folder, training, reason):
    (tmp_path / "file").write_text("a file where a folder should be")
    save_datalist({"name": "few", "training": training, "test": []}, tmp_path / "few.json")
    index = index_of(tmp_path / folder, tmp_path)
    with caplog.at_level(logging.WARNING):
        assert index.prepare(tmp_path / "few.json") is index
    assert reason in index.note and "no search index could be built" in index.note
    assert "no reports are retrieved" in caplog.text and reason in caplog.text
    assert index.search([1.0, 0.0], 3) == [] and index.describe() == {"studies": 0, "note": index.note}


def test_a_folder_that_cannot_be_written_is_said_before_a_study_is_read(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    index = index_of(tmp_path / "file" / "index", tmp_path)
    index.transform = None  # nothing may be read
    with pytest.raises(OSError, match="cannot write .*--index_dir of predict"):
        index.build(STUDIES)


def test_an_index_of_videos_that_were_read_otherwise_does_not_fit(tmp_path):
    index = index_of(tmp_path / "index", tmp_path)
    index.seen = {"frames": 2, "image_size": 96}
    index.build(STUDIES)
    other = index_of(tmp_path / "index", tmp_path)
    for seen in ({"frames": 16, "image_size": 96}, {}):
        other.seen = seen
        assert other.open() is None and "videos that were read with other settings" in other.note
    other.seen = {"image_size": 96, "frames": 2}
    assert len(other.open()) == len(STUDIES)
