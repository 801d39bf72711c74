"""What masked videos leave of an encoder that whole videos are evaluated with."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.decoders.masked_modelling import MaskedVideoModelling
from medvlm.networks.decoders.masked_video import MaskedVideoHead
from medvlm.networks.encoders.cine_conv import CineConvEncoder
from medvlm.networks.encoders.study import StudyAggregator
from medvlm.networks.encoders.text_conv import TextConvEncoder
from medvlm.networks.nets import CineTextNet


def statistics_after(objectives: list[str]) -> torch.Tensor:
    """Running means of all BatchNorm layers after one training pass."""
    torch.manual_seed(0)
    encoder = CineConvEncoder(widths=(8, 8, 16, 16), embed_dim=16, maskable=True, norm="batch")
    masked = MaskedVideoModelling(MaskedVideoHead(16, 512, dim=24, depth=1, heads=2))
    network = CineTextNet(encoder, StudyAggregator(16, depth=0), TextConvEncoder(40, 16), masked_video=masked)
    network.train()
    video = torch.randn(3, 2, 1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    network(video, input_ids=torch.randint(5, 40, (3, 6)), objectives=objectives)
    return torch.cat([value for name, value in encoder.named_buffers() if name.endswith("running_mean")])


def test_masked_videos_leave_the_statistics_of_whole_ones_alone():
    torch.testing.assert_close(statistics_after(["contrastive", "masked_video"]), statistics_after(["contrastive"]))


@pytest.mark.parametrize("objective", ["contrastive", "masked_video"])
def test_an_objective_by_itself_sets_the_statistics(objective):
    assert statistics_after([objective]).abs().sum() > 0
