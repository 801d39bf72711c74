"""A data set and a run that go on past a bad case and remember it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ignite.engine import Engine
from monai.data import MetaTensor
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate
from tqdm import tqdm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A case that was not done.

    Attributes:
        case_id: the case.
        error: the error's kind.
        message: what was wrong, with the file and the remedy as far as they are known.
        files: the case's files.
    """

    case_id: str
    error: str
    message: str
    files: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The failure as JSON."""
        return {**asdict(self), "files": list(self.files)}


class CasesFailed(RuntimeError):
    """Some cases were not done; the others were. ``failures`` lists them."""

    def __init__(self, failures: Sequence[Failure], total: int) -> None:
        self.failures = list(failures)
        rows = "".join(f"\n  {failure.case_id}: {failure.message}" for failure in self.failures)
        super().__init__(f"{len(self.failures)} of {total} cases failed, the others are done:{rows}")


def innermost(error: BaseException) -> BaseException:
    """The error that MONAI wrapped, once for each transform or config entry: the one that names file and remedy."""
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise the error that MONAI's pages of wrapping began with."""
    try:
        yield
    except RuntimeError as error:
        cause = innermost(error)
        if cause is error:
            raise
        raise cause from None


def files_of(case: dict) -> tuple[str, ...]:
    """The files (or folders) that a case is read from."""
    files = next((case[key] for key in ("image", "video", "path") if key in case), ())
    return tuple(files) if isinstance(files, list | tuple) else (str(files),)


class TolerantDataset(IterableDataset):
    """Cases one after another, each prepared when its turn comes; a bad one is noted and passed over.

    Iterating again goes on after the last case that was begun, so that a run that died in one case can be started
    again for the rest. Meant for ``num_workers=0``: the list of failures lives in this process.

    Args:
        data: cases; one with the key ``error`` counts as failed without being tried.
        transform: the preprocessing of one case.
        skip: asked before a case is read; cases for which it returns True are left out as done.
        keys: what of the prepared case goes into the batch.
        progress: show a progress bar.
    """

    def __init__(
        self,
        data: Sequence[dict],
        transform: Callable[[dict], dict],
        skip: Callable[[dict], bool] | None = None,
        keys: Sequence[str] = ("image", "native", "channels_present", "case_id"),
        progress: bool = True,
    ) -> None:
        super().__init__()
        self.data = data
        self.transform = transform
        self.skip = skip
        self.keys = tuple(keys)
        self.progress = progress
        self.failures: list[Failure] = []
        self.skipped: list[str] = []
        self.position = 0
        self._bar: tqdm | None = None

    @property
    def current(self) -> dict | None:
        """The case that was begun last."""
        return self.data[self.position - 1] if self.position else None

    @property
    def finished(self) -> bool:
        """Whether every case was begun."""
        return self.position >= len(self.data)

    def note(self, case: dict, error: BaseException) -> None:
        """Remember that a case failed."""
        cause = innermost(error)
        message = " ".join(str(cause).split()) or type(cause).__name__
        self.failures.append(Failure(case.get("case_id", "?"), type(cause).__name__, message, files_of(case)))
        logger.warning("case %s failed: %s", case.get("case_id", "?"), message)

    def __iter__(self) -> Iterator[dict]:
        """Yield the prepared cases that can be prepared."""
        bar = self._bar = self._bar or tqdm(total=len(self.data), desc="cases", unit="case", disable=not self.progress)
        while not self.finished:
            case = self.data[self.position]
            self.position += 1
            bar.set_postfix_str(str(case.get("case_id", ""))[:30], refresh=False)
            item = self._prepare(case)
            if item is not None:
                yield item
            bar.update()
            if self.finished:
                bar.close()

    def _prepare(self, case: dict) -> dict | None:
        try:
            if "error" in case:
                raise ValueError(case["error"])
            if self.skip is not None and self.skip(case):
                self.skipped.append(case["case_id"])
                return None
            prepared = self.transform(dict(case))
        except Exception as error:  # whatever a reader or a transform raises on one case must not stop the others
            self.note(case, error)
            return None
        return {key: prepared[key] for key in self.keys if key in prepared}


def collate_one(items: Sequence[dict]) -> dict:
    """Make a batch of one case without copying its images, for a ``DataLoader`` with batch size 1.

    Args:
        items: one prepared case; tensors ``(C, *S)``.

    Returns:
        Tensors ``(1, C, *S)`` that share the case's memory, what MONAI's ``decollate_batch`` takes apart again;
        other values in a list.

    Raises:
        ValueError: When there is more than one case.
    """
    if len(items) != 1:
        raise ValueError(f"collate_one makes batches of one case, got {len(items)}; set batch_size to 1.")
    batch: dict[str, Any] = {}
    for key, value in items[0].items():
        if isinstance(value, MetaTensor):
            one = batch[key] = MetaTensor(value.as_tensor().unsqueeze(0), meta=default_collate([value.meta]))
            one.applied_operations, one.is_batch = [value.applied_operations], True
            one.spatial_ndim = value.spatial_ndim
        else:
            batch[key] = value.unsqueeze(0) if isinstance(value, Tensor) else [value]
    return batch


def run(engine: Engine, dataset: TolerantDataset) -> list[Failure]:
    """Run an engine over a :class:`TolerantDataset` to its end, whatever happens in single cases.

    Args:
        engine: a MONAI evaluator whose loader reads ``dataset`` with batch size 1 and no workers.
        dataset: notes the cases that fail in the network, the post-processing or the writing.

    Returns:
        The failures.

    Raises:
        Exception: Whatever stops the engine before it has begun a case (an output folder that cannot be written).
    """
    while not dataset.finished:
        before = dataset.position
        try:
            engine.run()
        except Exception as error:  # the case at hand is noted, the next ones are tried
            if dataset.position == before:
                raise
            dataset.note(dataset.current or {}, error)
    return dataset.failures


def raise_for(dataset: TolerantDataset) -> None:
    """End a bundle's run with an error when cases failed, so that its exit status tells.

    Raises:
        CasesFailed: Lists them.
    """
    if dataset.failures:
        raise CasesFailed(dataset.failures, len(dataset.data))
