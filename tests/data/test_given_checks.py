"""What the doctor finds in further inputs, similar studies and a teacher's features, and that training agrees."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medvlm.data.datalists import load_datalist, save_datalist
from medvlm.data.doctor import doctor, examine
from medvlm.data.given_checks import check_given, check_given_sets
from transforms import SideInputsd, SoftPositivesd, TeacherFeaturesd

READ = {
    "side": SideInputsd(vectors={"ecg": 3}, tables={"tabular": {"age": [65, 12], "ldl": [3, 1]}}),
    "similar": SoftPositivesd(count=16),
    "teacher": TeacherFeaturesd(dim=4),
}
"""What training does with each key."""


def case(number: int = 0, **given) -> dict:
    return {"video": [f"v{number}.dcm"], "case_id": f"case-{number}", **given}


def rows(one: dict, severity: str | None = None) -> list[str]:
    return [row.problem for row in check_given(one) if severity in (None, row.severity)]


def over_all(*cases: dict, section: str = "training", **others: list[dict]) -> list[tuple[str, str, str]]:
    return [(r.severity, r.case_id, r.problem) for r in check_given_sets({section: list(cases), **others})]


@pytest.fixture
def file(tmp_path):
    """``file("a.npy", [1, 2])``: a file of numbers, or of text."""

    def write(name: str, content) -> str:
        path = tmp_path / name
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            np.save(path, np.asarray(content))
        return str(path)

    return write


def test_sound_additions_have_no_finding_and_training_reads_them(file):
    one = case(
        side={"ecg": file("e.npy", [0.1, 0.2, 0.3]), "tabular": {"age": 63, "ldl": None}},
        similar={"case-1": 0.5, "case-2": 1},
        teacher=file("t.csv", "1,2,3,4"),
    )
    assert check_given(one) == []
    for read in READ.values():
        read(one)
    assert check_given(case(side={"ecg": [1, None, 3], "note": "Chest pain on exertion."}))[0].severity == "warning"


@pytest.mark.parametrize(
    "given",
    [{}, {"side": None, "similar": None, "teacher": None}, {"side": {"ecg": None, "note": " "}, "teacher": ""}],
    ids=["no key", "null", "empty"],
)
def test_what_is_absent_is_no_finding(given):
    assert check_given(case(**given)) == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("side", ["ecg.npy"], "not further inputs by name"),
        ("side", {"ecg": "/nowhere/e.npy"}, "there is no such file"),
        ("side", {"ecg": [1, "loud", 3]}, "the further input 'ecg' holds [1, 'loud', 3]"),
        ("side", {"tabular": {"age": "old"}}, "the column 'age' of the further input 'tabular' is 'old'"),
        ("similar", ["case-1"], "not weights by case_id"),
        ("similar", {"case-1": 1.5}, "the weight of the similar case 'case-1' is 1.5"),
        ("similar", {"case-1": float("nan")}, "is nan"),
        ("teacher", "/nowhere/t.npy", "there is no such file"),
        ("teacher", "features.txt", "'features.txt' is no file of numbers"),
        ("teacher", [1.0, float("nan"), 3.0, 4.0], "1 of 4 numbers of the teacher's features are null"),
        ("teacher", [1.0, None, 3.0, 4.0], "1 of 4 numbers"),
        ("teacher", [], "the teacher's features holds no number"),
    ],
)
def test_what_training_refuses_is_an_error(key, value, problem):
    one = case(**{key: value})
    (found,) = rows(one, "error")
    assert problem in found and all(row.remedy for row in check_given(one))
    with pytest.raises(ValueError):
        READ[key](one)


@pytest.mark.parametrize(("name", "content"), [("e.npy", "no numbers"), ("e.npy", ""), ("e.csv", "")], ids=str)
@pytest.mark.parametrize("key", ["side", "teacher"])
def test_a_damaged_file_is_named(file, key, name, content):
    path = file(name, content)
    (row,) = check_given(case(**{key: {"ecg": path} if key == "side" else path}))
    assert row.severity == "error" and row.file == path and row.case_id == "case-0"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"ecg": [1.0, float("inf"), None]}, "2 of 3 numbers of the further input 'ecg' are null, NaN or infinite"),
        ({"ecg": [[1, 2], [3, 4]]}, "has the shape (2, 2)"),
        ({"tabular": {"age": float("nan")}}, "the column 'age' of the further input 'tabular' is nan"),
        ({"note": "notes/0001.txt"}, "a file's name is read as text"),
        ({"note": "St\ufffdnose bekannt"}, "were not decoded"),
    ],
)
def test_what_training_takes_for_unknown_or_otherwise_is_a_warning(value, problem):
    (found,) = rows(case(side=value), "warning")
    assert problem in found


def test_a_csv_of_words_is_told(file):
    (found,) = rows(case(side={"ecg": file("e.csv", "sinus,rhythm,normal")}), "warning")
    assert found == "none of the 3 numbers of the further input 'ecg' is known"


def test_more_similar_cases_than_are_read_name_the_key():
    (row,) = check_given(case(similar={f"case-{n}": 0.5 for n in range(1, 18)}))
    assert row.severity == "warning" and "--similar_cases 17" in row.remedy


def test_lengths_and_kinds_that_others_do_not_have_are_errors(file):
    sound = [case(n, side={"ecg": [1, 2, 3], "note": "well"}, teacher=[0.0] * 4) for n in range(3)]
    odd = case(8, side={"ecg": file("e.npy", [1, 2]), "note": {"age": 3}}, teacher=[0.0] * 5)
    found = sorted(over_all(*sound, odd))
    assert {row[:2] for row in found} == {("error", "case-8")}
    assert [problem for *_, problem in found] == [
        "the further input 'ecg' is a vector of 2 numbers, in 3 other cases it is a vector of 3 numbers",
        "the further input 'note' is a table, in 3 other cases it is a text",
        "the teacher's features is a vector of 5 numbers, in 3 other cases it is a vector of 4 numbers",
    ]


def test_slips_of_names_and_columns_are_told():
    sound = [case(n, side={"ecg_12": [1.0], "tabular": {"ldl": 3, "hba1c": 5}}) for n in range(4)]
    found = over_all(*sound, case(9, side={"ecq_12": [1.0], "tabular": {"hdl": 2, "hba1": 5}}))
    assert [row[:2] for row in found] == [("warning", "case-9")] * 2
    assert "further input is called 'ecq_12', in 1 case; did you mean 'ecg_12'?" in found[0][2]
    assert "column of 'tabular' is called 'hba1', in 1 case; did you mean 'hba1c'?" in found[1][2]


def test_similar_cases_must_exist_in_the_same_section():
    cases = [case(1, similar={"case-2": 0.5, "csae-2": 0.5, "case-7": 0.5, "case-1": 0.4}), case(2)]
    found = over_all(*cases, validation=[case(7)])
    assert found[0][0] == "error" and "'csae-2' is not in the datalist; did you mean 'case-2'?" in found[0][2]
    assert found[1][0] == "warning" and "'case-7' stands in validation, this one in training" in found[1][2]
    assert len(found) == 2 and rows(cases[0]) == ["the case is similar to itself"]


def test_one_file_of_two_studies_is_told(file):
    path = file("e.npy", [1.0, 2.0])
    assert over_all(case(1, side={"ecg": path}), case(2, side={"ecg": path})) == [
        ("warning", "case-2", "it also belongs to case-1 in training")
    ]


def test_the_command_names_the_datalist_where_there_is_no_file_and_knows_the_other_sections(cines, tmp_path, capsys):
    study = {"patient_id": "P", "source": "s"}
    cases = {
        name: [{**study, "video": [str(f) for f in cines.study(n)], "case_id": name, "patient_id": name}]
        for n, name in enumerate(("training", "validation"))
    }
    cases["training"][0]["similar"] = {"validation": 0.5, "gone": 0.2}
    (tmp_path / "ecg").mkdir()
    np.save(tmp_path / "ecg" / "1.npy", np.zeros(3))
    cases["validation"][0]["side"] = {"ecg": str(tmp_path / "ecg" / "1.npy")}
    save_datalist({"name": "d", **cases}, tmp_path / "d.json")
    assert load_datalist(tmp_path / "d.json", "validation")[0]["side"]["ecg"] == str(tmp_path / "ecg" / "1.npy")
    assert doctor(str(tmp_path / "d.json"), sections="training", json=str(tmp_path / "rows.json")) == 1
    found = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    told = {(row["severity"], row["problem"]) for row in found if row["file"] == str(tmp_path / "d.json")}
    assert told == {
        ("error", "the similar case 'gone' is not in the datalist"),
        ("warning", "the similar case 'validation' stands in another section, this one in training"),
    }
    assert "remedy: write the case_id of another case" in capsys.readouterr().out
    assert [r.problem for r in examine({"validation": cases["validation"]}) if "ecg" in r.problem] == []
