"""Networks of a prediction: they answer the same however often, and by whom, they are asked."""

from __future__ import annotations

import pytest
import torch
from monai.networks.utils import eval_mode
from torch import nn

from medvlm.data.tokenizers import load_tokenizer, train_wordpiece
from medvlm.engines.study_networks import OptionalProbe, StudyNetwork
from medvlm.networks.encoders.cine_conv import CineConvEncoder
from medvlm.networks.encoders.study import StudyAggregator
from medvlm.networks.encoders.text_conv import TextConvEncoder
from medvlm.networks.nets.cine_text import CineTextNet

WORDS = "severe stenosis of the proximal lad and the mid rca"


@pytest.fixture
def network(tmp_path) -> StudyNetwork:
    torch.manual_seed(0)
    tokenizer = load_tokenizer(train_wordpiece([WORDS] * 3, tmp_path / "tokenizer", 200))
    encoder = CineConvEncoder(1, (8, 8, 8, 8), 8)
    text = TextConvEncoder(len(tokenizer), 16, 8, token_dropout=0.5)
    return StudyNetwork(CineTextNet(encoder, StudyAggregator(8, 2, 0), text, embed_dim=8), tokenizer)


def test_a_query_has_one_answer_before_and_after_studies_were_embedded(network):
    network.prepare()
    before = network.embed_words(WORDS)
    with eval_mode(network), torch.no_grad():  # as an index does that is built
        network.embed_study(torch.zeros(1, 1, 1, 2, 32, 32))
    for _ in range(5):
        assert torch.equal(network.embed_words(WORDS), before)


def test_a_probe_that_is_there_does_not_learn_either(tmp_path):
    probe = nn.Linear(2, 2)
    torch.save(probe.state_dict(), tmp_path / "probe.pt")
    optional = OptionalProbe(probe, tmp_path / "probe.pt")
    optional.prepare()
    with eval_mode(optional):
        pass
    assert not any(module.training for module in optional.modules())
