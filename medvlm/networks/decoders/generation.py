"""Write a text token by token: greedy or sampled; with or without the keys and values kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medvlm.networks.blocks.key_value_cache import DecoderCache

MODES = ("greedy", "sample", "beam")


@dataclass(frozen=True)
class GenerationSettings:
    """How a text is written.

    Attributes:
        max_length: most tokens that are written.
        mode: ``"greedy"``, ``"sample"`` or ``"beam"``.
        temperature: of sampling; below 1 likelier tokens get likelier.
        top_k: sample from so many of the likeliest tokens; 0 = all.
        top_p: sample from the likeliest tokens that together have this probability; 1 = all.
        beams: width of the beam search.
        repetition_penalty: logits of tokens that have occurred are divided by it (multiplied where negative); 1 = off.
        length_penalty: the score is the sum of log-probabilities over length to this power; 0 = the sum.
        min_length: no end before so many tokens.

    Raises:
        ValueError: if a setting is out of its range.

    Reference:
        Holtzman et al., "The Curious Case of Neural Text Degeneration" (top-p), 2020,
        https://arxiv.org/abs/1904.09751. Keskar et al., "CTRL" (repetition penalty), 2019,
        https://arxiv.org/abs/1909.05858.
    """

    max_length: int = 128
    mode: str = "greedy"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    beams: int = 4
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    min_length: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {self.mode!r}.")
        ranges = {
            "max_length": (self.max_length >= 1, "at least 1"),
            "temperature": (self.temperature > 0, "above 0 (mode='greedy' takes the likeliest token)"),
            "top_k": (self.top_k >= 0, "0 (all) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1"),
            "beams": (self.beams >= 1, "at least 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0 (1 = off)"),
            "min_length": (0 <= self.min_length <= self.max_length, "0 to max_length"),
        }
        for name, (fits, range_) in ranges.items():
            if not fits:
                raise ValueError(f"{name} must be {range_}, got {getattr(self, name)}.")


@dataclass(frozen=True)
class Written:
    """Texts before their attention is looked up; see ``Generated``."""

    ids: Tensor
    lengths: Tensor
    scores: Tensor
    token_logprobs: Tensor


@dataclass(frozen=True)
class Generated(Written):
    """Generated texts.

    Attributes:
        ids: ``(B, L)`` the tokens written, with EOS where one was, then PAD; the prompt is not repeated.
        lengths: ``(B,)`` tokens written, EOS included.
        scores: ``(B,)`` sum of the log-probabilities over ``lengths ** length_penalty``; in beam search those after the
            repetition penalty, by which texts were ranked.
        token_logprobs: ``(B, L)`` log-probability that the model gives to each token, without temperature, top-k,
            top-p and repetition penalty; 0 at padding.
        attention: ``(B, L, M)`` where the model looked when it wrote each token, mean over layers and heads; rows sum
            to 1 (0 at padding and without context); none when not asked for.
    """

    attention: Tensor | None = None


class Steps:
    """Feed tokens to a decoder and get the logits of the next one.

    Args:
        decoder: a ``CaptionDecoder``.
        context: ``(B, M, C)``.
        context_mask: ``(B, M)`` or none.
        rows: sequences, a multiple of B.
        capacity: most tokens a sequence can get.
        use_cache: keep keys and values; otherwise everything is computed again for every token.
    """

    def __init__(
        self, decoder: Any, context: Tensor, context_mask: Tensor | None, rows: int, capacity: int, use_cache: bool
    ) -> None:
        self.decoder, self.context, self.context_mask = decoder, context, context_mask
        self.cache, self.tokens, self.visible = None, None, None
        if use_cache:
            self.memory = decoder.remember(context, context_mask).packed()
            self.cache = DecoderCache(len(decoder.layers), rows, capacity, context.device)

    def feed(self, tokens: Tensor, visible: Tensor | None = None) -> Tensor:
        """Logits ``(rows, V)`` after further tokens ``(rows, L)``; ``visible`` bool is false at padding."""
        if self.cache is not None:
            return self.decoder.step(tokens, visible, self.memory, self.cache)
        seen = torch.ones_like(tokens, dtype=torch.bool) if visible is None else visible
        first = self.tokens is None
        self.tokens = tokens if first else torch.cat([self.tokens, tokens], dim=1)
        self.visible = seen if first else torch.cat([self.visible, seen], dim=1)
        return self.decoder.next_logits(self.tokens, self.visible, self.context, self.context_mask)

    def reorder(self, rows: Tensor) -> None:
        """Let each sequence go on from another one, ``(rows,)`` int64."""
        if self.cache is not None:
            self.cache.reorder(rows)
        else:
            self.tokens, self.visible = self.tokens[rows], self.visible[rows]


class Rules:
    """Which tokens may come next, and which are made less likely because they have occurred.

    Args:
        allowed: bool ``(V,)``.
        prompt: ``(rows, P)`` tokens that count as occurred.
        real: bool ``(rows, P)``.
        eos_id: the end token.
        settings: see ``GenerationSettings``.
    """

    def __init__(self, allowed: Tensor, prompt: Tensor, real: Tensor, eos_id: int, settings: GenerationSettings):
        self.forbidden, self.eos_id, self.settings = ~allowed, eos_id, settings
        self.seen = None
        if settings.repetition_penalty != 1:
            counts = torch.zeros(len(prompt), len(allowed), device=prompt.device)
            self.seen = counts.scatter_add_(1, prompt, real.float()) > 0

    def allow(self, logits: Tensor, step: int) -> Tensor:
        """Logits ``(rows, V)`` in single precision, minus infinity where a token may not come."""
        logits = logits.float().masked_fill(self.forbidden, float("-inf"))
        if step < self.settings.min_length:
            logits[:, self.eos_id] = float("-inf")
        return logits

    def penalise(self, logits: Tensor) -> Tensor:
        """Logits ``(rows, V)`` after the repetition penalty."""
        if self.seen is None:
            return logits
        penalty = self.settings.repetition_penalty
        return torch.where(self.seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)

    def note(self, tokens: Tensor, rows: Tensor | None = None) -> None:
        """Remember the tokens ``(rows,)`` just written, after the sequences have gone on from ``rows``."""
        if self.seen is not None:
            self.seen = self.seen if rows is None else self.seen[rows]
            self.seen.scatter_(1, tokens[:, None], True)


def write(
    steps: Steps,
    logits: Tensor,
    rules: Rules,
    settings: GenerationSettings,
    pad_id: int,
    generator: torch.Generator | None = None,
) -> Written:
    """Write greedily or by sampling; every sequence stops at its own end.

    Args:
        steps: has been fed the prompt.
        logits: ``(B, V)`` after the prompt.
        rules: of the tokens.
        settings: see ``GenerationSettings``.
        pad_id: written after the end.
        generator: of the random numbers of sampling.

    Returns:
        The texts.
    """
    rows, device = len(logits), logits.device
    done = torch.zeros(rows, dtype=torch.bool, device=device)
    lengths = torch.zeros(rows, dtype=torch.long, device=device)
    ids, logprobs = [], []
    for step in range(settings.max_length):
        logits = rules.allow(logits, step)
        scores = rules.penalise(logits)
        tokens = scores.argmax(dim=-1) if settings.mode == "greedy" else sample(scores, settings, generator)
        own = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
        ids.append(tokens.masked_fill(done, pad_id))
        logprobs.append(own.masked_fill(done, 0.0))
        lengths += ~done
        done = done | (tokens == rules.eos_id)
        if step + 1 == settings.max_length or bool(done.all()):
            break
        rules.note(tokens)
        logits = steps.feed(ids[-1][:, None])
    token_logprobs = torch.stack(logprobs, dim=1)  # (B, L)
    total = token_logprobs.sum(dim=1) / lengths.float() ** settings.length_penalty
    return Written(torch.stack(ids, dim=1), lengths, total, token_logprobs)


def sample(logits: Tensor, settings: GenerationSettings, generator: torch.Generator | None = None) -> Tensor:
    """Draw one token a row.

    Args:
        logits: ``(rows, V)``.
        settings: temperature, top-k and top-p, applied in this order.
        generator: of the random numbers; the global one by default.

    Returns:
        ``(rows,)`` int64.
    """
    logits = logits / settings.temperature
    if 0 < settings.top_k < logits.shape[1]:
        kept, places = logits.topk(settings.top_k, dim=-1)
        logits = torch.full_like(logits, float("-inf")).scatter(1, places, kept)
    if settings.top_p < 1:
        ordered, places = logits.sort(dim=-1, descending=True)
        probability = ordered.softmax(dim=-1)
        before = probability.cumsum(dim=-1) - probability  # the first token always stays
        ordered = ordered.masked_fill(before >= settings.top_p, float("-inf"))
        logits = torch.full_like(logits, float("-inf")).scatter(1, places, ordered)
    probability = logits.softmax(dim=-1)
    if generator is not None:
        probability = probability.to(generator.device)
    return torch.multinomial(probability, 1, generator=generator)[:, 0].to(logits.device)
