"""Classification without training: a study belongs to the class whose prompts its video lies nearest to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from medvlm.metrics.classification import classification_report


def prompt_ensemble(embeddings: np.ndarray) -> np.ndarray:
    """One vector for several wordings of a class: the mean of the unit vectors, of unit length.

    Args:
        embeddings: ``(P, D)``, one row a wording.

    Returns:
        ``(D,)``.

    Raises:
        ValueError: there is no wording, a row is zero or not finite, or the rows cancel out.
    """
    embeddings = np.asarray(embeddings, dtype=np.float64)
    if embeddings.ndim != 2 or not len(embeddings):
        raise ValueError(f"a class needs the embeddings (P, D) of at least one prompt, got shape {embeddings.shape}.")
    mean = _unit(embeddings, "prompts").mean(axis=0, keepdims=True)
    return _unit(mean, "the mean of the prompts")[0]


def embed_prompts(
    prompts: Mapping[str, Mapping[str, Sequence[str]]], embed: Callable[[list[str]], np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Embed every wording once.

    Args:
        prompts: task -> ``positive`` and ``negative`` -> wordings.
        embed: gives ``(P, D)`` embeddings of P texts.

    Returns:
        task -> ``positive`` and ``negative`` -> ``(D,)``.

    Raises:
        ValueError: a task lacks one side.
    """
    out = {}
    for task, sides in prompts.items():
        missing = [side for side in ("positive", "negative") if not sides.get(side)]
        if missing:
            raise ValueError(f"task {task!r} needs positive and negative prompts, {' and '.join(missing)} missing.")
        out[task] = {side: prompt_ensemble(embed(list(sides[side]))) for side in ("positive", "negative")}
    return out


def zero_shot_probabilities(video: np.ndarray, classes: np.ndarray, scale: float = 10.0) -> np.ndarray:
    """Softmax over the classes' prompts.

    Args:
        video: ``(N, D)`` embeddings of studies.
        classes: ``(K, D)`` one prompt vector a class.
        scale: factor of the cosines, the network's temperature (its ``log_scale``, exponentiated).

    Returns:
        ``(N, K)``; with two classes the second against the first. Ranks, and so the AUC, do not depend on the scale.
    """
    if scale <= 0:
        raise ValueError(f"scale must be positive, got {scale}; it multiplies the cosines.")
    logits = scale * _unit(np.asarray(video), "videos") @ _unit(np.asarray(classes), "classes").T
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def zero_shot_report(
    video: np.ndarray,
    prompts: Mapping[str, Mapping[str, np.ndarray]],
    targets: Mapping[str, Sequence[float | None]],
    patients: Sequence[Hashable],
    scale: float = 10.0,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, dict]:
    """Scores of every task that has both prompts and targets.

    Args:
        video: ``(N, D)`` embeddings of studies.
        prompts: task -> ``positive``, ``negative`` -> ``(D,)``, of :func:`embed_prompts`.
        targets: task -> ``(N,)`` of 0 and 1; None or NaN is unknown and left out.
        patients: ``(N,)`` patient of each study.
        scale: of the cosines; the threshold of 0.5 (the nearer prompt wins) does not depend on it.
        n_boot: resamples of patients.
        seed: of the resamples.

    Returns:
        task -> report of :func:`medvlm.metrics.classification.classification_report` with ``n_unknown``; the AUC comes
        with DeLong's interval where each patient has one study. A task without known targets has ``n`` 0 and a note.

    Raises:
        ValueError: no task has both, or lengths differ.
    """
    tasks = [task for task in prompts if task in targets]
    if not tasks:
        raise ValueError(
            f"no task has both prompts ({', '.join(prompts) or 'none'}) and targets ({', '.join(targets) or 'none'})."
        )
    out = {}
    for task in tasks:
        truth = np.array([np.nan if value is None else value for value in targets[task]], dtype=np.float64)
        if not len(truth) == len(video) == len(patients):
            raise ValueError(
                f"one video, target and patient a study are needed, got {len(video)}, {len(truth)}, {len(patients)}."
            )
        known = np.flatnonzero(np.isfinite(truth))
        if not len(known):
            out[task] = {"n": 0, "n_unknown": len(truth), "note": "no target is known"}
            continue
        sides = np.stack([prompts[task]["negative"], prompts[task]["positive"]])
        probability = zero_shot_probabilities(np.asarray(video)[known], sides, scale)[:, 1]
        units = [patients[index] for index in known]
        report = classification_report(truth[known].astype(int), probability, units, 0.5, n_boot, seed)
        out[task] = report | {"n_unknown": len(truth) - len(known)}
    return out


def _unit(rows: np.ndarray, name: str) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(length).all() or (length < 1e-12).any():
        raise ValueError(f"embeddings of {name} must be finite and not zero; leave studies without a video out.")
    return rows / length
