"""What TensorBoard shows of a training: terms, weights, rates, gradient norms, and metrics where they were made."""

from __future__ import annotations

import logging

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.inferers import SimpleInferer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medvlm.engines.cine_batch import PrepareCineBatch
from medvlm.handlers.board import EpochProgress, EventFile, TrainingBoard
from medvlm.losses.cine_text import CineTextLoss
from medvlm.networks.decoders.captioner import Captioner
from medvlm.networks.encoders.cine_conv import CineConvEncoder
from medvlm.networks.encoders.study import StudyAggregator
from medvlm.networks.encoders.text import TextEncoder
from medvlm.networks.freezing import freeze
from medvlm.networks.nets import CineTextNet
from medvlm.networks.parameter_groups import parameter_groups

BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
OBJECTIVES = ("contrastive", "captioning")
COMPONENTS = (
    "video_encoder", "aggregator", "video_projection", "text_encoder", "text_projection", "captioner",
    "loss_parameters",
)  # fmt: skip


@pytest.fixture
def network() -> CineTextNet:
    torch.manual_seed(0)
    return CineTextNet(
        CineConvEncoder(widths=(8, 8, 8, 8), embed_dim=8),
        StudyAggregator(8, heads=2, depth=1, in_dim=8),
        TextEncoder(config=BERT, vocab_size=30),
        Captioner(30, 8, 1, 2, 8, bos_id=1, eos_id=2, pad_id=0, max_length=8, dropout=0.0),
        embed_dim=8,
    )


def batches(count: int, studies: int = 2) -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "video": torch.randn(studies, 1, 1, 4, 16, 16, generator=generator),
            "view_mask": torch.ones(studies, 1, dtype=torch.bool),
            "angles": torch.zeros(studies, 1, 6),
            "input_ids": torch.randint(3, 30, (studies, 6), generator=generator),
            "attention_mask": torch.ones(studies, 6, dtype=torch.long),
            "report_known": torch.ones(studies),
            "report_key": torch.arange(studies) + studies * number,
            "study_key": torch.arange(studies) + studies * number,
        }
        for number in range(count)
    ]


@pytest.fixture
def train(network, tmp_path):
    """``train(...)``: scalars by tag, as ``[(step, value), ...]``."""

    def run(
        steps=4, epochs=1, every=1, frozen=(), evaluator=None, handlers=(), schedule=None, **trainer
    ) -> dict[str, list]:
        freeze(network, list(frozen))
        loss, events = CineTextLoss({"contrastive": 1.0, "captioning": 0.5}), EventFile(str(tmp_path / "logs"))
        groups = parameter_groups(network, {name: 1e-4 for name in COMPONENTS}, 0.0)
        optimizer = torch.optim.SGD(groups, lr=1e-4)
        scheduled = []
        if schedule is not None:
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
            scheduled = [LrScheduleHandler(scheduler, print_lr=False, epoch_level=False)]
        board = TrainingBoard(events, loss, optimizer, network, evaluator, every)
        ordered = [board, *scheduled] if schedule == "after" else [*scheduled, board]
        engine = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=batches(steps),
            network=network,
            optimizer=optimizer,
            loss_function=loss,
            prepare_batch=PrepareCineBatch(OBJECTIVES),
            inferer=SimpleInferer(),
            decollate=False,
            train_handlers=[*handlers, *ordered],
            **trainer,
        )
        engine.run()
        accumulator = EventAccumulator(str(tmp_path / "logs"))
        accumulator.Reload()
        return {t: [(e.step, e.value) for e in accumulator.Scalars(t)] for t in accumulator.Tags()["scalars"]}

    return run


def test_every_term_weight_rate_and_norm_is_written_once_a_step(train):
    found = train(steps=4, every=2)
    terms = {"total", *OBJECTIVES, *(f"{w}_{o}" for w in ("weight", "known") for o in OBJECTIVES), "scale", "bias"}
    assert {tag.removeprefix("loss/") for tag in found if tag.startswith("loss/")} == terms
    assert {tag.removeprefix("gradient_norm/") for tag in found if tag.startswith("gradient_norm/")} == set(COMPONENTS)
    rates = {tag.split("/")[1] for tag in found if tag.startswith("learning_rate/")}
    assert rates == set(COMPONENTS)
    assert all([step for step, _ in entries] == [2, 4] for entries in found.values())
    assert found["loss/scale"][0][1] == pytest.approx(10, rel=0.01)
    assert found["loss/bias"][0][1] == pytest.approx(-10, rel=0.01)
    for number in (0, 1):
        parts = found["loss/contrastive"][number][1] + 0.5 * found["loss/captioning"][number][1]
        assert found["loss/total"][number][1] == pytest.approx(parts, rel=1e-5)


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(train, tmp_path):
    class Begun:
        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_STARTED, lambda: pytest.fail("the training has begun"))

    (tmp_path / "logs").write_text("a file in its place", encoding="utf-8")
    with pytest.raises(FileExistsError, match="logs.*choose another --log_dir"):
        train(handlers=[Begun()])


@pytest.mark.parametrize("best", [None, (0.75, 3)], ids=["never validated", "validated"])
def test_the_best_metric_is_among_the_hyperparameters_only_where_there_was_a_validation(tmp_path, best):
    evaluator = Engine(lambda *_: None)
    evaluator.state.best_metric, evaluator.state.best_metric_epoch = best or (-1, -1)
    for name, given in (("with", evaluator), ("without", None)):
        events = EventFile(str(tmp_path / name))
        board = TrainingBoard(events, None, None, torch.nn.Linear(1, 1), given, hparams={"epochs": 2, "name": ["a"]})
        board.close(Engine(lambda *_: None))
    found = {}
    for name in ("with", "without"):
        accumulator = EventAccumulator(str(tmp_path / name / "hparams"))
        accumulator.Reload()
        assert accumulator.PluginTagToContent("hparams"), "the settings are there"
        found[name] = {t: accumulator.Scalars(t)[0].value for t in accumulator.Tags()["scalars"]}
    assert found == {"with": {"hparam/best_key_metric": best[0]} if best else {}, "without": {}}


