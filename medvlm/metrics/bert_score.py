"""BERTScore with a local model: words match by meaning, as that model sees it.

Reference:
    T. Zhang et al., "BERTScore: evaluating text generation with BERT", ICLR 2020. Plain form: no idf weights, no
    baseline rescaling, the special tokens left out of the matching.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def check_bert_model(model_path: str | Path) -> Path:
    """Return the folder of a model; cheap, so that a long evaluation can refuse a wrong one before it starts.

    Raises:
        FileNotFoundError: there is no model at the path.
    """
    path = Path(model_path)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(
            f"BERTScore needs a folder with a transformers model (config.json, weights, tokenizer), got {path}; "
            "download one first, or leave the path empty to do without BERTScore."
        )
    return path


def bert_score(
    generated: Sequence[str],
    written: Sequence[str],
    model_path: str | Path,
    layer: int = -1,
    batch_size: int = 16,
    device: str = "cpu",
    max_length: int = 512,
) -> dict[str, np.ndarray]:
    """BERTScore of each pair.

    Args:
        generated: ``(N,)`` texts.
        written: ``(N,)`` references.
        model_path: folder with a transformers encoder and its tokenizer; nothing is downloaded.
        layer: hidden layer whose states are matched, as an index of all layers (0: embeddings, -1: last).
        batch_size: texts at once.
        device: where the model runs.
        max_length: tokens beyond are cut.

    Returns:
        ``precision``, ``recall``, ``f1``, each ``(N,)`` in -1..1; 0 where either text has no token.

    Raises:
        FileNotFoundError: there is no model at the path.
        ValueError: lengths differ, or the model has no such layer.
    """
    path = check_bert_model(model_path)
    if len(generated) != len(written):
        raise ValueError(f"one reference a text is needed, got {len(written)} for {len(generated)}.")
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    model = AutoModel.from_pretrained(path, local_files_only=True).to(device).eval()
    limit = min(max_length, getattr(model.config, "max_position_embeddings", max_length))
    layers = model.config.num_hidden_layers + 1
    if not -layers <= layer < layers:
        raise ValueError(f"layer must lie in {-layers}..{layers - 1} for this model, got {layer}.")

    @torch.no_grad()
    def states(texts: Sequence[str]) -> list[np.ndarray]:
        """Unit vectors of each text's own tokens ``(L, D)``."""
        found = []
        for start in range(0, len(texts), batch_size):
            batch = tokenizer(
                list(texts[start : start + batch_size]),
                padding=True,
                truncation=True,
                max_length=limit,
                return_special_tokens_mask=True,
                return_tensors="pt",
            )
            own = (batch["attention_mask"] == 1) & (batch.pop("special_tokens_mask") == 0)
            output = model(**batch.to(device), output_hidden_states=True).hidden_states[layer]
            unit = torch.nn.functional.normalize(output.float(), dim=-1).cpu()
            found += [rows[keep].numpy() for rows, keep in zip(unit, own, strict=True)]
        return found

    rows = []
    for said, meant in zip(states(generated), states(written), strict=True):
        if not len(said) or not len(meant):
            rows.append((0.0, 0.0, 0.0))
            continue
        match = said @ meant.T  # (tokens said, tokens meant)
        precision, recall = float(match.max(axis=1).mean()), float(match.max(axis=0).mean())
        total = precision + recall
        rows.append((precision, recall, 2 * precision * recall / total if total > 0 else 0.0))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return dict(zip(("precision", "recall", "f1"), columns, strict=True))
