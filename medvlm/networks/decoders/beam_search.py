"""Beam search: keep the likeliest beginnings of a text side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlm.networks.decoders.generation import GenerationSettings, Rules, Steps, Written


def beam_search(steps: Steps, logits: Tensor, rules: Rules, settings: GenerationSettings, pad_id: int) -> Written:
    """Find the text with the highest score.

    Every beginning in the beam may end at every step; the beam goes on with the best beginnings that have not ended,
    until none of them could still overtake the best ended text. A text that is cut at ``max_length`` competes with
    those that have ended. With as many beams as there are beginnings the search is exhaustive.

    Args:
        steps: has been fed the prompt, ``settings.beams`` equal rows a study.
        logits: ``(B * beams, V)`` after the prompt.
        rules: of the tokens.
        settings: see ``GenerationSettings``.
        pad_id: written after the end.

    Returns:
        The best text of each study.
    """
    beams, power = settings.beams, settings.length_penalty
    batch, size = len(logits) // beams, logits.shape[1]
    device, most = logits.device, settings.max_length
    best = _Best(batch, most, pad_id, device)
    scores = torch.full((batch, beams), float("-inf"), device=device)
    scores[:, 0] = 0.0  # the rows are still equal
    ids = torch.full((batch, beams, most), pad_id, dtype=torch.long, device=device)
    logprobs = torch.zeros(batch, beams, most, device=device)
    first_row = torch.arange(batch, device=device)[:, None] * beams
    for step in range(most):
        logits = rules.allow(logits, step)
        own = logits.log_softmax(dim=-1).unflatten(0, (batch, beams))  # (B, beams, V)
        ranked = rules.penalise(logits).log_softmax(dim=-1).unflatten(0, (batch, beams))
        total = scores[..., None] + ranked
        ids[..., step], logprobs[..., step] = rules.eos_id, own[..., rules.eos_id]
        best.offer(total[..., rules.eos_id] / (step + 1) ** power, ids, logprobs, step + 1)
        total[..., rules.eos_id] = float("-inf")
        scores, chosen = total.flatten(1).topk(beams, dim=1)  # (B, beams)
        source, tokens = chosen // size, chosen % size
        rows = (first_row + source).flatten()
        ids, logprobs = (x.flatten(0, 1)[rows].unflatten(0, (batch, beams)) for x in (ids, logprobs))
        ids[..., step] = tokens
        logprobs[..., step] = own.flatten(1).gather(1, chosen)
        if step + 1 == most:
            best.offer(scores / most**power, ids, logprobs, most)
            break
        reachable = scores[:, 0] / (most if power > 0 else step + 2) ** power  # log-probabilities only go down
        if bool((best.scores >= reachable).all()):
            break
        steps.reorder(rows)
        rules.note(tokens.flatten(), rows)
        logits = steps.feed(tokens.flatten()[:, None])
    return best.written()


class _Best:
    """The best ended text of each study so far."""

    def __init__(self, batch: int, most: int, pad_id: int, device: torch.device) -> None:
        self.scores = torch.full((batch,), float("-inf"), device=device)
        self.ids = torch.full((batch, most), pad_id, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(batch, most, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)
        self.pad_id = pad_id

    def offer(self, scores: Tensor, ids: Tensor, logprobs: Tensor, length: int) -> None:
        """Take the best of the texts ``(B, beams, most)`` with ``scores`` ``(B, beams)`` where it is better."""
        score, beam = scores.max(dim=1)
        better = score > self.scores
        rows = torch.arange(len(ids), device=ids.device)
        inside = torch.arange(ids.shape[2], device=ids.device) < length
        self.ids = torch.where(better[:, None], ids[rows, beam].masked_fill(~inside, self.pad_id), self.ids)
        self.logprobs = torch.where(better[:, None], logprobs[rows, beam] * inside, self.logprobs)
        self.lengths = self.lengths.masked_fill(better, length)
        self.scores = torch.where(better, score, self.scores)

    def written(self) -> Written:
        """The texts, cut at the longest."""
        longest = int(self.lengths.max())
        return Written(self.ids[:, :longest], self.lengths, self.scores, self.logprobs[:, :longest])
