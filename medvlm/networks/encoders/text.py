"""Text encoder: any transformer of the transformers library, or a small BERT from its settings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medvlm.networks.blocks.tokenizer_binding import TokenizerBound
from medvlm.spelling import did_you_mean

logger = logging.getLogger(__name__)

POOLINGS = ("cls", "mean", "model")
TEXT_TOWERS = {"siglip": "SiglipTextModel", "siglip2": "Siglip2TextModel", "clip": "CLIPTextModel"}
SMALL_BERT = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": 512,
}


class TextEncoder(TokenizerBound):
    """Read a tokenised text into tokens and one vector.

    Nothing is ever downloaded: a ``path`` is a folder, or a name that the local cache of transformers has.

    Args:
        path: folder (or cached name) of a pretrained model, e.g. BiomedBERT, or SigLIP, of which the text tower is
            taken; none builds a BERT with random weights from ``config``.
        config: settings of ``transformers.BertConfig`` over the small default (4 layers of 256); with ``path``
            settings that override those of the folder, but for sizes (``hidden_size`` and the like), which the weights
            decide: those are left out, with a note.
        vocab_size: tokens of the vocabulary, when built from ``config``; with ``path`` the model's own counts.
        freeze_fraction: fraction of the layers that do not learn, counted from the input: 0 = all learn, 0.5 = the
            embeddings and the lower half are frozen, 1 = the whole model. Rounded to a whole number of layers; a
            fraction that freezes a layer freezes the embeddings too. Frozen parts stay in evaluation mode.
        pooling: ``"cls"`` the first token, ``"mean"`` the mean of the real tokens, ``"model"`` the model's own pooled
            output (SigLIP, CLIP).
        gradient_checkpointing: compute the layers again in the backward pass instead of keeping them.
        added_bos: a first token that ``Tokenised`` puts before texts for the captioner, and that the model was not
            trained with: it is not read. None where the tokenizer begins its texts by itself.

    Attributes:
        embed_dim: width D of the pooled output.
        max_length: most tokens that a text can have.
        frozen_layers: how many layers, from the input, do not learn; of ``layers``.

    Raises:
        FileNotFoundError: if there is no model at ``path`` on this machine.
        ValueError: if a setting is out of its range, or unknown to the model's configuration.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        config: dict[str, Any] | None = None,
        vocab_size: int = 8192,
        freeze_fraction: float = 0.0,
        pooling: str = "cls",
        gradient_checkpointing: bool = False,
        added_bos: int | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}.")
        if not 0 <= freeze_fraction <= 1:
            raise ValueError(f"freeze_fraction is a fraction of the layers, 0 to 1, got {freeze_fraction}.")
        by_model = pooling == "model"
        self.model = pretrained_text_model(path, config) if path else small_bert(config, vocab_size, by_model)
        settings = self.model.config
        self.pooling, self.added_bos = pooling, added_bos
        self.vocab_size = int(settings.vocab_size)
        self.embed_dim = int((by_model and getattr(settings, "projection_size", None)) or settings.hidden_size)
        self.max_length = int(settings.max_position_embeddings)
        self.masked = not settings.model_type.startswith("siglip")  # SigLIP reads its padding, as it was trained
        self.pad_id = int(getattr(settings, "pad_token_id", None) or 0)  # until a tokenizer is bound
        if not by_model:
            drop_pooler(self.model)
        if gradient_checkpointing:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        before, layers = lower_parts(self.model)
        self.layers = len(layers)
        self.frozen_layers = round(freeze_fraction * self.layers)
        self._frozen = [self.model] if freeze_fraction == 1 else []
        if freeze_fraction < 1 and self.frozen_layers:
            self._frozen = [*before, *layers[: self.frozen_layers]]
        for part in self._frozen:
            part.requires_grad_(False)

    def bind_tokenizer(self, tokenizer: Any, replace: bool = False) -> TextEncoder:
        """See ``TokenizerBound``; the token that fills up is the tokenizer's."""
        super().bind_tokenizer(tokenizer, replace)
        pad = getattr(tokenizer, "pad_token_id", None)
        self.pad_id = self.pad_id if pad is None else int(pad)
        return self

    def train(self, mode: bool = True) -> TextEncoder:
        """Set training mode for everything but the frozen layers."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Encode texts.

        Args:
            input_ids: ``(B, L)`` int64.
            attention_mask: ``(B, L)``, 1 = real token, 0 = padding; none = all real.

        Returns:
            ``tokens``: ``(B, L, width)``; ``pooled``: ``(B, D)``, a text without any real token gives zeros.

        Raises:
            ValueError: if a text is too long, or a token is not of the vocabulary.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if self.added_bos is not None and bool((input_ids[:, 0] == self.added_bos).all()):
            input_ids, attention_mask = input_ids[:, 1:], attention_mask[:, 1:]
        self._check(input_ids)
        length = input_ids.shape[1]
        if not self.masked:  # so that a text means the same however far its batch is padded
            rest = (0, self.max_length - length)
            input_ids, attention_mask = F.pad(input_ids, rest, value=self.pad_id), F.pad(attention_mask, rest)
        known = attention_mask.bool().any(dim=1, keepdim=True)  # (B, 1)
        seen = attention_mask.bool() | ~known  # a text without tokens is read as padding, and its result dropped
        output = self.model(input_ids=input_ids, attention_mask=seen.long() if self.masked else None)
        tokens = output.last_hidden_state
        if self.pooling == "model":
            pooled = output.pooler_output
        elif self.pooling == "cls":
            first = seen.long().argmax(dim=1)  # 0 unless padded on the left
            pooled = tokens[torch.arange(len(tokens), device=tokens.device), first]
        else:
            weight = seen[..., None].to(tokens.dtype)
            pooled = (tokens * weight).sum(dim=1) / weight.sum(dim=1)
        return {"tokens": tokens[:, :length], "pooled": pooled.masked_fill(~known, 0.0)}

    def _check(self, input_ids: Tensor) -> None:
        if input_ids.shape[1] > self.max_length:
            raise ValueError(
                f"the text model reads at most {self.max_length} tokens, got {input_ids.shape[1]}; set max_length of "
                "the tokenising transform to that or less (--max_tokens of a bundle)."
            )
        if input_ids.device.type == "cpu" and input_ids.numel() and int(input_ids.max()) >= self.vocab_size:
            raise ValueError(
                f"token {int(input_ids.max())} is not of the text model's vocabulary of {self.vocab_size}; give the "
                "tokenizer that belongs to the model."
            )


def pretrained_text_model(path: str | Path, config: dict[str, Any] | None) -> nn.Module:
    """Load a text model, or the text tower alone of a model of pictures and texts; see ``TextEncoder``."""
    import transformers

    try:
        settings = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise missing_model(path, error) from error
    family = settings.model_type.removesuffix("_text_model")
    text = settings.get_text_config()
    check_settings({name: value for name, value in (config or {}).items() if name not in SMALL_BERT}, text)
    config = without_sizes(config or {}, text, path)
    kind = getattr(transformers, TEXT_TOWERS.get(family, "AutoModel"))
    try:
        return kind.from_pretrained(path, local_files_only=True, **config)
    except OSError as error:
        raise missing_model(path, error) from error
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(
            f"the weights of the text model in {path} do not fit its config.json{f' with {config}' if config else ''} "
            f"({first}); copy the whole folder again, or leave config out."
        ) from error


def without_sizes(config: dict[str, Any], own: Any, path: str | Path) -> dict[str, Any]:
    """Settings without those that the weights of a pretrained model decide; what is left out is logged."""
    sizes = {name: value for name, value in config.items() if name in SMALL_BERT}
    changed = {name: value for name, value in sizes.items() if getattr(own, name, None) != value}
    if changed:
        logger.info(
            "the text model in %s keeps its own sizes; %s of config are for a model without path", path, changed
        )
    return {name: value for name, value in config.items() if name not in sizes}


def missing_model(path: str | Path, error: Exception) -> FileNotFoundError:
    """What to say when there is no model where one should be."""
    return FileNotFoundError(
        f"there is no text model at {str(path)!r} on this machine, and nothing is downloaded. Give the folder of a "
        "model (config.json, model.safetensors), put the model in the cache of transformers while online "
        f"(hf download NAME), or leave path empty for a small BERT. transformers says: {str(error)[:200]}"
    )


def small_bert(config: dict[str, Any] | None, vocab_size: int, pooler: bool) -> nn.Module:
    """A BERT with random weights; see ``TextEncoder``."""
    from transformers import BertConfig, BertModel

    config = {**SMALL_BERT, **(config or {}), "vocab_size": vocab_size}
    check_settings(config, BertConfig())
    if config["hidden_size"] % config["num_attention_heads"]:
        raise ValueError(
            f"hidden_size must be divisible by num_attention_heads, got {config['hidden_size']} and "
            f"{config['num_attention_heads']}."
        )
    return BertModel(BertConfig(**config), add_pooling_layer=pooler)


def check_settings(given: dict[str, Any], known: Any) -> None:
    """Refuse settings that a configuration of transformers would keep without using.

    Raises:
        ValueError: names them, and what was perhaps meant.
    """
    names = set(known.to_dict()) | {"attn_implementation", "dtype"}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(
            f"{type(known).__name__} has no setting {unknown[0]!r}{did_you_mean(unknown[0], names)}; see the "
            "documentation of transformers for those it has."
        )


def drop_pooler(model: nn.Module) -> None:
    """Take away or freeze what only computes the model's own pooled output, so that every trainable weight is used."""
    if isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None
    if isinstance(getattr(model, "head", None), nn.Module):
        model.head.requires_grad_(False)


def lower_parts(model: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The modules that come before the layers of a model (its embeddings), and its layers from input to output.

    Raises:
        ValueError: if the model has no list of layers.
    """
    lists = {name: part for name, part in model.named_modules() if isinstance(part, nn.ModuleList)}
    if not lists:
        raise ValueError(f"{type(model).__name__} has no list of layers; give a transformer, such as BERT.")
    longest = max(lists, key=lambda name: len(lists[name]))
    before = []
    for name, part in model.named_modules():
        if name == longest:
            break
        if name and not longest.startswith(f"{name}."):
            before.append(part)
    return before, list(lists[longest])
