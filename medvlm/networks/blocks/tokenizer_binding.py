"""A network that knows which tokenizer its weights were trained with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from medvlm.networks.checkpoint import CheckpointError
from medvlm.tokenizer_fingerprint import fingerprint

REMEDY = (
    "Use the tokenizer folder that was saved beside the checkpoint, or train the text parts again; a text model reads "
    "nonsense from the identifiers of another tokenizer."
)


class TokenizerBound(nn.Module):
    """Base of networks that read or write tokens; their checkpoints remember the tokenizer.

    Attributes:
        vocab_size: number of tokens that the network knows; set by the subclass.
        tokenizer_fingerprint: int64 buffer, 0 until ``bind_tokenizer``.
    """

    vocab_size: int
    tokenizer_fingerprint: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("tokenizer_fingerprint", torch.zeros((), dtype=torch.int64))

    def bind_tokenizer(self, tokenizer: Any, replace: bool = False) -> TokenizerBound:
        """Remember the tokenizer; its fingerprint travels with the weights.

        Args:
            tokenizer: one of transformers.
            replace: bind it even when the weights were trained with another one.

        Returns:
            The network, for use in a JSON expression.

        Raises:
            ValueError: if the tokenizer has more tokens than the network, or it is another one than the one that the
                network is bound to (by an earlier call or by its checkpoint).
        """
        vocabulary = tokenizer.get_vocab()
        largest = max(vocabulary.values(), default=-1)
        if largest >= self.vocab_size:
            raise ValueError(
                f"the tokenizer's largest identifier is {largest}, {type(self).__name__} knows {self.vocab_size} "
                f"tokens; set vocab_size to {largest + 1}, or give the tokenizer that belongs to this model."
            )
        new, old = fingerprint(tokenizer), int(self.tokenizer_fingerprint)
        if old not in (0, new) and not replace:
            raise ValueError(
                f"{type(self).__name__} is bound to another tokenizer ({_short(old)}) than the one given "
                f"({_short(new)}, {len(vocabulary)} tokens). {REMEDY}"
            )
        self.tokenizer_fingerprint.fill_(new)
        return self

    def _load_from_state_dict(self, state_dict, prefix, *arguments) -> None:
        """Refuse the weights that were trained with another tokenizer; keep the own fingerprint where they have none.

        Raises:
            CheckpointError: if both are bound, to different tokenizers.
        """
        name = f"{prefix}tokenizer_fingerprint"
        own = int(self.tokenizer_fingerprint)
        if name in state_dict and own:
            stored = int(state_dict[name])
            if stored and stored != own:
                raise CheckpointError(
                    f"the checkpoint's {prefix.rstrip('.') or type(self).__name__} was trained with another tokenizer "
                    f"({_short(stored)}) than the one in use ({_short(own)}). {REMEDY}"
                )
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        if own and not int(self.tokenizer_fingerprint):
            self.tokenizer_fingerprint.fill_(own)


def _short(number: int) -> str:
    return f"fingerprint {number}"
