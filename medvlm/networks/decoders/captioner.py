"""Write reports, and answer questions about boxes."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from medvlm.networks.decoders.beam_search import beam_search
from medvlm.networks.decoders.caption_decoder import CaptionDecoder
from medvlm.networks.decoders.generation import Generated, GenerationSettings, Rules, Steps, write

__all__ = ["Captioner", "Generated"]


class Captioner(CaptionDecoder):
    """A ``CaptionDecoder`` (see there for the arguments) that generates.

    Three ways to use it: ``forward`` for training, ``generate`` for a report, and with ``box_bins`` ``locate`` (text →
    box) and ``describe`` (box → text).
    """

    @torch.no_grad()
    def generate(
        self,
        context: Tensor,
        context_mask: Tensor | None = None,
        max_length: int = 128,
        mode: str = "greedy",
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        beams: int = 4,
        repetition_penalty: float = 1.0,
        length_penalty: float = 1.0,
        min_length: int = 0,
        generator: torch.Generator | None = None,
        use_cache: bool = True,
        prompt: tuple[Tensor, Tensor] | None = None,
        allowed: Tensor | None = None,
        attention: bool = True,
    ) -> Generated:
        """Write a text for each study.

        Args:
            context: ``(B, M, context_dim)``.
            context_mask: ``(B, M)``, true = a token; none = all.
            max_length: this and the next settings: see ``GenerationSettings``.
            mode: ``"greedy"``, ``"sample"`` or ``"beam"``.
            temperature: of sampling.
            top_k: of sampling.
            top_p: of sampling.
            beams: of beam search.
            repetition_penalty: 1 = off.
            length_penalty: power of the length that scores are divided by.
            min_length: no end before.
            generator: of the random numbers of sampling; the global one by default.
            use_cache: keep keys and values; the result is the same without, later.
            prompt: tokens and mask ``(B, P)`` to go on from, padded on either side; BOS by default.
            allowed: bool ``(V,)``, tokens that may be written; by default words and EOS.
            attention: look up where each token came from, at the cost of one forward pass over the text.

        Returns:
            See ``Generated``. Dropout is off, whatever the mode of the network.

        Raises:
            ValueError: if a setting is out of its range, or the text could not fit the positions.
        """
        settings = GenerationSettings(
            max_length, mode, temperature, top_k, top_p, beams, repetition_penalty, length_penalty, min_length
        )
        allowed = self.writable if allowed is None else allowed.to(self.writable.device)
        if allowed.shape != self.writable.shape or not allowed.any():
            raise ValueError(
                f"allowed must be bool ({self.output_size},) with at least one token, got {tuple(allowed.shape)} with "
                f"{int(allowed.sum())}."
            )
        ids, real = self._prompt(len(context), prompt, context.device)
        if ids.shape[1] + max_length > self.max_length + 1:  # the last token written is not read again
            raise ValueError(
                f"a prompt of {ids.shape[1]} and {max_length} further tokens do not fit the captioner's "
                f"{self.max_length} positions; lower max_length of the generation."
            )
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():  # a sixth faster a step than without gradient alone
                written = self._write(context, context_mask, ids, real, allowed, settings, generator, use_cache)
                lengths = written.lengths
                maps = self._looked_at(written.ids, lengths, ids, real, context, context_mask) if attention else None
        finally:
            self.train(training)
        fields = {f.name: getattr(written, f.name).clone() for f in dataclasses.fields(written)}  # ordinary tensors
        return Generated(**fields, attention=None if maps is None else maps.clone())

    def _write(self, context, context_mask, ids, real, allowed, settings, generator, use_cache):
        copies = settings.beams if settings.mode == "beam" else 1
        capacity = ids.shape[1] + settings.max_length
        steps = Steps(self, context, context_mask, len(ids) * copies, capacity, use_cache)
        rows, shown = (x.repeat_interleave(copies, dim=0) for x in (ids, real))
        rules = Rules(allowed, rows, shown, self.eos_id, settings)
        logits = steps.feed(rows, shown)
        if settings.mode == "beam":
            return beam_search(steps, logits, rules, settings, self.pad_id)
        return write(steps, logits, rules, settings, self.pad_id, generator)

    def _prompt(self, batch: int, prompt: tuple[Tensor, Tensor] | None, device: torch.device) -> tuple[Tensor, Tensor]:
        if prompt is None:
            ids = torch.full((batch, 1), self.bos_id, dtype=torch.long, device=device)
            return ids, torch.ones_like(ids, dtype=torch.bool)
        ids, real = prompt[0].to(device), prompt[1].to(device).bool()
        if ids.shape != real.shape or len(ids) != batch or not real.any(dim=1).all():
            raise ValueError(
                f"prompt must be tokens and mask ({batch}, P) with a real token in each row, got {tuple(ids.shape)} "
                f"and {tuple(real.shape)}."
            )
        return ids, real

    def _looked_at(self, written, lengths, ids, real, context, context_mask) -> Tensor:
        """Attention ``(B, L, M)`` of the positions that the written tokens were predicted at."""
        steps = torch.arange(written.shape[1], device=written.device)
        inside = steps < lengths[:, None]  # (B, L)
        read = torch.cat([ids, written[:, :-1]], dim=1)
        shown = torch.cat([real, inside[:, :-1]], dim=1)
        maps = self.attention(read, shown, context, context_mask)
        slots = torch.arange(ids.shape[1], device=ids.device)
        last = (slots * real.long()).argmax(dim=1)  # the prompt's last real token predicted the first word
        places = (ids.shape[1] - 1 + steps).repeat(len(ids), 1)
        places[:, 0] = last
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        return maps[rows, places] * inside[..., None]

    def locate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        context: Tensor,
        context_mask: Tensor | None = None,
        beams: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Say where something is that is described in words (LocCa's referring expression).

        Args:
            input_ids: ``(B, L)``, from BOS to EOS, padded.
            attention_mask: ``(B, L)``.
            context: ``(B, M, context_dim)``; of the view in question.
            context_mask: ``(B, M)``.
            beams: 1 = greedy.

        Returns:
            Boxes ``(B, coordinates)`` in fractions, and their log-probabilities ``(B,)``.

        Raises:
            ValueError: if the captioner has no box tokens.
        """
        boxes = self._box_tokens()
        allowed = torch.zeros_like(self.writable)
        allowed[boxes.first :] = True
        prompt = boxes.referring_prompt(input_ids, attention_mask)
        result = self.generate(
            context,
            context_mask,
            boxes.coordinates,
            mode="beam" if beams > 1 else "greedy",
            beams=beams,
            length_penalty=0.0,
            prompt=prompt,
            allowed=allowed,
            attention=False,
        )
        return boxes.decode(result.ids), result.scores

    def describe(
        self,
        boxes: Tensor,
        context: Tensor,
        context_mask: Tensor | None = None,
        max_length: int = 64,
        mode: str = "greedy",
        beams: int = 4,
    ) -> Generated:
        """Say in words what is in a box (LocCa's grounded captioning).

        Args:
            boxes: ``(B, coordinates)`` in fractions.
            context: ``(B, M, context_dim)``; of the view in question.
            context_mask: ``(B, M)``.
            max_length: most tokens written.
            mode: see ``generate``.
            beams: of beam search.

        Returns:
            See ``Generated``.

        Raises:
            ValueError: if the captioner has no box tokens.
        """
        prompt = self._box_tokens().grounded_prompt(boxes.to(context.device))
        return self.generate(context, context_mask, max_length, mode=mode, beams=beams, prompt=prompt)

    def _box_tokens(self):
        if self.boxes is None:
            raise ValueError("this captioner has no box tokens; build it with box_bins, e.g. 500, and train it so.")
        return self.boxes
