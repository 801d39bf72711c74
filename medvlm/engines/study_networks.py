"""The networks of a prediction: weights that are read when they are needed, bound to the tokenizer beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvlm.data.tokenizers import check_tokenizer
from medvlm.networks.checkpoint import load_weights, read_state

FINGERPRINT = "tokenizer_fingerprint"


def bind(network: nn.Module, tokenizer: Any) -> nn.Module:
    """Bind a network to the tokenizer, where there is one; from then on it refuses weights of another tokenizer."""
    return network if tokenizer is None else network.bind_tokenizer(tokenizer)


class StudyNetwork(nn.Module):
    """A ``CineTextNet`` whose weights are read by :meth:`prepare`.

    So a config can be built, looked at and checked where there are no weights.

    Args:
        network: the network, or its ``VideoEmbeddingNet``.
        tokenizer: that the weights were trained with; ``None`` where there is none yet.
        checkpoint: file of the weights; ``None`` keeps those that the network has.
        tokenizer_dir: where the tokenizer should be, for the message.
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Any = None,
        checkpoint: str | Path | None = None,
        tokenizer_dir: str | Path = "models/tokenizer",
    ) -> None:
        super().__init__()
        self.eager, self.tokenizer, self.checkpoint = network, tokenizer, checkpoint
        self.tokenizer_dir = tokenizer_dir
        self.ready = False

    @property
    def module(self) -> nn.Module:
        """The network inside, as inferers ask for it."""
        return self.eager

    def prepare(self) -> StudyNetwork:
        """Bind the tokenizer and read the weights; done once.

        Raises:
            FileNotFoundError: When there are no weights, or weights that were trained with a tokenizer and none here.
            ValueError: When the weights do not fit, or were trained with another tokenizer.
        """
        if self.ready:
            return self
        if self.checkpoint is not None:
            self._check_tokenizer()
        bind(self.eager, self.tokenizer)
        if self.checkpoint is not None:
            load_weights(self.eager, self.checkpoint)
        self.eval()  # the wrapper too: who asks it whether it trains must not switch the network back on
        self.ready = True
        return self

    def _check_tokenizer(self) -> None:
        """Compare before anything is loaded, or a vocabulary of another size would fail with shapes."""
        state = read_state(self.checkpoint)
        stored = {int(value) for name, value in state.items() if name.endswith(FINGERPRINT)} - {0}
        if stored and self.tokenizer is None:
            raise FileNotFoundError(
                f"{self.checkpoint} was trained with a tokenizer, and there is none in {self.tokenizer_dir}; copy the "
                "tokenizer folder that was saved beside the weights, or name it with --tokenizer_dir."
            )
        for expected in stored:
            check_tokenizer(self.tokenizer, expected, str(self.checkpoint))

    def forward(self, video: Tensor) -> Tensor:
        """What the network gives of single videos ``(B, C, T, H, W)``: unit vectors ``(B, E)``."""
        return self.eager(video)

    def embed_study(
        self,
        video: Tensor,
        view_mask: Tensor | None = None,
        angles: Tensor | None = None,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Unit vectors ``(B, E)`` of studies; see ``CineTextNet``."""
        return self.eager.embed_study(video, view_mask, angles, side, side_known)

    @torch.no_grad()
    def embed_words(self, text: str, max_length: int = 128) -> Tensor:
        """Unit vector ``(1, E)`` of a text.

        Raises:
            ValueError: When the text has no word, or there is no tokenizer.
        """
        if self.tokenizer is None:
            raise ValueError(f"a text needs the tokenizer of the weights, and there is none in {self.tokenizer_dir}.")
        if not text.strip():
            raise ValueError("a search needs words, got an empty text.")
        words = self.tokenizer(" ".join(text.split()), max_length=max_length, truncation=True, return_tensors="pt")
        device = next(self.eager.parameters()).device
        return self.eager.embed_text(words["input_ids"].to(device), words["attention_mask"].to(device))


class OptionalProbe(nn.Module):
    """A ``CineProbeNet`` that answers where its weights exist.

    Args:
        network: the probe.
        checkpoint: file of its weights; a bundle may have none.
        required: a missing file is an error of :meth:`prepare`.
    """

    def __init__(self, network: nn.Module, checkpoint: str | Path, required: bool = False) -> None:
        super().__init__()
        self.eager, self.checkpoint, self.required = network, Path(checkpoint), required
        self.ready = False

    @property
    def there(self) -> bool:
        """Whether there are weights."""
        return self.ready or self.checkpoint.is_file()

    @property
    def specs(self) -> Mapping[str, Mapping]:
        """The settings of each head by name."""
        return self.eager.heads.specs

    def prepare(self) -> OptionalProbe:
        """Read the weights, where they exist; done once.

        Raises:
            FileNotFoundError: When they are required and absent.
            ValueError: When they do not fit.
        """
        if not self.ready and (self.required or self.there):
            load_weights(self.eager, self.checkpoint)
            self.ready = True
        self.eval()  # the wrapper too: who asks it whether it trains must not switch the network back on
        return self

    @torch.no_grad()
    def forward(
        self,
        video: Tensor,
        view_mask: Tensor,
        angles: Tensor,
        side: dict[str, Tensor] | None = None,
        side_known: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Answers of the heads; see ``CineProbeNet``. A probe without further inputs is not given any."""
        eager = self.prepare().eager
        return eager(video, view_mask, angles, *((side, side_known) if eager.side_inputs is not None else ()))
