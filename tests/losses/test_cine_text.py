"""Alignment, captioning, masked video modelling and distillation as one scalar."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medvlm.losses import CineTextLoss, ScheduledWeights
from medvlm.losses.captioning import CaptioningLoss, next_tokens
from medvlm.losses.contrastive import CONTRASTIVE

B, L, V, D = 5, 6, 11, 4


def pred() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, text = (functional.normalize(torch.randn(B, D, generator=generator), dim=1) for _ in range(2))
    leaves = {
        "video_embedding": image,
        "text_embedding": text,
        "log_scale": torch.tensor(2.0),
        "bias": torch.tensor(-1.0),
        "caption_logits": torch.randn(B, L - 1, V, generator=generator),
        "mvm_pred": torch.randn(7, 3, generator=generator),
        "mvm_target": torch.randn(7, 3, generator=generator),
        "distilled": torch.randn(B, D, generator=generator),
        "teacher": torch.randn(B, D, generator=generator),
    }
    return {name: leaf.requires_grad_() for name, leaf in leaves.items()}


def target(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.randint(1, V, (B, L), generator=torch.Generator().manual_seed(1)),
        "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 6, [1] * 6, [1] * 5 + [0]]),
        "report_known": torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0]),
        "report_key": torch.tensor([7, 7, 9, 0, 8]),
        "study_key": torch.tensor([1, 2, 3, 4, 1]),
        "study_valid": torch.tensor([True, True, False, True, True]),
    } | changes


BOTH = torch.tensor([0, 1, 4])  # known and readable


@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
def test_the_sum_is_that_of_the_terms(kind):
    loss, given, known = CineTextLoss(kind=kind, label_smoothing=0.1), pred(), target()
    total = loss(given, known)
    keys = torch.stack([known["report_key"], known["study_key"]], 1)[BOTH]
    alignment = CONTRASTIVE[kind]()(
        given["video_embedding"][BOTH], given["text_embedding"][BOTH], given["log_scale"].exp(), given["bias"],
        image_keys=keys,
    )  # fmt: skip
    tokens = next_tokens(known["input_ids"], known["attention_mask"])[BOTH]
    captioning = CaptioningLoss(0.1)(given["caption_logits"][BOTH], tokens)
    masked = functional.mse_loss(given["mvm_pred"], given["mvm_target"])
    torch.testing.assert_close(total, alignment + captioning + 0.1 * masked)
    alignment, captioning, masked = (term.detach() for term in (alignment, captioning, masked))
    terms = {name: float(value) for name, value in loss.terms.items()}
    assert terms == pytest.approx(
        {
            "total": float(total.detach()), "contrastive": float(alignment), "captioning": float(captioning),
            "masked_video": float(masked), "weight_contrastive": 1, "weight_captioning": 1, "weight_masked_video": 0.1,
            "known_contrastive": 3, "known_captioning": 12, "known_masked_video": 7,
            "scale": float(given["log_scale"].detach().exp()), "bias": -1,
        }
    )  # fmt: skip


def test_unknown_reports_and_unreadable_studies_have_no_gradient():
    given = pred()
    CineTextLoss({"contrastive": 1, "captioning": 1, "distillation": 1})(given, target()).backward()
    for name in ("video_embedding", "text_embedding", "caption_logits"):
        gradient = given[name].grad.flatten(1).abs().sum(1)
        assert (gradient[[2, 3]] == 0).all() and (gradient[BOTH] > 0).all()
    assert (given["distilled"].grad[2] == 0).all() and (given["distilled"].grad[3] != 0).any()
    assert given["teacher"].grad is None
    assert given["log_scale"].grad != 0 and given["bias"].grad != 0


def test_a_study_of_the_same_patient_is_positive_only_when_asked():
    given, known = pred(), target()
    values = [CineTextLoss({"contrastive": 1}, same_study=same)(given, known).item() for same in (True, False)]
    assert values[0] != pytest.approx(values[1])


@pytest.mark.parametrize("weighting", ["fixed", "kendall"])
def test_nothing_known_is_zero_with_a_gradient(weighting):
    given = {name: leaf for name, leaf in pred().items() if not name.startswith("mvm")}
    loss = CineTextLoss(weighting=weighting)
    total = loss(given, target(report_known=torch.zeros(B)))
    total.backward()
    assert total.item() == 0
    names = ("video_embedding", "text_embedding", "log_scale", "bias", "caption_logits")
    assert all((given[name].grad == 0).all() for name in names)
    assert loss.terms["known_contrastive"] == loss.terms["known_captioning"] == 0


@pytest.mark.parametrize("weighting", ["fixed", "kendall"])
def test_a_term_whose_output_is_absent_contributes_nothing(weighting):
    given = pred()
    alone = {name: given[name] for name in ("mvm_pred", "mvm_target")}
    loss = CineTextLoss(weighting=weighting)
    loss(alone, {}).backward()
    assert set(loss.terms) == {"total", "masked_video", "weight_masked_video", "known_masked_video"}
    expected = functional.mse_loss(given["mvm_pred"], given["mvm_target"]).detach()
    torch.testing.assert_close(loss.terms["masked_video"], expected)


def test_a_term_without_a_weight_is_off():
    given = pred()
    total = CineTextLoss({"captioning": 2.0})(given, target())
    total.backward()
    assert given["video_embedding"].grad is None and given["caption_logits"].grad is not None


def test_the_teacher_may_come_with_the_batch():
    given, known = pred(), target()
    expected = CineTextLoss({"distillation": 1.0})(given, known)
    teacher = given.pop("teacher")
    torch.testing.assert_close(CineTextLoss({"distillation": 1.0})(given, known | {"teacher": teacher}), expected)


def test_uncertainty_takes_errors_of_features_for_regressions():
    loss = CineTextLoss({"contrastive": 1.0, "masked_video": 0.1, "distillation": 0.5}, weighting="kendall")
    assert loss.weighting.scales == {"contrastive": 1.0, "masked_video": 0.5, "distillation": 0.5}
    assert loss.weighting.current() == pytest.approx({"contrastive": 1.0, "masked_video": 0.1, "distillation": 0.5})


def test_a_schedule_switches_a_term_on():
    loss = CineTextLoss(schedules={"captioning": {"kind": "cosine", "steps": 2}})
    assert isinstance(loss.weighting, ScheduledWeights)
    weights = []
    for _ in range(4):
        loss(pred(), target())
        weights.append(loss.terms["weight_captioning"])
    assert weights == pytest.approx([0, 0.5, 1, 1])
    assert loss.terms["weight_contrastive"] == 1


def test_gradnorm_is_bound_to_the_networks_shared_layer():
    shared = torch.nn.Linear(D, D)
    shared.shared_parameters = lambda: shared.parameters()
    loss = CineTextLoss(weighting="gradnorm").bind(shared)
    given = {name: leaf.detach() for name, leaf in pred().items()}
    given["video_embedding"] = functional.normalize(shared(given["video_embedding"]), dim=1)
    given["mvm_pred"] = given["mvm_pred"] + shared(torch.ones(1, D)).sum()
    given["caption_logits"] = given["caption_logits"] * shared(torch.ones(1, D)).sum()
    loss(given, target()).backward()
    assert (loss.weighting.weights.grad != 0).all()
    assert shared.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"captions": 1.0}}, "did you mean 'captioning'"),
        ({"weights": {"captioning": -1.0}}, "factors of at least 0"),
        ({"weights": {}}, "factors of at least 0"),
        ({"kind": "clip"}, "must be one of"),
        ({"weighting": "kendall", "schedules": {"captioning": {}}}, "schedules change fixed weights"),
        ({"schedules": {"distillation": {}}}, "schedules are for"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CineTextLoss(**options)


def test_what_is_missing_is_named():
    given, known = pred(), target()
    with pytest.raises(ValueError, match=r"contrastive term lacks \['study_key'\]"):
        CineTextLoss()(given, {name: value for name, value in known.items() if name != "study_key"})
    with pytest.raises(ValueError, match=r"distillation term lacks \['teacher'\]"):
        CineTextLoss({"distillation": 1})({"distilled": given["distilled"]}, known)
    with pytest.raises(ValueError, match="pred needs the outputs of one of the terms"):
        CineTextLoss()({"mask": given["distilled"]}, known)


def test_given_positives_join_those_of_equal_reports_and_studies():
    given = {
        "case_key": torch.tensor([11, 12, 13, 14, 15]),
        "similar_keys": torch.tensor([[15, 0], [0, 0], [0, 0], [0, 0], [12, 99]]),
        "similar_weights": torch.tensor([[0.25, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.5, 1.0]]),
    }
    network, known = pred(), target()
    total = CineTextLoss({"contrastive": 1.0}, same_study=False)(network, known | given)
    weights = torch.tensor([[1.0, 1.0, 0.25], [1.0, 1.0, 0.0], [0.0, 0.5, 1.0]])  # of studies 0, 1 and 4
    expected = CONTRASTIVE["sigmoid"]()(
        network["video_embedding"][BOTH], network["text_embedding"][BOTH], network["log_scale"].exp(), network["bias"],
        positives=weights,
    )  # fmt: skip
    torch.testing.assert_close(total, expected)
    nothing = given | {"similar_keys": torch.zeros(5, 2, dtype=torch.long)}
    without = CineTextLoss({"contrastive": 1.0})(network, known)
    torch.testing.assert_close(CineTextLoss({"contrastive": 1.0})(network, known | nothing), without)


def test_a_given_teacher_counts_where_it_is_known():
    network = {key: value for key, value in pred().items() if key == "distilled"}
    known = target(teacher=torch.randn(B, D), teacher_known=torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]))
    loss = CineTextLoss({"distillation": 1.0})
    expected = 1 - functional.cosine_similarity(network["distilled"], known["teacher"])
    torch.testing.assert_close(loss(network, known), expected[[0, 3]].mean())
    assert loss.terms["known_distillation"] == 2
