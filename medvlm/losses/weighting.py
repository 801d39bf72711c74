"""How the losses of several tasks become one scalar."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medvlm.losses.partial import PartialMean
from medvlm.losses.schedules import Schedule, schedule_of

logger = logging.getLogger(__name__)

GRADIENT_SCALE = 2.0**12  # keeps the gradients of half-precision activations above underflow; exact, as a power of two


class FixedWeights(nn.Module):
    """Σ w_t · L_t.

    Args:
        weights: one factor a task.
    """

    def __init__(self, weights: dict[str, float]) -> None:
        super().__init__()
        self.factors = {task: float(weight) for task, weight in weights.items()}

    def current(self) -> dict[str, float]:
        """The factor of each task."""
        return dict(self.factors)

    def forward(self, means: dict[str, PartialMean]) -> Tensor:
        """Weigh and add.

        Args:
            means: the mean loss of each task; those with ``count`` 0 contribute 0.

        Returns:
            A scalar.
        """
        return sum(self.factors[task] * mean.local for task, mean in means.items())


class ScheduledWeights(nn.Module):
    """Σ w_t · f_t(step) · L_t, where each task's factor f_t changes as training goes on.

    A step is a call while gradients are enabled, so that validation does not count, and each micro-batch of an
    accumulated step does. The step is in the state dict: a resumed run goes on where it was.

    Args:
        weights: one factor a task.
        schedules: for some of the tasks a :class:`medvlm.losses.schedules.Schedule` or its settings, e.g.
            ``{"captioning": {"kind": "cosine", "steps": 1000}}``; the others stay constant.

    Raises:
        ValueError: if a schedule is for no task.
    """

    def __init__(self, weights: dict[str, float], schedules: Mapping[str, Schedule | Mapping] | None = None) -> None:
        super().__init__()
        schedules = dict(schedules or {})
        if set(schedules) - set(weights):
            raise ValueError(f"schedules are for {sorted(weights)}, got {sorted(set(schedules) - set(weights))}.")
        self.factors = {task: float(weight) for task, weight in weights.items()}
        self.schedules = {task: schedule_of(schedules.get(task)) for task in weights}
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.used = self.at(0)

    def at(self, step: int) -> dict[str, float]:
        """The factor of each task at a step."""
        return {task: factor * self.schedules[task](step) for task, factor in self.factors.items()}

    def current(self) -> dict[str, float]:
        """The factor of each task in the latest call."""
        return dict(self.used)

    def forward(self, means: dict[str, PartialMean]) -> Tensor:
        """Weigh and add.

        Args:
            means: the mean loss of each task; those with ``count`` 0 contribute 0.

        Returns:
            A scalar.
        """
        self.used = self.at(int(self.steps))
        if torch.is_grad_enabled():
            self.steps += 1
        return sum(self.used[task] * mean.local for task, mean in means.items())


class UncertaintyWeights(nn.Module):
    """Weights learnt as the uncertainty of each task, one log-variance s_t a task.

    Σ c_t · exp(−s_t) · L_t + s_t / 2 with c_t = 1 for a classification-like loss and ½ for a regression. A task that
    is absent from a batch is left out, its s_t / 2 included. The parameter is put back between ``limits`` before each
    use, rather than clamped in the formula, where it would lose its gradient for good.

    Args:
        weights: the initial factor of each task; s_t starts at log(c_t / weight).
        kinds: ``"classification"`` or ``"regression"`` for each task; classification where absent.
        limits: smallest and largest s_t.

    Reference:
        Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", 2018,
        https://arxiv.org/abs/1705.07115.
    """

    def __init__(
        self,
        weights: dict[str, float],
        kinds: dict[str, str] | None = None,
        limits: tuple[float, float] = (-4.0, 4.0),
    ) -> None:
        super().__init__()
        if min(weights.values()) <= 0:
            raise ValueError(f"uncertainty weights start from positive weights, got {weights}.")
        kinds = dict(kinds or {})
        if set(kinds) - set(weights) or set(kinds.values()) - {"classification", "regression"}:
            raise ValueError(f"kinds takes 'classification' or 'regression' for {sorted(weights)}, got {kinds}.")
        self.tasks = tuple(weights)
        self.scales = {task: 0.5 if kinds.get(task) == "regression" else 1.0 for task in weights}
        self.limits = limits
        self.log_variance = nn.Parameter(
            torch.tensor([math.log(self.scales[task] / weights[task]) for task in weights])  # (T,)
        )

    def current(self) -> dict[str, float]:
        """The factor of each task."""
        factors = torch.exp(-self.log_variance.detach())
        return {task: self.scales[task] * float(factors[i]) for i, task in enumerate(self.tasks)}

    def forward(self, means: dict[str, PartialMean]) -> Tensor:
        """Weigh and add.

        Args:
            means: the mean loss of each task; those with ``count`` 0 contribute 0.

        Returns:
            A scalar. Its gradient towards s_t uses the mean over all processes, so that s_t stays equal on them.
        """
        with torch.no_grad():
            self.log_variance.clamp_(*self.limits)
        total = None
        for task, mean in means.items():
            term = mean.local
            if mean.count:
                log_variance = self.log_variance[self.tasks.index(task)]
                factor = self.scales[task] * torch.exp(-log_variance)
                term = factor.detach() * mean.local + (factor - factor.detach()) * mean.value + log_variance / 2
            total = term if total is None else total + term
        return total


class GradNormWeights(nn.Module):
    """Weights learnt so that the tasks' gradients on the last shared layer have fitting sizes.

    With G_t = w_t · ‖∇_W L_t‖, r_t = (L_t / L_t at its first batch) over its mean, and the target mean(G) · r_t^alpha
    held constant, the weights follow the gradient of Σ |G_t − target_t|. Nothing but the weights receives that
    gradient. They are parameters, so that the optimiser of the network moves them (with accumulation, loss scaling
    and resuming as for any parameter), and are put back to the sum T before each use. A task that is absent from a
    batch is left out of that step; with fewer than two tasks, or a frozen shared layer, the weights stay.

    Args:
        weights: the initial factor of each task; scaled to the sum T.
        shared: parameters of the last layer that the tasks share; may be given later by ``bind``.
        alpha: how strongly a slower task is pulled; 0 asks for equal gradient sizes.
        smallest: lower bound of a weight.

    Reference:
        Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", 2018,
        https://arxiv.org/abs/1711.02257. Deviations: L_t(0) is the loss at the first batch that knows the
        task; a weight that a step made negative is raised to ``smallest``.
    """

    def __init__(
        self,
        weights: dict[str, float],
        shared: Iterable[nn.Parameter] | None = None,
        alpha: float = 1.5,
        smallest: float = 1e-3,
    ) -> None:
        super().__init__()
        if min(weights.values()) <= 0:
            raise ValueError(f"GradNorm starts from positive weights, got {weights}.")
        self.tasks = tuple(weights)
        self.alpha, self.smallest = alpha, smallest
        self.weights = nn.Parameter(torch.tensor([float(weight) for weight in weights.values()]))  # (T,)
        self.register_buffer("initial_losses", torch.full((len(weights),), math.nan))  # (T,)
        self.shared: Sequence[nn.Parameter] = ()
        self.warned = False
        if shared is not None:
            self.bind(shared)
        self.renormalise()

    def bind(self, shared: Iterable[nn.Parameter]) -> None:
        """Set the parameters of the shared layer; they are read, not registered here."""
        self.shared = tuple(shared)

    @torch.no_grad()
    def renormalise(self) -> None:
        """Scale the weights to the sum T."""
        self.weights.clamp_(min=self.smallest)
        self.weights.mul_(len(self.tasks) / self.weights.sum())

    def current(self) -> dict[str, float]:
        """The factor of each task."""
        return dict(zip(self.tasks, self.weights.detach().tolist(), strict=True))

    def forward(self, means: dict[str, PartialMean]) -> Tensor:
        """Weigh and add.

        Args:
            means: the mean loss of each task; those with ``count`` 0 contribute 0.

        Returns:
            A scalar with the value Σ w_t · L_t.

        Raises:
            RuntimeError: if no shared parameters are bound.
        """
        if not self.shared:
            raise RuntimeError(
                "GradNorm needs the parameters of the last shared layer: give the loss shared="
                "network.shared_parameters(), or call loss.bind(network)."
            )
        learns = torch.is_grad_enabled()
        if learns:
            self.renormalise()
        total = sum(self.weights[self.tasks.index(task)].detach() * mean.local for task, mean in means.items())
        present = [task for task, mean in means.items() if mean.count]
        if not learns or len(present) < 2:
            return total
        shared = [parameter for parameter in self.shared if parameter.requires_grad]
        if not shared:
            if not self.warned:
                logger.warning("GradNorm leaves its weights as they are while the shared layer is frozen.")
                self.warned = True
            return total
        balance = self.balance({task: means[task] for task in present}, shared)
        return total if balance is None else total + (balance - balance.detach())

    def balance(self, means: dict[str, PartialMean], shared: Sequence[nn.Parameter]) -> Tensor | None:
        """Σ |G_t − target_t| as a function of the weights; None where a gradient is not finite."""
        norms = torch.stack([gradient_norm(mean.local, shared) for mean in means.values()]).to(self.weights)  # (P,)
        if not bool(torch.isfinite(norms).all()):
            return None
        index = [self.tasks.index(task) for task in means]
        losses = torch.stack([mean.value for mean in means.values()]).to(self.weights)  # (P,)
        unseen = torch.isnan(self.initial_losses[index])
        self.initial_losses[index] = torch.where(unseen, losses, self.initial_losses[index])
        ratios = losses / self.initial_losses[index].clamp(min=torch.finfo(losses.dtype).tiny)
        rates = ratios / ratios.mean()
        sizes = self.weights[index] * norms
        target = (sizes.mean() * rates**self.alpha).detach()
        return (sizes - target).abs().sum()


def gradient_norm(loss: Tensor, shared: Sequence[nn.Parameter]) -> Tensor:
    """Norm of the gradient of a loss on shared parameters, averaged over the processes before the norm is taken.

    Args:
        loss: scalar with a graph, which is kept.
        shared: parameters.

    Returns:
        Detached scalar.
    """
    gradients = torch.autograd.grad(loss * GRADIENT_SCALE, shared, retain_graph=True, allow_unused=True)
    flat = torch.cat(
        [
            (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
            for parameter, gradient in zip(shared, gradients, strict=True)
        ]
    )
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(flat)
        flat = flat / dist.get_world_size()
    return flat.norm() / GRADIENT_SCALE


WEIGHTINGS = {"fixed": FixedWeights, "kendall": UncertaintyWeights, "gradnorm": GradNormWeights}


def make_weighting(
    weighting: str | nn.Module,
    weights: dict[str, float],
    kinds: dict[str, str] | None = None,
    schedules: Mapping[str, Schedule | Mapping] | None = None,
) -> nn.Module:
    """The weighting that a config names.

    Args:
        weighting: ``"fixed"``, ``"kendall"``, ``"gradnorm"``, or a module as in this file, which is taken as it is.
        weights: the factor of each task, fixed or to start from.
        kinds: of the tasks, read by ``"kendall"``.
        schedules: as in :class:`ScheduledWeights`; of ``"fixed"`` weights alone.

    Raises:
        ValueError: if the name is not known, or schedules have no effect.
    """
    if isinstance(weighting, str) and weighting not in WEIGHTINGS:
        raise ValueError(f"weighting must be one of {sorted(WEIGHTINGS)} or a module, got {weighting!r}.")
    if schedules and weighting != "fixed":
        raise ValueError(f"schedules change fixed weights, weighting is {weighting!r}; set it to 'fixed' or drop them.")
    if not isinstance(weighting, str):
        return weighting
    if schedules:
        return ScheduledWeights(weights, schedules)
    return UncertaintyWeights(weights, kinds) if weighting == "kendall" else WEIGHTINGS[weighting](weights)
