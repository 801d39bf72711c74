"""Writing a report: with the key-value cache against the same decoder without, and against transformers' ``generate``.

    python benchmarks/captioning.py
    python benchmarks/captioning.py --context 393
    python benchmarks/captioning.py --mode beam

The peer is Blenderbot's decoder in transformers with its own cache, built of the same size and given the same weights
(with layers that normalise first and learnt positions it computes the same function); the tokens that both write are
compared. All are timed in turns within one process; a ratio is the other's time over ours. On a machine that others use
too, the ratios of CPU seconds are the ones to read.
"""

from __future__ import annotations

import json
import statistics
import time

import fire
import torch
from torch import Tensor, nn
from transformers import BlenderbotConfig, BlenderbotForConditionalGeneration, GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from medvlm.networks.decoders.captioner import Captioner

PAD, BOS, EOS = 0, 2, 3


def main(
    tokens: int = 128,
    batch: int = 1,
    context: int = 1179,
    mode: str = "greedy",
    beams: int = 4,
    vocab_size: int = 4000,
    dim: int = 512,
    depth: int = 6,
    heads: int = 8,
    rounds: int = 8,
    device: str = "cpu",
) -> None:
    """Print the median seconds of ``rounds`` runs of each, after one warm-up, and their ratios.

    Args:
        tokens: tokens that are written (no text ends before).
        batch: studies.
        context: tokens of the videos of a study; three views of an MViT v2-S have 3 x 393.
        mode: ``greedy`` or ``beam``.
        beams: width of the beam search.
        vocab_size: of the tokenizer.
        dim: width of the decoder.
        depth: layers.
        heads: heads.
        rounds: timed runs.
        device: ``cpu`` or ``cuda``.
    """
    torch.manual_seed(0)
    ours = Captioner(
        vocab_size, dim, depth, heads, dim, bos_id=BOS, eos_id=EOS, pad_id=PAD, max_length=tokens + 1, dropout=0.0
    )
    for parameter in ours.parameters():  # larger than at the start of training, so that the texts are not monotonous
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.06)
    ours = ours.eval().to(device)
    peer = equal_peer(ours, dim, depth, heads, tokens).eval().to(device)
    memory = torch.randn(batch, context, dim, device=device)
    settings = {"max_length": tokens, "min_length": tokens, "mode": mode, "beams": beams}

    def without_cache() -> Tensor:
        return ours.generate(memory, use_cache=False, attention=False, **settings).ids

    def with_cache() -> Tensor:
        return ours.generate(memory, attention=False, **settings).ids

    def with_attention() -> Tensor:
        return ours.generate(memory, **settings).ids

    def transformers_generate() -> Tensor:
        return peer_generate(peer, ours.context_norm(memory), tokens, beams if mode == "beam" else 1)

    runs = (with_cache, without_cache, with_attention, transformers_generate)
    seconds: dict[str, list[float]] = {run.__name__: [] for run in runs}
    cpu_seconds: dict[str, list[float]] = {run.__name__: [] for run in runs}
    written = {}
    with torch.no_grad():
        for number in range(rounds + 1):
            turn = number % len(runs)  # nobody is always first, or always after the same one
            for run in runs[turn:] + runs[:turn]:
                start, cpu_start = time.perf_counter(), time.process_time()
                written[run.__name__] = run()
                if device != "cpu":
                    torch.cuda.synchronize()
                if number:
                    seconds[run.__name__].append(time.perf_counter() - start)
                    cpu_seconds[run.__name__].append(time.process_time() - cpu_start)
    first = written["with_cache"]
    equal = {name: round((ids == first).float().mean().item(), 4) for name, ids in written.items()}

    def ratios(times: dict[str, list[float]]) -> dict[str, float]:
        def ratio(other: str, own: str) -> float:
            return round(statistics.median(a / b for a, b in zip(times[other], times[own], strict=True)), 2)

        return {
            "without_cache_over_with": ratio("without_cache", "with_cache"),
            "transformers_over_ours": ratio("transformers_generate", "with_cache"),
            "transformers_over_ours_with_attention": ratio("transformers_generate", "with_attention"),
        }

    result = {
        "tokens": tokens,
        "batch": batch,
        "context": context,
        "mode": mode,
        "parameters": sum(p.numel() for p in ours.parameters()),
        "threads": torch.get_num_threads(),
        "different_tokens_in_the_text": len(set(first[0].tolist())),
        "share_of_equal_tokens": equal,
        "seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "ratios_of_seconds": ratios(seconds),
        "ratios_of_cpu_seconds": ratios(cpu_seconds),
    }
    print(json.dumps(result))


def equal_peer(ours: Captioner, dim: int, depth: int, heads: int, tokens: int) -> BlenderbotForConditionalGeneration:
    """Blenderbot with the captioner's weights in its decoder; its encoder is never run."""
    config = BlenderbotConfig(
        vocab_size=ours.output_size,
        d_model=dim,
        encoder_layers=1,
        encoder_ffn_dim=dim,
        encoder_attention_heads=heads,
        decoder_layers=depth,
        decoder_ffn_dim=4 * dim,
        decoder_attention_heads=heads,
        max_position_embeddings=tokens + 1,
        dropout=0.0,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        scale_embedding=False,
    )
    peer = BlenderbotForConditionalGeneration(config)
    # without the rules of conversation that Blenderbot's defaults add
    peer.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, decoder_start_token_id=BOS
    )
    decoder = peer.model.decoder
    with torch.no_grad():
        peer.get_input_embeddings().weight.copy_(ours.words.weight)
        peer.get_output_embeddings().weight.copy_(ours.words.weight)
        decoder.embed_tokens.weight.copy_(ours.words.weight)
        decoder.embed_positions.weight.copy_(ours.positions.weight)
        decoder.layer_norm.load_state_dict(ours.norm.state_dict())
        for theirs, own in zip(decoder.layers, ours.layers, strict=True):
            theirs.self_attn_layer_norm.load_state_dict(own.self_norm.state_dict())
            theirs.encoder_attn_layer_norm.load_state_dict(own.cross_norm.state_dict())
            theirs.final_layer_norm.load_state_dict(own.mlp_norm.state_dict())
            theirs.fc1.load_state_dict(own.mlp[0].state_dict())
            theirs.fc2.load_state_dict(own.mlp[-1].state_dict())
            for attention, source in (
                (theirs.self_attn, own.self_attention),
                (theirs.encoder_attn, own.cross_attention),
            ):
                attention.q_proj.load_state_dict(source.query.state_dict())
                attention.out_proj.load_state_dict(source.output.state_dict())
                for name, part in source.key_value.state_dict().items():
                    keys, values = part.chunk(2)
                    getattr(attention.k_proj, name).copy_(keys)
                    getattr(attention.v_proj, name).copy_(values)
    return peer


def peer_generate(peer: BlenderbotForConditionalGeneration, memory: Tensor, tokens: int, beams: int) -> Tensor:
    """Tokens ``(B, tokens)`` that the peer writes, by its own ``generate`` with its own cache."""
    ids = peer.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=memory),
        attention_mask=torch.ones(memory.shape[:2], dtype=torch.long, device=memory.device),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        num_beams=beams,
        do_sample=False,
        suppress_tokens=[PAD, BOS],
        use_cache=True,
    )
    return ids[:, 1:]


if __name__ == "__main__":
    fire.Fire(main)
