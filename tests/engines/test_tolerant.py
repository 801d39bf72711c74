from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from torch import nn

from medvlm.engines.tolerant import CasesFailed, TolerantDataset, collate_one, raise_for, run


def prepare(case: dict) -> dict:
    if case["value"] < 0:
        raise RuntimeError("applying transform X") from ValueError(f"{case['case_id']}.nii: negative; replace it.")
    return {**case, "image": torch.full((1, 2, 2), float(case["value"])), "other": "dropped"}


def cases(*values: int) -> list[dict]:
    return [{"case_id": f"c{i}", "image": f"c{i}.nii", "value": value} for i, value in enumerate(values)]


class Fussy(nn.Module):
    def forward(self, image):
        if image.max() == 7:
            raise MemoryError("too large")
        return image


def evaluated(dataset: TolerantDataset, handlers: list) -> list:
    loader = DataLoader(dataset, batch_size=1, num_workers=0)
    engine = SupervisedEvaluator("cpu", loader, Fussy(), val_handlers=handlers)
    return run(engine, dataset)


class Collector:
    def __init__(self):
        self.seen = []

    def attach(self, engine):
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)

    def collect(self, engine):
        self.seen += [item["case_id"] for item in engine.state.batch]


def test_bad_cases_are_noted_and_the_others_done_in_order():
    dataset, seen = TolerantDataset(cases(1, -1, 7, 3, 7, -1, 2), prepare, progress=False), Collector()
    failures = evaluated(dataset, [seen])
    assert seen.seen == ["c0", "c3", "c6"]
    assert [(failure.case_id, failure.error) for failure in failures] == [
        ("c1", "ValueError"), ("c2", "MemoryError"), ("c4", "MemoryError"), ("c5", "ValueError"),
    ]  # fmt: skip
    assert failures[0].message == "c1.nii: negative; replace it." and failures[0].files == ("c1.nii",)


@pytest.mark.parametrize("values", [(-1,), (-1, -2), (7,), (7, 7), ()])
def test_ends_when_every_case_is_bad_or_there_is_none(values):
    assert len(evaluated(TolerantDataset(cases(*values), prepare, progress=False), [])) == len(values)


def test_done_cases_are_skipped_without_being_read():
    dataset = TolerantDataset(cases(-1, 2), prepare, skip=lambda case: case["case_id"] == "c0", progress=False)
    assert evaluated(dataset, []) == [] and dataset.skipped == ["c0"]


def test_a_case_that_was_not_understood_counts_as_failed():
    dataset = TolerantDataset([{"case_id": "x", "error": "two files for T1", "path": "x"}], prepare, progress=False)
    assert evaluated(dataset, [])[0].message == "two files for T1"


def test_only_tensors_and_the_name_go_into_the_batch():
    (item,) = TolerantDataset(cases(1), prepare, progress=False)
    assert set(item) == {"image", "case_id"}


def test_what_stops_the_run_before_any_case_is_raised():
    class Stopper:
        def attach(self, engine):
            from ignite.engine import Events

            engine.add_event_handler(Events.STARTED, self.stop)

        def stop(self):
            raise OSError("cannot write")

    with pytest.raises(OSError, match="cannot write"):
        evaluated(TolerantDataset(cases(1), prepare, progress=False), [Stopper()])


def test_the_end_tells_of_failures():
    dataset = TolerantDataset(cases(1, -1), prepare, progress=False)
    raise_for(dataset)
    list(dataset)
    with pytest.raises(CasesFailed, match="1 of 2 cases failed.*\n  c1: c1.nii: negative"):
        raise_for(dataset)


def test_a_batch_of_one_shares_memory_and_comes_apart_as_monai_puts_it_together():
    from monai.data import MetaTensor, decollate_batch
    from monai.transforms import Flip

    image = Flip(0)(MetaTensor(torch.rand(1, 3, 4, 5), meta={"filename_or_obj": "x"}))
    batch = collate_one([{"image": image, "case_id": "c", "present": torch.ones(2)}])
    assert batch["image"].data_ptr() == image.data_ptr() and batch["image"].shape == (1, 1, 3, 4, 5)
    (item,) = decollate_batch(batch)
    assert item["case_id"] == "c" and torch.equal(item["present"], torch.ones(2))
    assert item["image"].applied_operations == image.applied_operations
    assert torch.equal(item["image"].affine, image.affine) and item["image"].meta["filename_or_obj"] == "x"
    with pytest.raises(ValueError, match="batch_size to 1"):
        collate_one([{}, {}])
