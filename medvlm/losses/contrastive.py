"""Contrastive losses with several positives, in blocks, in one process or many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medvlm.losses.gathering import gather_rows, processes, row_counts
from medvlm.losses.pairwise import GivenPositives, KeyPositives, Positives, sigmoid_sum, softmax_rows
from medvlm.losses.partial import PartialMean

HALF = (torch.float16, torch.bfloat16)


@dataclass
class Side:
    """Images or texts of the samples that count.

    Attributes:
        own: ``(n, D)`` of this process.
        everyone: ``(N, D)`` of all processes.
        start: row of ``everyone`` at which the own ones begin.
    """

    own: Tensor
    everyone: Tensor
    start: int


class ContrastiveLoss(nn.Module, ABC):
    """What both contrastive losses share: who counts, who belongs together, and the mean over all processes.

    With ``torch.distributed`` initialised, and while gradients are enabled, each process compares its own rows with
    those of all. The mean over the processes of the loss, and of its gradient (as DistributedDataParallel takes it), is
    that of one process on the concatenated batch, whatever the sizes of the shares. Without gradients (validation) each
    process looks at its own batch, since validation batches are not paired.

    Args:
        chunk: side of the block of pairs that is in memory at a time.

    Raises:
        ValueError: if ``chunk`` is not positive.
    """

    def __init__(self, chunk: int = 1024) -> None:
        super().__init__()
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}; 256 to 4096 is usual.")
        self.chunk = chunk

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        scale: Tensor | float,
        bias: Tensor | float | None = None,
        positives: Tensor | None = None,
        image_keys: Tensor | None = None,
        text_keys: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Compare every image with every text.

        Args:
            image: ``(B, D)`` unit rows, one a sample.
            text: ``(B, D)`` unit rows; row i belongs to row i of ``image``.
            scale: multiplies the cosine; already exponentiated.
            bias: added to it.
            positives: ``(B, B)`` weights of at least 0 that replace every other rule; the number of texts may then
                differ from that of images. With several processes ``(own images, texts of all processes)``.
            image_keys: ``(B,)`` or ``(B, G)`` integers: a pair that shares any of the G keys (the same report text,
                the same study) is positive too. 0 matches nothing.
            text_keys: of the texts; those of the images where absent.
            valid: ``(B,)``; samples that are False are left out of the loss and of its count.

        Returns:
            A scalar; exactly 0, with a gradient, when nothing counts.

        Raises:
            ValueError: when shapes do not fit.
        """
        return self.partial(image, text, scale, bias, positives, image_keys, text_keys, valid).local

    def partial(
        self,
        image: Tensor,
        text: Tensor,
        scale: Tensor | float,
        bias: Tensor | float | None = None,
        positives: Tensor | None = None,
        image_keys: Tensor | None = None,
        text_keys: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> PartialMean:
        """As ``forward``, with the value over all processes and the number of images that count."""
        _check(image, text, positives, image_keys, text_keys, valid)
        image, text = (x.float() if x.dtype in HALF else x for x in (image, text))
        scale = torch.as_tensor(scale, dtype=image.dtype, device=image.device).reshape(())
        bias = torch.as_tensor(0.0 if bias is None else bias, dtype=image.dtype, device=image.device).reshape(())
        keep = None if valid is None else torch.as_tensor(valid, device=image.device).reshape(-1) > 0
        images, texts = (_side(x, keep) for x in (image, text))
        if positives is not None:
            forth, back = _given(positives.to(image), keep, images, texts)
        else:
            forth, back = _keyed(image_keys, text_keys, keep, images, texts)
        parts = self.directions(images, texts, scale, bias, forth, back)
        count = images.everyone.shape[0]
        totals = torch.stack([torch.stack([part.detach(), rows.to(part.dtype)]) for part, rows in parts])  # (P, 2)
        share = processes()
        if share > 1:
            dist.all_reduce(totals)
        sizes = totals[:, 1].clamp(min=1)
        local = sum(part / size for (part, _), size in zip(parts, sizes, strict=True)) * (share / len(parts))
        return PartialMean(local=local, value=(totals[:, 0] / sizes).mean(), count=count)

    @abstractmethod
    def directions(
        self, images: Side, texts: Side, scale: Tensor, bias: Tensor, forth: Positives, back: Positives
    ) -> list[tuple[Tensor, Tensor]]:
        """Sum of the own rows' losses and number of those rows, for each direction over which the loss is a mean."""


class SigmoidContrastiveLoss(ContrastiveLoss):
    """Every pair is a binary question: do this image and this text belong together?

    L = −(1/B) Σ_i Σ_j [p_ij log σ(s_ij) + (1 − p_ij) log σ(−s_ij)] with s = scale · x·y + bias: sum over the texts,
    mean over the images. p is 1 for positives and 0 otherwise; given weights are used as targets, at most 1. Logits
    are not clamped.

    Reference:
        Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023, https://arxiv.org/abs/2303.15343.
        Deviation: several positives an image, and soft targets.
    """

    def directions(
        self, images: Side, texts: Side, scale: Tensor, bias: Tensor, forth: Positives, back: Positives
    ) -> list[tuple[Tensor, Tensor]]:
        """One direction: own images against the texts of all."""
        if isinstance(forth, GivenPositives) and bool((forth.weights > 1).any()):
            raise ValueError(
                f"positives are the targets of binary questions and at most 1, got {forth.weights.max().item()}; "
                "divide them by their maximum, or use the softmax loss."
            )
        total = sigmoid_sum(images.own, texts.everyone, scale, bias, forth, self.chunk)
        return [(total, torch.tensor(images.own.shape[0], device=total.device))]


class SoftmaxContrastiveLoss(ContrastiveLoss):
    """Each image chooses among all texts and each text among all images; the target is spread over the positives.

    L = ½ (mean_i −Σ_j P_ij log softmax_j(s_ij) + mean_j −Σ_i Q_ij log softmax_i(s_ij)), where P are the weights of the
    positives divided by their sum over the texts, Q by their sum over the images. A row without a positive is left out
    of its mean and remains a negative of the other direction. The bias has no influence.

    Reference:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021,
        https://arxiv.org/abs/2103.00020; Khosla et al., "Supervised Contrastive Learning", 2020,
        https://arxiv.org/abs/2004.11362, for several positives.
    """

    def directions(
        self, images: Side, texts: Side, scale: Tensor, bias: Tensor, forth: Positives, back: Positives
    ) -> list[tuple[Tensor, Tensor]]:
        """Own images against the texts of all, and own texts against the images of all."""
        image_rows, image_has = softmax_rows(images.own, texts.everyone, scale, forth, self.chunk)
        text_rows, text_has = softmax_rows(texts.own, images.everyone, scale, back, self.chunk)
        return [(image_rows.sum() + 0.0 * bias, image_has.sum()), (text_rows.sum(), text_has.sum())]


def _check(
    image: Tensor,
    text: Tensor,
    positives: Tensor | None,
    image_keys: Tensor | None,
    text_keys: Tensor | None,
    valid: Tensor | None,
) -> None:
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
        raise ValueError(
            f"image and text must be (B, D) with the same D, got {tuple(image.shape)} and {tuple(text.shape)}; "
            "project both to the shared embedding first."
        )
    count = image.shape[0]
    if positives is not None and (image_keys is not None or text_keys is not None):
        raise ValueError("positives replace the keys; give one of them.")
    if text.shape[0] != count and (positives is None or valid is not None):
        raise ValueError(
            f"row i of image belongs to row i of text, got {count} images and {text.shape[0]} texts; "
            "give positives (images, texts) and no valid mask for other numbers."
        )
    if text_keys is not None and image_keys is None:
        raise ValueError("text_keys need image_keys; give both, or image_keys alone for pairs.")
    for name, value in (("image_keys", image_keys), ("text_keys", text_keys), ("valid", valid)):
        if value is not None and len(value) != count:
            raise ValueError(f"{name} needs one row a sample ({count}), got {tuple(value.shape)}.")
    if positives is not None and (positives.ndim != 2 or positives.shape[0] != count or bool((positives < 0).any())):
        raise ValueError(
            f"positives must be ({count}, texts) with weights of at least 0, got {tuple(positives.shape)} "
            f"with minimum {positives.min().item() if positives.numel() else 'none'}."
        )


def _side(rows: Tensor, keep: Tensor | None) -> Side:
    own = rows if keep is None else rows[keep]
    counts = row_counts(own.shape[0], own.device)
    rank = dist.get_rank() if len(counts) > 1 else 0
    return Side(own, gather_rows(own, counts), sum(counts[:rank]))


def _keyed(
    image_keys: Tensor | None, text_keys: Tensor | None, keep: Tensor | None, images: Side, texts: Side
) -> tuple[Positives, Positives]:
    """Positives by equal keys, among them the running number of the sample, which makes each pair its own positive."""
    count, device = images.own.shape[0], images.own.device
    numbers = torch.arange(images.start + 1, images.start + count + 1, device=device)[:, None]  # (n, 1), from 1

    def columns(keys: Tensor | None) -> Tensor:
        if keys is None:
            return numbers
        keys = torch.as_tensor(keys, device=device).reshape(len(keys), -1)
        return torch.cat([numbers, (keys if keep is None else keys[keep]).long()], dim=1)  # (n, 1 + G)

    own_images = columns(image_keys)
    own_texts = own_images if text_keys is None else columns(text_keys)
    if own_images.shape[1] != own_texts.shape[1]:
        raise ValueError(
            f"image_keys and text_keys need the same number of keys, got {own_images.shape[1] - 1} and "
            f"{own_texts.shape[1] - 1}."
        )
    counts = row_counts(count, device)
    all_images, all_texts = gather_rows(own_images, counts), gather_rows(own_texts, counts)
    return KeyPositives(own_images, all_texts), KeyPositives(own_texts, all_images)


def _given(weights: Tensor, keep: Tensor | None, images: Side, texts: Side) -> tuple[Positives, Positives]:
    """Positives by given weights: own images against all texts, and all images against own texts."""
    if keep is not None:
        everyone = gather_rows(keep, row_counts(keep.shape[0], keep.device))
        _check_columns(weights, everyone.shape[0])
        weights = weights[keep][:, everyone]
    _check_columns(weights, texts.everyone.shape[0])
    rows = gather_rows(weights, row_counts(weights.shape[0], weights.device))  # (N, N)
    return GivenPositives(weights), GivenPositives(rows[:, texts.start : texts.start + texts.own.shape[0]].T)


def _check_columns(weights: Tensor, texts: int) -> None:
    if weights.shape[1] != texts:
        raise ValueError(
            f"positives need one column for each of the {texts} texts (of all processes, in the order of the ranks), "
            f"got {weights.shape[1]}."
        )


CONTRASTIVE = {"sigmoid": SigmoidContrastiveLoss, "softmax": SoftmaxContrastiveLoss}