def test_frozen_parts_have_no_gradient_norm(train):
    found = train(frozen=("video_encoder", "text_encoder"))
    norms = {tag.split("/")[1] for tag in found if tag.startswith("gradient_norm/")}
    assert norms == set(COMPONENTS) - {"video_encoder", "text_encoder"}


def test_a_part_that_is_frozen_later_keeps_no_old_norm(train, network):
    class Freezing:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda _: self.freeze())

        def freeze(self):
            network.captioner.requires_grad_(False)
            for parameter in network.captioner.parameters():
                parameter.grad = None

    found = train(steps=4, handlers=[Freezing()])
    assert [step for step, _ in found["gradient_norm/captioner"]] == [1, 2]
    assert [step for step, _ in found["gradient_norm/aggregator"]] == [1, 2, 3, 4]


def test_accumulated_gradients_are_measured_whole(train, network):
    measured = []

    class Watching:  # the norm that the optimiser is about to use
        def attach(self, engine):
            engine.add_event_handler(Events.STARTED, self.watch)

        def watch(self, engine):
            engine.optimizer.register_step_pre_hook(lambda *_: measured.append(self.norm()))

        def norm(self):
            return float(torch.stack([p.grad.norm() for p in network.captioner.parameters()]).norm())

    found = train(steps=5, every=3, accumulation_steps=2, epochs=2, handlers=[Watching()])
    assert len(measured) == 6  # steps 2, 4 and 5 of both epochs
    entries = dict(found["gradient_norm/captioner"])
    assert sorted(entries) == [3, 6, 9]
    assert [entries[step] for step in (3, 6, 9)] == pytest.approx([measured[0], measured[2], measured[4]], rel=1e-5)


class Rates:
    """Watches the rates that the optimiser uses, by step."""

    def __init__(self):
        self.used = {}

    def attach(self, engine):
        engine.add_event_handler(Events.STARTED, self.watch)

    def watch(self, engine):
        engine.optimizer.register_step_pre_hook(lambda optimizer, *_: self.note(engine, optimizer))

    def note(self, engine, optimizer):
        self.used[engine.state.iteration] = optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("schedule", ["before", "after"])
@pytest.mark.parametrize(("gathered", "steps"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5])])
def test_the_rate_of_a_step_is_the_one_it_was_made_with(train, schedule, gathered, steps):
    rates = Rates()
    found = train(steps=5, schedule=schedule, accumulation_steps=gathered, handlers=[rates])
    logged = dict(found[f"learning_rate/{COMPONENTS[0]}"])
    assert sorted(logged) == [1, 2, 3, 4, 5] and sorted(rates.used) == steps
    assert {step: logged[step] for step in steps} == pytest.approx(rates.used, rel=1e-5)
    assert logged == pytest.approx({step: 1e-4 / step for step in range(1, 6)}, rel=1e-5)


def test_the_loss_scale_of_mixed_precision_is_taken_out(train, network):
    plain = train(steps=1)["gradient_norm/captioner"][0][1]
    board = TrainingBoard(None, None, None, network)
    engine = Engine(lambda *_: None)
    engine.state.iteration, engine.state.epoch_length = 1, 1
    engine.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    engine.scaler.scale(torch.ones(()))  # from now on it has a scale
    for parameter in network.parameters():
        if parameter.grad is not None:
            parameter.grad *= 1024.0
    board.measure_gradients(engine)
    assert board._norms["captioner"] == pytest.approx(plain, rel=1e-5)


def test_metrics_are_written_only_where_the_evaluator_ran(train):
    evaluator = Engine(lambda *_: None)
    evaluator.state.metrics = {}

    class Validating(ValidationHandler):
        def __init__(self):
            self.interval = 2

        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), self)

        def __call__(self, engine):
            evaluator.state.epoch, evaluator.state.metrics = engine.state.epoch, {"score": engine.state.epoch / 10}

    found = train(steps=1, epochs=5, evaluator=evaluator, handlers=[Validating()])
    assert found["validation/score"] == [(2, pytest.approx(0.2)), (4, pytest.approx(0.4))]


def test_the_log_line_has_scores_only_where_the_evaluator_ran(train, caplog):
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{}],
        network=torch.nn.Identity(),
        prepare_batch=lambda *_, **__: (torch.zeros(1), None),
    )
    evaluator.add_event_handler(Events.COMPLETED, lambda run: run.state.metrics.update(dice=run.state.epoch / 10))
    validation = ValidationHandler(interval=2, validator=evaluator)
    with caplog.at_level(logging.INFO, logger="medvlm.handlers.board"):
        train(steps=1, epochs=5, handlers=[validation, EpochProgress("joint", evaluator, enabled=False)])
    lines = [record.getMessage() for record in caplog.records if record.name == "medvlm.handlers.board"]
    assert [line.split("/")[0] for line in lines] == [f"joint epoch {number}" for number in range(1, 6)]
    assert [line.partition(" dice ")[2] for line in lines] == ["", "0.200", "", "0.400", ""]
    assert all(line == line.rstrip() for line in lines)
