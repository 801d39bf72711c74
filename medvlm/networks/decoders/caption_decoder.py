"""The network that predicts the next token of a report from the tokens of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medvlm.networks.blocks.box_tokens import BoxTokens
from medvlm.networks.blocks.cross_attention import DecoderLayer
from medvlm.networks.blocks.key_value_cache import DecoderCache
from medvlm.networks.blocks.tokenizer_binding import TokenizerBound


@dataclass(frozen=True)
class Memory:
    """What a decoder looks at, computed once a study.

    Attributes:
        layers: keys and values ``(B, heads, M, d)`` of every layer.
        mask: bool ``(B, 1, 1, M)``, true = may be looked at; none = everything.
    """

    layers: list[tuple[Tensor, Tensor]]
    mask: Tensor | None

    def packed(self) -> Memory:
        """The same in memory that is read fastest step by step, without a mask that masks nothing."""
        mask = None if self.mask is None or bool(self.mask.all()) else self.mask
        return Memory([(keys.contiguous(), values.contiguous()) for keys, values in self.layers], mask)


class CaptionDecoder(TokenizerBound):
    """Causal decoder with cross-attention to the tokens of videos; its output layer is its word embedding.

    Besides one word after the other it learns, where ``parallel_fraction`` is above 0, to predict all words at once
    from the videos alone (CapPa), which makes the encoder learn more from each report. With ``box_bins`` it also has
    tokens for coordinates and the two box tasks of LocCa: see ``BoxTokens`` for how their sequences are written.

    Args:
        vocab_size: tokens of the tokenizer.
        dim: width; 6 layers of 512 and 8 heads have about 22 M parameters and the embedding.
        depth: layers.
        heads: heads of each attention.
        context_dim: width of the tokens that are looked at.
        bos_id: token that every text begins with ([CLS] of a BERT vocabulary).
        eos_id: token that ends a text ([SEP]).
        pad_id: padding.
        max_length: most tokens of a sequence, prompt and boxes included.
        mlp_ratio: hidden width of the perceptrons over ``dim``.
        dropout: probability on the branches, the attention weights and the embedding.
        parallel_fraction: share of the samples that are predicted in parallel in training; CapPa has 0.75.
        box_bins: steps of a coordinate; 0 = no box tasks.
        box_coordinates: numbers of a box: time, x0, y0, x1, y1 as fractions.
        banned_ids: further tokens that are never written, such as [UNK] and [MASK]; BOS and PAD never are.

    Attributes:
        boxes: the ``BoxTokens``, none without box tasks.
        output_size: V of the logits: ``vocab_size`` and the tokens of the box tasks.

    Raises:
        ValueError: if a setting is out of its range.

    Reference:
        Tschannen et al., "Image Captioners Are Scalable Vision Learners Too" (CapPa), 2023,
        https://arxiv.org/abs/2306.07915. Wan et al., "LocCa: Visual Pretraining with Location-aware Captioners", 2024,
        https://arxiv.org/abs/2403.19596. Deviation: padding is not attended to in parallel prediction either, so that
        a result does not depend on how far its batch is padded.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        context_dim: int = 768,
        *,
        bos_id: int,
        eos_id: int,
        pad_id: int,
        max_length: int = 512,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
        parallel_fraction: float = 0.0,
        box_bins: int = 0,
        box_coordinates: int = 5,
        banned_ids: Sequence[int] = (),
    ) -> None:
        super().__init__()
        ids = {"bos_id": bos_id, "eos_id": eos_id, "pad_id": pad_id}
        outside = {name: value for name, value in ids.items() if not 0 <= int(value) < vocab_size}
        if outside or eos_id == bos_id:
            raise ValueError(
                f"bos_id, eos_id and pad_id must be tokens below vocab_size={vocab_size}, the first two different, "
                f"got {ids}; take them from the tokenizer (cls_token_id, sep_token_id, pad_token_id)."
            )
        if not 0 <= parallel_fraction <= 1:
            raise ValueError(f"parallel_fraction is a share of the samples, 0 to 1, got {parallel_fraction}.")
        if depth < 1 or max_length < 2:
            raise ValueError(f"depth must be at least 1 and max_length at least 2, got {depth} and {max_length}.")
        self.bos_id, self.eos_id, self.pad_id = int(bos_id), int(eos_id), int(pad_id)
        self.vocab_size, self.max_length, self.parallel_fraction = vocab_size, max_length, parallel_fraction
        self.boxes = BoxTokens(vocab_size, box_bins, bos_id, eos_id, pad_id, box_coordinates) if box_bins else None
        self.output_size = vocab_size + (self.boxes.size if self.boxes else 0)
        self.words = nn.Embedding(self.output_size, dim)
        self.positions = nn.Embedding(max_length, dim)
        self.mask_embedding = nn.Parameter(torch.zeros(dim)) if parallel_fraction else None
        self.context_norm = nn.LayerNorm(context_dim)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(DecoderLayer(dim, heads, context_dim, mlp_ratio, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        writable = torch.ones(self.output_size, dtype=torch.bool)
        writable[vocab_size:] = False
        writable[[self.bos_id, self.pad_id, *banned_ids]] = False
        writable[self.eos_id] = True  # also where a vocabulary pads with its end token
        self.register_buffer("writable", writable, persistent=False)
        self._start_small()

    def _start_small(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        if self.mask_embedding is not None:
            nn.init.normal_(self.mask_embedding, std=0.02)
        for layer in self.layers:  # the sum of all branches starts as large as one of them
            for last in (layer.self_attention.output, layer.cross_attention.output, layer.mlp[-1]):
                nn.init.normal_(last.weight, std=0.02 / (3 * len(self.layers)) ** 0.5)

    def remember(self, context: Tensor, context_mask: Tensor | None = None) -> Memory:
        """Keys and values of the context.

        Args:
            context: ``(B, M, context_dim)``.
            context_mask: ``(B, M)``, true = a token; none = all. A study without any is written about as if its
                tokens were zeros: the text then comes from what was learnt alone.
        """
        if context_mask is None:
            return Memory(
                [layer.cross_attention.keys_values(self.context_norm(context)) for layer in self.layers], None
            )
        seen = context_mask.bool()
        normed = self.context_norm(context.masked_fill(~seen[..., None], 0.0))
        some = seen.any(dim=1)
        layers = []
        for layer in self.layers:
            keys, values = layer.cross_attention.keys_values(normed)
            layers.append((keys, values * some[:, None, None, None]))
        return Memory(layers, (seen | ~some[:, None])[:, None, None])

    def draw_parallel(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw which samples are predicted in parallel: bool ``(batch,)``, each with ``parallel_fraction``."""
        device = generator.device if generator else self.words.weight.device
        draws = torch.rand(batch, generator=generator, device=device) < self.parallel_fraction
        return draws.to(self.words.weight.device)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        context: Tensor,
        context_mask: Tensor | None = None,
        parallel: bool | Tensor | None = None,
    ) -> Tensor:
        """Predict the token after each one.

        Args:
            input_ids: ``(B, L)``, beginning with BOS.
            attention_mask: ``(B, L)``, 1 = real, 0 = padding (anywhere), which is never looked at; none = all real.
            context: ``(B, M, context_dim)``.
            context_mask: ``(B, M)``, true = may be looked at; none = all.
            parallel: predict from the videos and the positions alone, without seeing any token: one for all, or bool
                ``(B,)``; none = drawn by ``draw_parallel`` in training, otherwise false.

        Returns:
            Logits ``(B, L, V)``; those at position l are for the token at l + 1.

        Raises:
            ValueError: if the shapes do not fit, or parallel prediction is asked of a network built without.
        """
        hidden, _ = self._encode(input_ids, attention_mask, self.remember(context, context_mask), parallel)
        return self.logits(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits ``(..., V)`` of the last layer's tokens ``(..., dim)``."""
        return F.linear(self.norm(hidden), self.words.weight)

    def attention(
        self, input_ids: Tensor, attention_mask: Tensor | None, context: Tensor, context_mask: Tensor | None = None
    ) -> Tensor:
        """Where the decoder looked when it predicted the token after each one.

        Args:
            input_ids: ``(B, L)``; the other arguments as in ``forward``.

        Returns:
            ``(B, L, M)``, mean over layers and heads; each row sums to 1, or is zero without any context.
        """
        memory = self.remember(context, context_mask)
        _, looking = self._encode(input_ids, attention_mask, memory, False)
        pairs = zip(self.layers, looking, memory.layers, strict=True)
        maps = sum(layer.cross_attention.weights(x, keys, memory.mask) for layer, x, (keys, _) in pairs)
        maps = maps / len(self.layers)
        return maps if context_mask is None else maps * context_mask.bool()[:, None]

    def _encode(
        self, input_ids: Tensor, attention_mask: Tensor | None, memory: Memory, parallel: bool | Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        rows, length = input_ids.shape
        self._check(input_ids, attention_mask, length)
        if parallel is None:
            parallel = self.draw_parallel(rows) if self.training and self.parallel_fraction else False
        x = self.words(input_ids)  # (B, L, dim)
        at_once = None
        if self.mask_embedding is not None:  # always takes part, so that distributed training finds its gradient
            at_once = torch.as_tensor(parallel, device=x.device).expand(rows)
            x = torch.where(at_once[:, None, None], self.mask_embedding.to(x.dtype), x)
        elif torch.as_tensor(parallel).any():
            raise ValueError("parallel prediction needs a captioner with parallel_fraction above 0; CapPa has 0.75.")
        slots = torch.arange(length, device=x.device)
        if attention_mask is None:
            positions, open_slots = slots[None].expand(rows, -1), None
        else:
            real = attention_mask.bool()
            positions = (real.long().cumsum(dim=1) - 1).clamp_min(0)
            open_slots = real[:, None]  # (B, 1, L)
        allowed = (slots <= slots[:, None])[None]  # (1, L, L)
        if at_once is not None:
            allowed = allowed | at_once[:, None, None]
        if open_slots is not None:  # padding looks at itself, or its row would be empty
            allowed = (allowed & open_slots) | torch.eye(length, dtype=torch.bool, device=x.device)
        return self._through_layers(x, positions, memory, allowed[:, None])

    def _through_layers(
        self, x: Tensor, positions: Tensor, memory: Memory, self_mask: Tensor | None, cache: DecoderCache | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        x = self.dropout(x + self.positions(positions))
        looking = []
        for index, layer in enumerate(self.layers):
            x, queries = layer(x, memory.layers[index], memory.mask, self_mask, cache, index)
            looking.append(queries)
        return x, looking

    def step(self, input_ids: Tensor, visible: Tensor | None, memory: Memory, cache: DecoderCache) -> Tensor:
        """Logits after further tokens, whose keys and values go into the cache.

        Args:
            input_ids: ``(rows, L)``, the next tokens of every row; rows may be a multiple of the memory's batch.
            visible: bool ``(rows, L)``; none = all are real.
            memory: of ``remember``.
            cache: of the tokens before.

        Returns:
            ``(rows, V)``, for the token after the last real one of ``input_ids``.
        """
        positions, mask = cache.reserve(visible, input_ids.shape[1])
        hidden, _ = self._through_layers(self.words(input_ids), positions, memory, mask, cache)
        return self.logits(last_real(hidden, visible))

    def next_logits(
        self, input_ids: Tensor, visible: Tensor, context: Tensor, context_mask: Tensor | None = None
    ) -> Tensor:
        """What ``step`` gives, computed anew: logits ``(rows, V)`` after ``input_ids`` ``(rows, L)``."""
        hidden, _ = self._encode(input_ids, visible, self.remember(context, context_mask), False)
        return self.logits(last_real(hidden, visible))

    def _check(self, input_ids: Tensor, attention_mask: Tensor | None, length: int) -> None:
        if length > self.max_length:
            raise ValueError(
                f"the captioner has {self.max_length} positions, got {length} tokens; shorten the reports or build it "
                "with a larger max_length."
            )
        if attention_mask is not None and attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask must have the shape of input_ids, got {tuple(attention_mask.shape)} and "
                f"{tuple(input_ids.shape)}."
            )
        if input_ids.device.type == "cpu" and input_ids.numel() and int(input_ids.max()) >= self.output_size:
            raise ValueError(
                f"token {int(input_ids.max())} is not of the captioner's {self.output_size}; give the tokenizer that "
                "belongs to it."
            )


def last_real(hidden: Tensor, visible: Tensor | None) -> Tensor:
    """The last token ``(rows, dim)`` of each row ``(rows, L, dim)`` that is not padding."""
    if visible is None or hidden.shape[1] == 1:
        return hidden[:, -1]
    slots = torch.arange(visible.shape[1], device=visible.device)
    last = (slots * visible.long()).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]
