"""Where the files of an evaluation cannot be written: said before the first case, and no part of a file stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medvlm.handlers import evaluation_writer
from medvlm.handlers.case_pictures import CasePicture
from medvlm.handlers.evaluation_writer import EvaluationWriter


def writer(folder: Path, **settings) -> EvaluationWriter:
    places = {"weights": str(folder / "model.pt"), "operating_point": str(folder / "frozen" / "operating_point.json")}
    return EvaluationWriter(str(folder / "out"), ["WT"], {"name": "b"}, **places, progress=False, **settings)


def evaluate(handler: EvaluationWriter, step) -> None:
    engine = Engine(step)
    handler.attach(engine)
    engine.run([0])


@pytest.mark.parametrize(
    ("name", "freeze", "option"), [("out", False, "--output_dir"), ("frozen", True, "--operating_point")]
)
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_case(tmp_path, name, freeze, option):
    (tmp_path / name).write_text("a file in its place", encoding="utf-8")
    with pytest.raises(FileExistsError, match=f"{name}.*choose another {option}"):
        evaluate(writer(tmp_path, freeze=freeze), lambda *_: pytest.fail("the evaluation has begun"))


def test_a_run_to_compare_with_that_does_not_exist_is_refused_before_the_first_case(tmp_path):
    absent = tmp_path / "masks" / "cases.csv"
    with pytest.raises(FileNotFoundError, match=r"no file at .*masks.cases\.csv \(masks\); evaluate those runs first"):
        evaluate(writer(tmp_path, against={"masks": str(absent)}), lambda *_: pytest.fail("the evaluation has begun"))


def test_only_the_first_process_tries_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_writer, "is_main_process", lambda: False)
    writer(tmp_path).begin(SimpleNamespace(state=SimpleNamespace(epoch_length=1)))
    assert not (tmp_path / "out").exists()


def test_the_report_writes_a_case_s_name_once(tmp_path, monkeypatch):
    def step(engine, batch):
        truth = torch.zeros(1, 8, 8, 4)
        truth[:, 2:4, 2:4, 1] = 1
        case = {"case_id": "c1", "mask_known": 1.0, "tumour": 1, "tumour_known": 1.0, "label": truth}
        engine.state.batch = [case]
        return [{"image": truth, "label": truth, "pred_mask": 1 - truth}]

    titles = []
    draw = CasePicture.png
    monkeypatch.setattr(
        CasePicture, "png", lambda *given, **named: titles.append(named.get("title", "")) or draw(*given, **named)
    )
    evaluate(writer(tmp_path, n_boot=2), step)
    assert titles == [""]
    assert "<figcaption><strong>c1</strong>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_full_disk_leaves_the_older_features_and_names_the_file(tmp_path, monkeypatch):
    def full(file, **arrays):
        with open(file, "wb") if isinstance(file, Path) else file as stream:
            stream.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def step(engine, batch):
        truth = torch.zeros(1, 4, 4, 2)
        engine.state.batch = [{"case_id": "c1", "mask_known": 1.0, "tumour": 0, "tumour_known": 1.0, "label": truth}]
        return [{"image": truth, "label": truth, "pred_mask": truth, "pred_features": torch.ones(3)}]

    evaluate(writer(tmp_path, n_boot=2), step)
    with np.load(tmp_path / "out" / "features.npz") as features:
        assert features["case_id"].tolist() == ["c1"] and features["features"].tolist() == [[1, 1, 1]]
    before = (tmp_path / "out" / "features.npz").read_bytes()
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="features.npz: No space left on device; free the disk"):
        evaluate(writer(tmp_path, n_boot=2), step)
    assert (tmp_path / "out" / "features.npz").read_bytes() == before
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["cases.csv", "evaluation.json", "features.npz", "report.html"]
