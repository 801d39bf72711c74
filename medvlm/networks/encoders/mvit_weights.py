"""Load published MViT weights (Kinetics) into a network with other channels, sizes or no classifier."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from medvlm.networks.blocks.relative_positions import resized_table
from medvlm.networks.blocks.video_positions import resized_space
from medvlm.networks.checkpoint import CheckpointError, mismatches, read_state
from medvlm.networks.encoders.mvit import MViT

logger = logging.getLogger(__name__)

INPUT, CLASSIFIER, OWN = "conv_proj.weight", "head.", "mask_token"
TABLES = ("rel_pos_t", "rel_pos_h", "rel_pos_w", "temporal_pos")


def load_mvit_weights(
    network: MViT, path: str | Path | None, channels: str | None = None, resize_positions: bool = False
) -> MViT:
    """Load the weights of a torchvision MViT; nothing is changed when they do not fit.

    What the network does not have (a classifier) is left in the file, and what the file cannot have (a mask token)
    stays as it is; both are logged.

    Args:
        network: the encoder.
        path: a file of weights, ``.safetensors`` or as ``torch.save`` writes it; ``None`` leaves the network alone.
        channels: ``"sum"`` adapts the first convolution to another number of input channels: its kernels are summed
            over the channels and shared out evenly, so that a grey video gives what the same video, repeated to the
            channels of the file, gave. ``None`` refuses another number.
        resize_positions: interpolate tables of positions once, now, where the network was built for another size or
            number of frames. Without it such a file is refused; a network built for the file's own size takes any
            video, too, and interpolates as it goes.

    Returns:
        The network, for use in a JSON expression.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged or does not fit.
        ValueError: if ``channels`` is not known.
    """
    if channels not in (None, "sum"):
        raise ValueError(f'channels must be None or "sum", got {channels!r}.')
    if path is None:
        return network
    state, own = read_weights(Path(path)), network.state_dict()
    if network.head is None and any(name.startswith(CLASSIFIER) for name in state):
        logger.info("The classifier in %s is not loaded: the encoder has none.", path)
        state = {name: value for name, value in state.items() if not name.startswith(CLASSIFIER)}
    if OWN in own and OWN not in state:
        logger.info("%s has no mask token; the encoder keeps its own.", path)
        state[OWN] = own[OWN]
    if INPUT in state and state[INPUT].shape[1] != network.in_channels:
        state[INPUT] = adapted_channels(state[INPUT], network.in_channels, channels, path)
    if resize_positions:
        state = {name: resized_positions(name, value, own, network) for name, value in state.items()}
    faults = mismatches(own, state)
    if faults:
        raise CheckpointError(
            f"{path} does not fit {type(network).__name__}: {'; '.join(faults)}. Build the network with those of the "
            "weights (frames, spatial_size, num_classes), or give resize_positions=True where only the tables of "
            "positions differ."
        )
    network.load_state_dict(state)
    return network


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict; see ``read_state``."""
    if path.suffix != ".safetensors" or not path.is_file():
        return read_state(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a readable file of weights: {error}. It may be truncated or "
            "damaged; copy or download it again."
        ) from error


def adapted_channels(weight: Tensor, channels: int, how: str | None, path: str | Path) -> Tensor:
    """Give a first convolution ``(C, c, t, h, w)`` another number of input channels, or refuse it.

    Raises:
        CheckpointError: if no way is given.
    """
    if how is None:
        raise CheckpointError(
            f"{path} is for {weight.shape[1]} input channels and the network has {channels}; give "
            f'channels="sum" to adapt the first convolution, or build the network with in_channels={weight.shape[1]}.'
        )
    return weight.sum(dim=1, keepdim=True).repeat(1, channels, 1, 1, 1) / channels


def resized_positions(name: str, value: Tensor, own: dict[str, Tensor], network: MViT) -> Tensor:
    """Interpolate a table of positions to the network's size; everything else is returned as it is."""
    if name not in own or own[name].shape == value.shape:
        return value
    last = name.rsplit(".", 1)[-1]
    if last in TABLES and own[name].shape[1] == value.shape[1]:
        return resized_table(value, own[name].shape[0])
    if last == "spatial_pos":
        side = round(value.shape[0] ** 0.5)
        if side * side == value.shape[0]:
            return resized_space(value, (side, side), network.pos_encoding.nominal[1:])
    return value
