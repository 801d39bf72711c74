"""A batch of studies on its way through MONAI's stock trainer and evaluator."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch.nn import functional

from medvlm.engines.cine_batch import PrepareCineBatch
from medvlm.losses import CineTextLoss, ProbeLoss

B, N, L, V = 3, 2, 5, 7


def batch() -> dict:
    generator = torch.Generator().manual_seed(0)
    return {
        "video": MetaTensor(torch.rand(B, N, 1, 4, 8, 8, generator=generator)),
        "view_mask": torch.tensor([[1, 1], [0, 0], [1, 0]], dtype=torch.uint8),
        "angles": torch.zeros(B, N, 6, dtype=torch.float64),
        "input_ids": torch.randint(0, V, (B, L), dtype=torch.int32, generator=generator),
        "attention_mask": torch.ones(B, L, dtype=torch.int32),
        "report_known": torch.tensor([[1], [1], [1]]),
        "report_key": torch.tensor([5, -6, 5]),
        "study_key": torch.tensor([1, 2, 3]),
        "targets": torch.tensor([[1.0], [0.0], [0.0]]),
        "targets_known": torch.tensor([[1.0], [1.0], [1.0]]),
        "view_files": ["a", "b", "c"],
    }


class Net(torch.nn.Module):
    """Records the keyword arguments it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.video, self.text = torch.nn.Linear(4 * 8 * 8, 4), torch.nn.Embedding(V, 4)
        self.word, self.head = torch.nn.Linear(4, V), torch.nn.Linear(4, 1)
        self.seen: dict = {}

    def forward(self, video: torch.Tensor, **kwargs) -> dict[str, torch.Tensor]:
        self.seen = kwargs
        study = self.video((video * kwargs["view_mask"][..., None, None, None, None]).mean(1).flatten(1))
        if "input_ids" not in kwargs:
            return {"stenosis": self.head(study)}
        words = self.text(kwargs["input_ids"])
        return {
            "video_embedding": functional.normalize(study, dim=1),
            "text_embedding": functional.normalize(words.mean(1), dim=1),
            "log_scale": torch.tensor(2.0), "bias": torch.tensor(-1.0),
            "caption_logits": self.word(words[:, :-1] + study[:, None]),
        }  # fmt: skip


def test_inputs_and_targets_are_sorted_and_typed():
    video, targets, args, inputs = PrepareCineBatch(["contrastive", "captioning"])(batch())
    assert type(video) is torch.Tensor and video.shape == (B, N, 1, 4, 8, 8) and args == ()
    assert set(inputs) == {"view_mask", "angles", "input_ids", "attention_mask", "objectives"}
    assert inputs["view_mask"].dtype == torch.bool and inputs["angles"].dtype == torch.float32
    assert inputs["objectives"] == ("contrastive", "captioning")
    assert inputs["input_ids"].dtype == targets["report_key"].dtype == torch.long
    assert targets["study_valid"].tolist() == [True, False, True]
    names = {"study_valid", "input_ids", "attention_mask", "report_known", "report_key", "study_key"}
    assert set(targets) == names


def test_large_keys_keep_every_bit():
    data = batch() | {"report_key": torch.tensor([2**62 + 1, 2**62 + 2, -(2**62)])}
    _, targets, _, _ = PrepareCineBatch()(data)
    assert targets["report_key"].tolist() == [2**62 + 1, 2**62 + 2, -(2**62)]


def test_masked_modelling_alone_needs_no_text():
    data = {key: value for key, value in batch().items() if key in ("video", "view_mask", "angles")}
    masks = PrepareCineBatch(["masked_video"], masks=lambda video, view_mask: view_mask[..., None].expand(-1, -1, 4))
    _, targets, _, inputs = masks(data)
    assert set(targets) == {"study_valid"}
    assert inputs["masked_tokens"].shape == (B, N, 4) and inputs["objectives"] == ("masked_video",)


def test_a_probe_gets_views_and_targets_alone():
    _, targets, _, inputs = PrepareCineBatch([], targets=True)(batch())
    assert set(inputs) == {"view_mask", "angles"}
    assert set(targets) == {"study_valid", "targets", "targets_known"}


def test_a_given_teacher_and_further_inputs_travel_along():
    data = batch() | {"teacher": torch.ones(B, 8).half(), "ecg": torch.ones(B, 4), "ecg_known": torch.tensor([1, 0, 1])}
    _, targets, _, inputs = PrepareCineBatch(["distillation"], side=["ecg"])(data)
    assert targets["teacher"].dtype == torch.float32 and targets["teacher"].shape == (B, 8)
    assert inputs["side"]["ecg"].shape == (B, 4) and inputs["side_known"]["ecg"].tolist() == [1.0, 0.0, 1.0]


def test_stock_trainer_learns_and_stock_evaluator_looks():
    torch.manual_seed(0)
    network, loss, prepare = Net(), CineTextLoss(), PrepareCineBatch(["contrastive", "captioning"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05)
    trainer = SupervisedTrainer(
        torch.device("cpu"), 1, [batch()] * 8, network, optimizer, loss, prepare_batch=prepare, decollate=False
    )
    losses = []
    for _ in range(3):
        trainer.run()
        losses.append(float(loss.terms["total"]))
    assert losses[0] > losses[1] > losses[2]
    evaluator = SupervisedEvaluator(torch.device("cpu"), [batch()], network, prepare_batch=prepare, decollate=False)
    evaluator.run()
    assert evaluator.state.output["pred"]["video_embedding"].shape == (B, 4)
    assert network.seen["objectives"] == ("contrastive", "captioning")


def test_stock_trainer_learns_a_probe():
    torch.manual_seed(0)
    network, loss = Net(), ProbeLoss({"stenosis": {"kind": "binary"}})
    trainer = SupervisedTrainer(
        torch.device("cpu"), 3, [batch()] * 4, network, torch.optim.AdamW(network.parameters(), lr=0.05), loss,
        prepare_batch=PrepareCineBatch([], targets=True), decollate=False,
    )  # fmt: skip
    trainer.run()
    assert loss.terms["known_stenosis"] == 2
    assert float(loss.terms["stenosis"]) < 0.5


def test_a_missing_key_is_an_error_that_names_it():
    data = batch()
    del data["report_key"]
    with pytest.raises(KeyError, match=r"lacks \['report_key'\]"):
        PrepareCineBatch()(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": ["caption"]}, "must be a list of some of"),
        ({"objectives": "captioning"}, "must be a list of some of"),
        ({"objectives": ["captioning"], "masks": lambda video, mask: mask}, "masks belong to"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PrepareCineBatch(**options)


def test_boxes_go_to_the_network_and_their_absence_is_an_error():
    with pytest.raises(KeyError, match="Boxesd the boxes"):
        PrepareCineBatch(["boxes"])(batch())
    given = {
        "box_values": torch.rand(B, 2, 5), "box_known": torch.ones(B, 2), "box_views": torch.zeros(B, 2),
        "phrase_ids": torch.ones(B, 2, 4), "phrase_mask": torch.ones(B, 2, 4),
    }  # fmt: skip
    _, targets, _, inputs = PrepareCineBatch(["boxes"])(batch() | given)
    assert set(inputs["boxes"]) == set(given) and inputs["objectives"] == ("boxes",)
    assert inputs["boxes"]["box_views"].dtype == torch.long and set(targets) == {"study_valid"}
