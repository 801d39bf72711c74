"""Any video model of ``transformers`` as an encoder of cines."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvlm.networks.blocks.relative_positions import Grid
from medvlm.networks.blocks.token_masks import mask_on_grid

logger = logging.getLogger(__name__)

WITH_CLASS_TOKEN = ("vivit", "timesformer")
SPACE_FIRST = ("timesformer",)  # models whose tokens come in the order h, w, t
TAKES_VISIBLE = ("videomae",)
FRAMES, SIZE, CHANNELS = ("num_frames", "frames_per_clip"), ("image_size", "crop_size"), ("num_channels", "in_chans")


def setting(config: Any, names: tuple[str, ...], default: Any = None) -> Any:
    """The first of the names that a configuration has."""
    for name in names:
        if getattr(config, name, None) is not None:
            return getattr(config, name)
    if default is None:
        raise ValueError(
            f"{type(config).__name__} has none of {names}; it is no configuration of a video model, give one such as "
            "VideoMAE's or V-JEPA 2's."
        )
    return default


def video_config(path: str | Path | None, config: Mapping[str, Any] | None, download: bool) -> Any:
    """Read the configuration of a model, with the values of ``config`` in place of its own.

    Raises:
        ValueError: if neither is given, or ``config`` alone has no ``model_type``.
        FileNotFoundError: if there is no such folder and nothing may be downloaded.
    """
    from transformers import AutoConfig, PretrainedConfig

    if isinstance(config, PretrainedConfig):
        config = config.to_dict()
    if path is None:
        if not config or "model_type" not in config:
            raise ValueError(
                'give the path of a model, or a config with a model_type, e.g. {"model_type": "videomae"}.'
            )
        return AutoConfig.for_model(**config)
    try:
        own = AutoConfig.from_pretrained(path, local_files_only=not download)
    except OSError as error:
        raise FileNotFoundError(
            f"there is no model at {path}, nor in the local cache of the hub; give a folder with config.json and "
            "weights, or download=True where there is a network."
        ) from error
    own.update({name: value for name, value in (config or {}).items() if name != "model_type"})
    return own


class HubVideoEncoder(nn.Module):
    """A video model of ``transformers`` (VideoMAE, V-JEPA 2, ViViT, TimeSformer ...) under the house's contract.

    A grey video is repeated to the channels of the model. A video of another length or size than the model's is
    brought to them: the nearest frames in time, bilinear in space.

    Args:
        path: a folder, or the name of a model on the hub that is in the local cache.
        config: without a path, the configuration of a model to build untrained, with ``model_type``; with one, values
            that replace those of the path (``{"frames_per_clip": 16}``).
        in_channels: channels of the video: 1 for grey, or those of the model.
        pooling: ``"mean"`` of the tokens or ``"class"``, where the model has a class token.
        checkpointing: in training, compute activations again in the backward pass instead of keeping them.
        download: allow the hub to be asked. Nothing is ever downloaded otherwise.

    Attributes:
        embed_dim: width D of the output.
        has_class_token: whether the first token is a class token.
        hides: how patches are hidden from it.

    Raises:
        ValueError: if the configuration or the channels do not fit.
        FileNotFoundError: if the model is not there.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        config: Mapping[str, Any] | None = None,
        in_channels: int = 1,
        pooling: str = "mean",
        checkpointing: bool = False,
        download: bool = False,
    ) -> None:
        super().__init__()
        from transformers import AutoModel

        settings = video_config(path, config, download)
        self.model_type = settings.model_type
        self.embed_dim = int(settings.hidden_size)
        self.frames = int(setting(settings, FRAMES))
        size = setting(settings, SIZE)
        self.size = (int(size), int(size)) if isinstance(size, int) else tuple(int(n) for n in size)
        self.channels = int(setting(settings, CHANNELS, 3))
        patch = setting(settings, ("patch_size", "tubelet_size"))
        tubelet = getattr(settings, "tubelet_size", 1)
        if isinstance(tubelet, (list, tuple)):  # ViViT: frames, rows, columns
            tubelet, patch = tubelet[0], tubelet[1:]
        patch = (patch, patch) if isinstance(patch, int) else tuple(patch)
        self.tubelet = (int(tubelet), int(patch[0]), int(patch[1]))
        self.has_class_token = self.model_type in WITH_CLASS_TOKEN
        self.in_channels, self.pooling = in_channels, pooling
        if in_channels not in (1, self.channels):
            raise ValueError(
                f"{self.model_type} takes 1 or {self.channels} channels here, got in_channels={in_channels}."
            )
        if pooling not in ("mean", "class") or (pooling == "class" and not self.has_class_token):
            raise ValueError(
                f'pooling must be "mean", or "class" for a model with a class token; got {pooling!r} '
                f"for {self.model_type}."
            )
        if path is None:
            self.model = AutoModel.from_config(settings)
        else:
            self.model = AutoModel.from_pretrained(path, config=settings, local_files_only=not download)
        for unused in ("predictor", "pooler"):  # V-JEPA's predictor, ViViT's pooler: no gradient would reach them
            if getattr(self.model, unused, None) is not None:
                setattr(self.model, unused, None)
        if checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})

    @property
    def hides(self) -> str | None:
        """How patches are hidden from it, see ``MaskedVideoModelling``: ``"visible"``, or None where it cannot be."""
        return "visible" if self.model_type in TAKES_VISIBLE else None

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Grid ``(t, h, w)`` of the tokens, the same for any input, which is brought to the model's size."""
        return tuple(n // s for n, s in zip((self.frames, *self.size), self.tubelet, strict=True))

    def fit(self, video: Tensor) -> Tensor:
        """Bring a video ``(B, C, T, H, W)`` to the model's channels, frames and size: ``(B, T', C', H', W')``.

        Raises:
            ValueError: if the axes or channels do not fit.
        """
        if video.ndim != 5 or video.shape[1] != self.in_channels:
            raise ValueError(
                f"the network takes (B, {self.in_channels}, T, H, W), got {tuple(video.shape)}; set in_channels, or "
                "choose the channels in the preprocessing."
            )
        video = video.transpose(1, 2)  # (B, T, C, H, W)
        frames = video.shape[1]
        if frames != self.frames:
            places = ((torch.arange(self.frames, device=video.device) + 0.5) * frames / self.frames).long()
            video = video[:, places]
        if tuple(video.shape[3:]) != self.size:
            flat = functional.interpolate(video.flatten(0, 1), self.size, mode="bilinear", antialias=True)
            video = flat.unflatten(0, video.shape[:2])
        return video.expand(-1, -1, self.channels, -1, -1)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> dict[str, Tensor]:
        """Encode a batch of videos.

        Args:
            video: ``(B, C, T, H, W)``, normalised as the model expects (its mean and spread).
            visible: ``(B, L)`` bool on ``grid``, the same number of True in each row; VideoMAE only.

        Returns:
            ``tokens``: ``(B, L, D)`` in the order t, h, w, after the class token where there is one; ``pooled``:
            ``(B, D)``.

        Raises:
            ValueError: if the video does not fit, or the model cannot leave tokens out.
        """
        grid = self.grid(*video.shape[2:])
        arguments = {}
        if visible is not None:
            if self.model_type not in TAKES_VISIBLE:
                raise ValueError(f"{self.model_type} computes every token; only {TAKES_VISIBLE} take visible ones.")
            arguments["bool_masked_pos"] = ~mask_on_grid(visible, (grid,)).flatten(1)
        if self.model_type == "vjepa2":
            arguments["skip_predictor"] = True
        tokens = self.model(self.fit(video), **arguments).last_hidden_state
        expected = grid[0] * grid[1] * grid[2] + self.has_class_token
        if visible is None and tokens.shape[1] != expected:
            raise ValueError(
                f"{self.model_type} gave {tokens.shape[1]} tokens where its configuration says {expected}; "
                "this model is not supported."
            )
        if self.model_type in SPACE_FIRST:
            first, rest = tokens[:, :1], tokens[:, 1:].unflatten(1, (-1, grid[0]))  # (B, h * w, t, D)
            tokens = torch.cat((first, rest.transpose(1, 2).flatten(1, 2)), dim=1)
        body = tokens[:, 1:] if self.has_class_token else tokens
        return {"tokens": tokens, "pooled": tokens[:, 0] if self.pooling == "class" else body.mean(dim=1)}
