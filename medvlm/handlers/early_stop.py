"""Early stopping whose patience survives a resumed run."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from monai.handlers import EarlyStopHandler


class ResumableEarlyStop(EarlyStopHandler):
    """MONAI's early stopping on an evaluator's key metric, with a state that a checkpoint can keep.

    Args:
        patience: epochs of the evaluator without a better key metric before the trainer stops; at least 1.
        min_delta: smallest gain that counts as better.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}; a large number never stops early.")
        super().__init__(patience=patience, score_function=key_metric, min_delta=min_delta)

    def state_dict(self) -> dict[str, Any]:
        """The counter and the best score so far."""
        return dict(self._stopper().state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._stopper().load_state_dict(state)

    def _stopper(self) -> Any:
        if self._handler is None:
            raise RuntimeError("ResumableEarlyStop needs set_trainer(trainer) first; call it before the trainer runs.")
        return self._handler


def key_metric(engine: Engine) -> float:
    """The evaluator's key metric; higher is better."""
    name = engine.state.key_metric_name
    if name is None or name not in engine.state.metrics:
        raise RuntimeError("early stopping needs a key metric on the evaluator; give it `key_val_metric`.")
    return float(engine.state.metrics[name])
