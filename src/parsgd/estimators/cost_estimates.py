"""Estimated costs of passes and merges before any fit, as :class:`CostModel`, from the size of a problem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

from parsgd.core import CostModel, Engine
from parsgd.training.cost_model import fit_seconds, round_seconds

# Rounds may add this fraction to the time: ten averages per pass need fewer passes than one (docs/results/family.md).
_ROUNDS_SHARE = 0.25
# Merges of plain means take at most this fraction of a worker's part of a pass, and the steps between them take at
# least this many seconds.  Other programs take a core for about 3 ms at a time, and then all workers wait at the merge.
_MERGES_SHARE, _MIN_ROUND_SECONDS = 0.1, 10e-3
# The same for networks, which have half of the useful merges at least.  With 12,000 rows of Fashion-MNIST, tuned, 5
# merges per pass end 0.6 % (1 pass) and 4 % (3 passes) above the loss of 10.
_MIN_NETWORK_ROUND_SECONDS = 5e-3
# On threads: passes of a typical fit, adaptive steps in it beyond one per pass, time to start and end it, and the
# factor on the work of several workers, which share the memory.
_PASSES, _MORE_STEPS, _START_SECONDS, _CONTENTION = 5, 2, 2.5e-3, 1.1


class ProblemSize(ABC):
    """Size of a problem, known before the fit.

    Attributes
    ----------
    n_rows, n_parameters : int
        Training rows; length of the state.
    convex : bool
        True if the mean of solutions is nearly a solution.
    one_against_all, sparse, adagrad : bool
        True for several classes, each against the rest; for CSR rows; for a linear model with AdaGrad.
    has_rare_features : bool
        True for sparse rows most of whose features occur in few rows, as words do.
    n_probe_rows : int
        Number of probe rows of an adaptive step.
    wake_seconds, epoch_seconds, merge_seconds : float
        Approximate seconds per round that returns to Python, per pass on one core, and per adaptive step of the driver.
    compiled_merge_seconds : float
        Approximate seconds per merge inside compiled code.
    """

    n_rows: int
    n_parameters: int
    n_probe_rows: int
    convex: ClassVar[bool]
    one_against_all: bool = False
    sparse: bool = False
    adagrad: bool = False
    has_rare_features: bool = False
    wake_seconds: ClassVar[float]
    epoch_seconds: float
    merge_seconds: float
    compiled_merge_seconds: float

    @abstractmethod
    def rounds(self, n_workers: int) -> tuple[int, int]:
        """Return the useful number of merges per pass, and the minimum below which accuracy drops."""

    @abstractmethod
    def reason_against(self, n_workers: int) -> str | None:
        """Return why this many workers would cost time or accuracy, or None."""


def costs_on(engine: Engine, size: ProblemSize, n_workers: int) -> CostModel:
    """Return the costs on an engine for up to ``n_workers`` workers.

    A simulated engine gives its own (``Engine.costs``). A distributed engine adds message costs to the estimates
    (``Engine.message_costs``). All others use the estimates of threads.
    """
    own = engine.costs(size.n_rows, size.n_parameters)
    if own is not None:
        return own
    estimate = CostModel(size.n_rows, size.epoch_seconds / max(size.n_rows, 1))
    message_costs = engine.message_costs(size.n_parameters)
    if message_costs is None:
        return replace(estimate, wake_s=dict.fromkeys(range(2, n_workers + 1), size.wake_seconds))
    latency, bandwidth = message_costs
    state_bytes = 8 * size.n_parameters
    return replace(estimate, state_bytes=state_bytes, latency_s=latency, bandwidth_bytes_per_s=bandwidth)


def rounds_of(costs: CostModel, n_workers: int, size: ProblemSize) -> int:
    """Return the number of merges per pass.

    It is the useful number if merging stays cheap, and smaller if merging would take longer than one worker's pass.
    """
    merge_s, part = round_seconds(costs, n_workers, driver_seconds(size, n_workers)), costs.pass_s / n_workers
    useful, minimum = size.rounds(n_workers)
    affordable = int(_ROUNDS_SHARE * part / merge_s) if merge_s > 0.0 else useful
    return min(useful, max(affordable, minimum if minimum * merge_s <= costs.pass_s else 1, 1))


def _adaptive_seconds(size: ProblemSize) -> float:
    """Return the predicted seconds per pass of adaptive steps, which do not follow every merge."""
    return (1.0 + _MORE_STEPS / _PASSES) * size.merge_seconds


def driver_seconds(size: ProblemSize, n_workers: int) -> float:
    """Return the predicted seconds of the driver per round outside compiled code: a merge, and a share of the steps."""
    return size.compiled_merge_seconds + _adaptive_seconds(size) / size.rounds(n_workers)[0]


def adaptive_rounds(size: ProblemSize, n_workers: int) -> int:
    """Return the number of merges per pass between adaptive steps on threads: the useful number, or for networks fewer.

    The steps of small networks between two merges take so little time that workers would wait for taken cores.
    """
    useful, minimum = size.rounds(n_workers)
    if size.convex:
        return useful
    return max(min(useful, int(size.epoch_seconds / n_workers / _MIN_NETWORK_ROUND_SECONDS)), minimum)


def plain_rounds(size: ProblemSize, n_workers: int) -> int:
    """Return the number of plain means per pass on threads: the useful number, or fewer of which merges stay cheap.

    The loss of two workers hardly depends on it (docs/performance.md).
    """
    part = size.epoch_seconds / n_workers
    affordable = int(min(_MERGES_SHARE * part / size.compiled_merge_seconds, part / _MIN_ROUND_SECONDS))
    return min(size.rounds(n_workers)[0], max(affordable, 1))


def thread_seconds(size: ProblemSize, n_workers: int, is_adaptive: bool = True) -> float:
    """Return the predicted seconds of a pass with ``n_workers`` threads, whose rounds are compiled.

    With ``is_adaptive`` it includes the adaptive steps between them.
    """
    costs = CostModel(
        size.n_rows,
        size.epoch_seconds / max(size.n_rows, 1),
        contention={n_workers: _CONTENTION},
        compiled_round_s={n_workers: size.compiled_merge_seconds},
        start_s=_START_SECONDS,
    )
    if n_workers == 1:
        return costs.pass_s
    rounds = adaptive_rounds(size, n_workers) if is_adaptive else plain_rounds(size, n_workers)
    step_s = _adaptive_seconds(size) / rounds if is_adaptive else 0.0
    return fit_seconds(costs, n_workers, _PASSES, _PASSES * rounds, step_s, compiled=True) / _PASSES
