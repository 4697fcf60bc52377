"""Local SGD: every worker runs SGD on its shard, and every so often all continue from a merge of where they arrived.

run: SGD for the round's examples or seconds.  quorum: all.  merge: an outer step along ``sum_i a_i (w_i - w)``; with
the mean, ``w = sum_i a_i w_i``.

Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019; before it McDonald, Hall, Mann, "Distributed
Training Strategies for the Structured Perceptron", NAACL 2010 (iterative parameter mixing: one epoch a round).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from parsgd.algorithms.common.adaptive_outer import Adaptive
from parsgd.algorithms.common.learned_weights import sample_rows
from parsgd.algorithms.common.merge_rules import LOOKING, RULES
from parsgd.algorithms.common.outer_optimizers import Mean, Momentum
from parsgd.algorithms.common.round_length import examples_in_round, longest_part
from parsgd.algorithms.common.round_schedule import deadline, next_period, shares_by_speed, update_seconds_per_example
from parsgd.algorithms.common.subsample import mute_progress
from parsgd.algorithms.common.worker_loop import run
from parsgd.core import (
    Budget,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SynchronousAlgorithm,
    Task,
)
from parsgd.errors import DivergedError, InvalidArgumentError, check_between, check_count, choose

_OUTERS = {
    "mean": Mean(),
    "momentum": Momentum("momentum"),
    "nesterov": Momentum("nesterov"),
    "adaptive": Adaptive(),
}
# The period from which "adaptive" ones begin, and the longest one that others lengthen to.
_FIRST_PERIOD, _LONGEST_PERIOD = 1.0, 0.5


class _Memory(NamedTuple):
    """What is carried from round to round: the outer step's own and its last answer, the period, sums of the loss since
    the last full pass and the mean of the first, and how long each worker takes for an example."""

    outer_optimizer: Any
    answer: np.ndarray | None
    sync_every: float
    loss: float
    examples: int
    first_loss: float | None
    seconds_per_example: np.ndarray


@dataclass(frozen=True)
class LocalSGD(SynchronousAlgorithm):
    """Averaging in rounds.

    Parameters
    ----------
    sync_every : float or "adaptive"
        Length of a round as a fraction of an epoch, ``0 < sync_every <= 1``; workers of equal shards make equal numbers
        of steps in it.  ``"adaptive"`` begins with one average a pass and averages more often as the loss falls
        (AdaComm, Wang and Joshi 2019); it begins anew in every fit, and in every call of ``partial_fit``.
    seconds : float or None
        Length of a round in seconds, whatever the period: each worker does what it can.
    rule : str or None
        How the workers count: ``"uniform"``; ``"steps"`` or ``"examples"``, by what they did in the round; ``"wp"``, by
        WP-SGD's contraction; ``"fednova"``, by rows, each move divided by its steps; ``"loss"``, by the losses that
        they met; ``"learned"``, by the loss of the merge on rows that are held back (2 %).  None: ``"steps"`` where
        workers may do unequal work (``seconds``, ``deadline`` or ``balance``) and ``outer_optimizer`` is not adaptive,
        else ``"uniform"`` (docs/results/unequal.md).
    outer_optimizer : {"mean", "momentum", "nesterov", "adaptive"} or object
        The driver's step along the merged move: all of it, with SlowMo's or DiLoCo's momentum
        (:class:`~parsgd.algorithms.common.outer_optimizers.Momentum` sets rate and beta), or as long as the loss on a
        few rows says, with the workers' rates to match (:class:`~parsgd.algorithms.common.adaptive_outer.Adaptive`).
    deadline : "auto", float or None
        Seconds after which a round ends though some worker has not made its steps; it reports what it has, and goes on
        from there in the next round.  ``"auto"``: ``median + 3 MAD`` of what a round takes the workers at the pace of
        their last one, from the second round on.  Not together with ``seconds``.
    balance : "speed" or None
        Whether rows are dealt anew after a pass, to each worker in proportion to its speed in the last round, where
        that changes some share by more than a tenth.
    partition : {"shuffled", "contiguous", "replicated"}
        Whether workers own rows dealt at random, or rows that lie together, or draw from all of them.
    lengthen_after_epochs : int or None
        Passes after which rounds are twice as long in every further pass, up to half a pass: what merges bring, they
        bring early.  None: all rounds are alike.  Not together with ``sync_every="adaptive"``, which shortens them.

    Notes
    -----
    With ``seconds``, ``deadline`` and ``balance`` results depend on how fast the machine is, by design.

    Examples
    --------
    >>> from parsgd import LocalSGD, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=LocalSGD(sync_every=0.5), n_jobs=2, max_iter=3, tol=None, random_state=0)
    >>> len(model.fit(scale(X), y).history_)
    6
    """

    sync_every: float | str = 0.1
    seconds: float | None = None
    rule: str | None = None
    outer_optimizer: Any = "mean"
    deadline: float | str | None = None
    balance: str | None = None
    partition: str = "shuffled"
    lengthen_after_epochs: int | None = None

    name = "local"

    def __post_init__(self) -> None:
        if isinstance(self.sync_every, str):
            choose(self.sync_every, ("adaptive",), "sync_every", "LocalSGD")
        else:
            check_between(self.sync_every, 0, 1, "sync_every", "LocalSGD")
        check_between(self.seconds, 0, float("inf"), "seconds", "LocalSGD", optional=True)
        if self.rule is not None:
            choose(self.rule, RULES, "rule", "LocalSGD")
        if isinstance(self.outer_optimizer, (str, type)) or not hasattr(self.outer_optimizer, "step"):
            choose(self.outer_optimizer, _OUTERS, "outer_optimizer", "LocalSGD")
        if isinstance(self.deadline, str):
            choose(self.deadline, ("auto",), "deadline", "LocalSGD")
        else:
            check_between(self.deadline, 0, float("inf"), "deadline", "LocalSGD", optional=True)
        if self.seconds is not None and self.deadline is not None:
            raise InvalidArgumentError(
                f"LocalSGD takes seconds or a deadline, not both: with seconds={self.seconds!r} a round has no other"
                f" end. Got deadline={self.deadline!r}; leave out one of them."
            )
        check_count(self.lengthen_after_epochs, "lengthen_after_epochs", "LocalSGD")
        if self.lengthen_after_epochs is not None and self.sync_every == "adaptive":
            raise InvalidArgumentError(
                "LocalSGD takes sync_every='adaptive', which shortens rounds, or lengthen_after_epochs, which lengthens"
                f" them, not both. Got lengthen_after_epochs={self.lengthen_after_epochs!r}; leave out one of them."
            )
        if self.balance is not None:
            choose(self.balance, ("speed",), "balance", "LocalSGD")
        choose(self.partition, ("shuffled", "contiguous", "replicated"), "partition", "LocalSGD")

    @property
    def _outer(self) -> Any:
        return _OUTERS[self.outer_optimizer] if isinstance(self.outer_optimizer, str) else self.outer_optimizer

    @property
    def _rule(self) -> str:
        unequal = any(setting is not None for setting in (self.seconds, self.deadline, self.balance))
        # by steps, rows of slow workers are visited less and count less; an adaptive step needs no help of the kind
        return self.rule or ("steps" if unequal and not self._outer.raises_rates else "uniform")

    @property
    def holds_out(self) -> bool:
        # weights that are learned on rows which workers have seen favour the worker that has seen most of them
        return self._rule in LOOKING

    def n_probe_rows(self, n_rows: int) -> int:
        learning = sample_rows(n_rows) if self.holds_out else 0
        return max(learning, self._outer.n_probe_rows(n_rows))

    def init_memory(self, standing: FitState) -> _Memory:
        sync_every = _FIRST_PERIOD if self.sync_every == "adaptive" else self.sync_every
        seconds_per_example = np.full(standing.n_workers, np.nan)
        return _Memory(self._outer.init_memory(standing), None, sync_every, 0.0, 0, None, seconds_per_example)

    def lr_factor(self, standing: FitState) -> float:
        return self._outer.lr_factor(standing, standing.memory.outer_optimizer)

    def schedule_step_size(self, n_workers: int) -> float:
        return self._outer.schedule_step_size(n_workers)

    def budget(self, standing: FitState, worker: int) -> Budget:
        n_rows = standing.shard_rows[worker]
        if self.seconds is not None:
            return Budget(n_rows * standing.max_epochs, self.seconds)
        examples = examples_in_round(
            n_rows, standing.model.batch_size, self._period(standing, worker), standing.cursors[worker]
        )
        return Budget(examples, self._deadline(standing))

    def _period(self, standing: FitState, worker: int) -> float:
        """How long the worker's next round is to be, as a part of its shard."""
        sync_every = standing.memory.sync_every
        if self.lengthen_after_epochs is None:
            return sync_every
        passes = standing.cursors[worker] // max(standing.shard_rows[worker], 1)
        doublings = min(max(passes - self.lengthen_after_epochs + 1, 0), 64)
        return max(sync_every, min(sync_every * 2.0**doublings, _LONGEST_PERIOD))

    def _deadline(self, standing: FitState) -> float | None:
        """One for all workers: who was late has less to do in the next round, and as much time for it as the others."""
        seconds_per_example = standing.memory.seconds_per_example
        known = np.isfinite(seconds_per_example)
        if self.deadline != "auto" or not known.any():
            return None if self.deadline == "auto" else self.deadline
        sync_every = max(self._period(standing, worker) for worker in range(standing.n_workers))
        whole = longest_part(np.array(standing.shard_rows), standing.model.batch_size, sync_every)
        return deadline(seconds_per_example[known], whole[known])

    def shard_fractions(self, standing: FitState) -> np.ndarray | None:
        return (
            None if self.balance is None else shares_by_speed(standing.memory.seconds_per_example, standing.shard_rows)
        )

    def run(self, model: Model, shard: Shard, task: Task, pulse: ProgressCallback) -> Report:
        try:
            return run(model, shard, task, pulse)
        except DivergedError:
            if not self._outer.raises_rates or task.n_workers == 1:
                raise
        # rates were raised by n_workers at most; what explodes at the serial ones, too, is an error
        return run(model, shard, replace(task, lr_scale=task.lr_scale / task.n_workers), mute_progress(pulse))

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        weights = RULES[self._rule](standing, reports)
        memory = self._noted(standing, reports)
        if not np.any(weights):
            return MergeResult(standing.state, weights, memory, memory.answer)
        step = self._outer.step(standing, reports, weights, memory.outer_optimizer)
        memory = memory._replace(outer_optimizer=step.memory, answer=step.answer)
        return MergeResult(step.state, weights * step.factor, memory, step.answer)

    def _noted(self, standing: FitState, reports: Sequence[Report]) -> _Memory:
        """The memory with what the reports tell of losses and times."""
        memory = standing.memory
        memory = memory._replace(seconds_per_example=update_seconds_per_example(memory.seconds_per_example, reports))
        if self.sync_every != "adaptive":
            return memory
        loss = memory.loss + sum(standing.model.total_loss(report.loss) for report in reports)
        examples = memory.examples + sum(report.examples for report in reports)
        if examples < standing.n_rows:
            return memory._replace(loss=loss, examples=examples)
        mean = loss / examples
        if memory.first_loss is None:
            return memory._replace(loss=0.0, examples=0, first_loss=mean)
        sync_every = next_period(_FIRST_PERIOD, memory.sync_every, memory.first_loss, mean)
        return memory._replace(loss=0.0, examples=0, sync_every=sync_every)
