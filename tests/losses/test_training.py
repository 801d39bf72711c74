"""The loss inside MONAI's stock trainer, and under mixed precision."""

from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer

from medvlm.losses import MultiTaskLoss
from medvlm.networks.freezing import freeze
from medvlm.networks.nets import SegClsNet
from medvlm.networks.parameter_groups import parameter_groups

LRS = {"encoder": 1e-3, "decoder": 1e-3, "mask_head": 1e-3, "tumour_head": 1e-3, "loss": 1e-2}


def batches(count: int = 4) -> list[dict]:
    """Bright squares, some without a mask, some without a class, one batch of masks only."""
    torch.manual_seed(0)
    result = []
    for index in range(count):
        mask = torch.zeros(4, 1, 16, 16)
        mask[::2, :, 4:10, 5:11] = 1
        known = torch.tensor([1.0, 1.0, 0.0, 1.0]) if index else torch.ones(4)
        result.append({
            "image": torch.randn(4, 1, 16, 16) * 0.3 + 2 * mask, "mask": mask, "mask_known": known,
            "tumour": torch.tensor([1, 0, 1, 0]), "tumour_known": known.flip(0) if index != 2 else torch.zeros(4),
        })
    return result


def prepare(batch, device=None, non_blocking=False, **_):
    return batch["image"], {key: value for key, value in batch.items() if key != "image"}


def parts(weighting: str) -> tuple[SegClsNet, MultiTaskLoss, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = SegClsNet(features=(8, 16), dropout=0.0)
    loss = MultiTaskLoss(weighting=weighting).bind(network)
    return network, loss, torch.optim.Adam(parameter_groups(network, LRS, extra=loss))


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("weighting", ["fixed", "kendall", "gradnorm"])
def test_stock_trainer_lowers_the_loss_and_moves_the_weights(weighting, accumulation):
    network, loss, optimizer = parts(weighting)
    first = {key: value.clone() for key, value in loss.state_dict().items()}
    seen = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=8, train_data_loader=batches(), network=network, optimizer=optimizer,
        loss_function=loss, prepare_batch=prepare, accumulation_steps=accumulation,
    )
    trainer.logger.setLevel("ERROR")
    trainer.add_event_handler("ITERATION_COMPLETED", lambda _: seen.append(float(loss.terms["mask"])))
    trainer.run()
    assert sum(seen[-4:]) < 0.9 * sum(seen[:4])
    for name, parameter in loss.named_parameters():
        assert not torch.equal(parameter, first[name]), name
    if weighting == "gradnorm":
        assert torch.isfinite(loss.weighting.initial_losses).all()


@pytest.mark.parametrize("weighting", ["kendall", "gradnorm"])
def test_accumulation_sums_the_gradients_of_the_weights(weighting):
    """Two calls before a step leave the sum of both gradients, as for the network's parameters."""
    network, loss, _ = parts(weighting)
    gradients = []
    for batch in batches(2):
        image, target = prepare(batch)
        loss.zero_grad()
        loss(network(image), target).backward()
        gradients.append(next(loss.parameters()).grad.clone())
    loss.zero_grad()
    for batch in batches(2):
        image, target = prepare(batch)
        loss(network(image), target).backward()
    torch.testing.assert_close(next(loss.parameters()).grad, gradients[0] + gradients[1])


@pytest.mark.parametrize("weighting", ["fixed", "kendall", "gradnorm"])
def test_mixed_precision_stays_near_single_precision(weighting):
    image, target = prepare(batches(1)[0])
    gradients = []
    for mixed in (False, True):
        network, loss, _ = parts(weighting)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            total = loss(network(image), target)
        assert total.dtype == torch.float32
        total.backward()
        learnt = [p.grad for p in loss.parameters()] + [network.mask_head.logits.weight.grad.flatten()]
        gradients.append(torch.cat(learnt))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.1, atol=0.02)


def test_scaled_loss_gives_the_weights_scaled_gradients():
    """What a GradScaler multiplies and divides again."""
    image, target = prepare(batches(1)[0])
    gradients = []
    for scale in (1.0, 1024.0):
        network, loss, _ = parts("gradnorm")
        (loss(network(image), target) * scale).backward()
        gradients.append(loss.weighting.weights.grad / scale)
    torch.testing.assert_close(*gradients)


def test_class_head_alone_trains_on_a_frozen_encoder():
    torch.manual_seed(0)
    network = freeze(SegClsNet(features=(8, 16), norm="BATCH", heads=("tumour",)), ["encoder"])
    loss = MultiTaskLoss(weighting="gradnorm").bind(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(parameter_groups(network, {"tumour_head": 0.1}), lr=0.1)
    for batch in batches():
        image, target = prepare(batch)
        optimizer.zero_grad()
        loss(network.train()(image), target).backward()
        optimizer.step()
    changed = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"tumour_head"}
