"""Local SGD: periodic averaging of workers that run SGD on their shards.

Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019.  Earlier: McDonald, Hall, Mann, "Distributed
Training Strategies for the Structured Perceptron", NAACL 2010 (iterative parameter mixing: one epoch per round).

Round: the worker runs SGD for the round's examples or seconds; the driver waits for all reports; merge = an outer step
along ``sum_i a_i (w_i - w)``.  With the mean as outer step, ``w = sum_i a_i w_i``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from parsgd.algorithms.common.adaptive_outer import Adaptive
from parsgd.algorithms.common.outer_optimizers import Mean, Momentum, OuterOptimizer, PlainOuterOptimizer
from parsgd.algorithms.common.round_length import check_round_length, longest_part, round_budget, step_budget, steps_of
from parsgd.algorithms.common.round_schedule import deadline, next_period, shares_by_speed, update_seconds_per_example
from parsgd.algorithms.common.subsample import mute_progress
from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging.learned_weights import sample_rows
from parsgd.algorithms.merging.merge_rules import (
    COORDINATE_RULES,
    PLANNED_RULES,
    PROBE_ROW_RULES,
    RULES,
    merge_by_rule,
    required_by_rule,
)
from parsgd.core import (
    AlgorithmTraits,
    Budget,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SynchronousAlgorithm,
    Task,
    TaskSpec,
)
from parsgd.errors import DivergedError, InvalidArgumentError, check_between, check_count, choose

_OUTER_OPTIMIZERS: dict[str, OuterOptimizer] = {
    "mean": Mean(),
    "momentum": Momentum("momentum"),
    "nesterov": Momentum("nesterov"),
    "adaptive": Adaptive(),
}
# First period with sync_every="adaptive", and the longest one with lengthen_after_epochs.
_FIRST_PERIOD, _LONGEST_PERIOD = 1.0, 0.5


class _Memory(NamedTuple):
    """State between rounds.

    Memory and last averaged state of the outer optimizer, current period, sums of the loss and examples since the last
    full pass, mean loss of the first pass, and each worker's seconds per example.
    """

    outer_optimizer: Any
    answer: np.ndarray | None
    sync_every: float
    loss: float
    examples: int
    first_loss: float | None
    seconds_per_example: np.ndarray


def _check_outer_optimizer(given: Any) -> None:
    """Raise for a value that is neither a name nor an outer optimizer."""
    if isinstance(given, str) or not hasattr(given, "step") or isinstance(given, type):
        choose(given, _OUTER_OPTIMIZERS, "outer_optimizer", "LocalSGD")
    elif not isinstance(given, OuterOptimizer):
        raise InvalidArgumentError(
            f"The 'outer_optimizer' parameter of LocalSGD lacks members of an outer optimizer. Got {given!r}; derive"
            " its class from parsgd.algorithms.common.outer_optimizers.PlainOuterOptimizer."
        )


@dataclass(frozen=True)
class LocalSGD(SynchronousAlgorithm):
    """Local SGD with periodic averaging.

    Parameters
    ----------
    sync_every : float, int or "adaptive"
        Length of a round as a fraction of an epoch, ``0 < sync_every <= 1``; workers with equal shards make equal
        numbers of steps.  A whole number above 1 is the length in SGD steps.  ``"adaptive"`` starts with one average
        per pass and averages more often as the loss falls (AdaComm, Wang and Joshi 2019).  It restarts in every fit and
        every call of ``partial_fit``.
    seconds : float or None
        Length of a round in seconds; it replaces ``sync_every``.
    rule : str or None
        Merge weights of the workers:

        - ``"uniform"``: equal weights.
        - ``"steps"``, ``"examples"``: proportional to the work done in the round.
        - ``"tokens"``: proportional to the tokens in the examples, if a :class:`parsgd.torch.Trainer` counts them; else
          to the examples.
        - ``"wp"``: WP-SGD's contraction.
        - ``"fednova"``: proportional to rows, each displacement divided by its steps.
        - ``"loss"``: larger for smaller losses.
        - ``"learned"``: minimize the loss of the merged model on held-out rows (2 %).
        - ``"coordinate"``: per coordinate, proportional to the visits of rows in which the feature is not zero
          (:mod:`~parsgd.algorithms.merging.coordinate_merge`).  For sparse data.
        - ``"touched"``: the same, with equal weights for all workers that visited the feature.

        The default is ``"steps"`` if workers may do unequal work (``seconds``, ``deadline`` or ``balance``) and
        ``outer_optimizer`` is not adaptive, else ``"uniform"``.  With ``seconds`` and ten workers ``"uniform"`` was at
        the goal on four of four sets and ``"steps"`` on two (docs/results/unequal.md).  With 10 to 1,000 workers of
        heavy-tailed speed ``"steps"`` was as fast or faster (docs/results/many-workers.md).
    outer_optimizer : {"mean", "momentum", "nesterov", "adaptive"} or object
        The driver's step along the merged displacement.  ``"mean"`` applies it whole.  ``"momentum"`` is SlowMo and
        ``"nesterov"`` DiLoCo (:class:`~parsgd.algorithms.common.outer_optimizers.Momentum` sets rate and beta).
        ``"adaptive"`` adjusts its length and the workers' rates to the loss on probe rows
        (:class:`~parsgd.algorithms.common.adaptive_outer.Adaptive`).
    deadline : "auto", float or None
        Seconds after which a round ends even if some worker has not finished.  That worker reports its partial work and
        continues from there in the next round.  ``"auto"``: from the second round, ``median + 3 MAD`` of the workers'
        durations predicted from their last speeds.  Not together with ``seconds``.
    balance : "speed" or None
        With ``"speed"``, repartition the rows after a pass in proportion to the workers' speeds in the last round.
        This happens only if some share changes by more than a tenth.
    partition : {"shuffled", "contiguous", "replicated"}
        Assignment of rows to workers: a random part, a contiguous part, or draws from all rows.
    lengthen_after_epochs : int or None
        Number of passes after which the round length doubles with every pass, up to half a pass, because most of the
        benefit of merging comes early.  Default: constant length.  Not together with ``sync_every="adaptive"``, which
        shortens rounds.

    Notes
    -----
    With ``seconds``, ``deadline`` and ``balance``, results depend on the machine's speed by design.

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
            check_round_length(self.sync_every, "LocalSGD")
        check_between(self.seconds, 0, float("inf"), "seconds", "LocalSGD", optional=True)
        if self.rule is not None:
            choose(self.rule, RULES, "rule", "LocalSGD")
        if not isinstance(self.outer_optimizer, PlainOuterOptimizer):
            _check_outer_optimizer(self.outer_optimizer)
        if isinstance(self.deadline, str):
            choose(self.deadline, ("auto",), "deadline", "LocalSGD")
        else:
            check_between(self.deadline, 0, float("inf"), "deadline", "LocalSGD", optional=True)
        if self.seconds is not None and self.deadline is not None:
            raise InvalidArgumentError(
                f"LocalSGD accepts either seconds or deadline: seconds={self.seconds!r} already ends every round."
                f" Got deadline={self.deadline!r}; remove one of them."
            )
        check_count(self.lengthen_after_epochs, "lengthen_after_epochs", "LocalSGD")
        if self.lengthen_after_epochs is not None and (self.sync_every == "adaptive" or self._steps):
            raise InvalidArgumentError(
                "LocalSGD accepts lengthen_after_epochs only with a fraction of an epoch as sync_every. Got"
                f" lengthen_after_epochs={self.lengthen_after_epochs!r} and sync_every={self.sync_every!r}; remove one"
                " of them."
            )
        if self.balance is not None:
            choose(self.balance, ("speed",), "balance", "LocalSGD")
        choose(self.partition, ("shuffled", "contiguous", "replicated"), "partition", "LocalSGD")

    @property
    def _outer(self) -> OuterOptimizer:
        return (
            _OUTER_OPTIMIZERS[self.outer_optimizer] if isinstance(self.outer_optimizer, str) else self.outer_optimizer
        )

    @property
    def _rule(self) -> str:
        unequal = any(setting is not None for setting in (self.seconds, self.deadline, self.balance))
        # weights by steps account for the unvisited rows of slow workers; an adaptive step does not need them
        return self.rule or ("steps" if unequal and not self._outer.raises_rates else "uniform")

    @property
    def traits(self) -> AlgorithmTraits:
        return AlgorithmTraits(
            requires=required_by_rule(self._rule) | self._outer.requires,
            partition=self.partition,
            # weights learned on training rows would favor the worker that has visited most of them
            holds_out=self._rule in PROBE_ROW_RULES,
            # a subclass may merge differently
            planned=self._planned if type(self) is LocalSGD else "",
            outer_steps=isinstance(self._outer, Adaptive),
            reports_visits=self._rule in COORDINATE_RULES,
        )

    @property
    def _planned(self) -> str:
        """The merge of rounds that can be planned; empty if budgets or shards depend on results or on the epoch."""
        settings = (self.seconds, self.deadline, self.balance, self.lengthen_after_epochs)
        depends = isinstance(self.sync_every, str) or self._steps or any(setting is not None for setting in settings)
        return PLANNED_RULES.get(self._rule, "") if isinstance(self._outer, (Mean, Adaptive)) and not depends else ""

    @property
    def _steps(self) -> int:
        """The length of a round in steps; 0 if it is a fraction of an epoch."""
        return steps_of(self.sync_every)

    def n_probe_rows(self, n_rows: int) -> int:
        learning = sample_rows(n_rows) if self._rule in PROBE_ROW_RULES else 0
        return max(learning, self._outer.n_probe_rows(n_rows))

    def init_memory(self, fit_state: FitState) -> _Memory:
        sync_every = _FIRST_PERIOD if isinstance(self.sync_every, str) or self._steps else float(self.sync_every)
        seconds_per_example = np.full(fit_state.n_workers, np.nan)
        return _Memory(self._outer.init_memory(fit_state), None, sync_every, 0.0, 0, None, seconds_per_example)

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        return TaskSpec(
            self._budget(fit_state, worker),
            lr_factor=self._outer.lr_factor(fit_state, fit_state.memory.outer_optimizer),
            schedule_step_size=self._outer.schedule_step_size(fit_state.n_active),
        )

    def _budget(self, fit_state: FitState, worker: int) -> Budget:
        if self.seconds is not None:
            return Budget(fit_state.shard_rows[worker] * fit_state.max_epochs, self.seconds)
        if self._steps:
            return step_budget(fit_state, worker, self._steps, self._deadline(fit_state))
        return round_budget(fit_state, worker, self._period(fit_state, worker), self._deadline(fit_state))

    def _period(self, fit_state: FitState, worker: int) -> float:
        """Return the length of the worker's next round as a fraction of its shard."""
        sync_every = fit_state.memory.sync_every
        if self.lengthen_after_epochs is None:
            return sync_every
        passes = fit_state.cursors[worker] // max(fit_state.shard_rows[worker], 1)
        doublings = min(max(passes - self.lengthen_after_epochs + 1, 0), 64)
        return max(sync_every, min(sync_every * 2.0**doublings, _LONGEST_PERIOD))

    def _deadline(self, fit_state: FitState) -> float | None:
        """Return the common deadline; a late worker has fewer examples left for the next round and the same time."""
        if not isinstance(self.deadline, str):
            return self.deadline
        # once per round and not per worker, because it depends on all workers
        if "deadline" not in fit_state.derived:
            fit_state.derived["deadline"] = self._auto_deadline(fit_state)
        return fit_state.derived["deadline"]

    def _auto_deadline(self, fit_state: FitState) -> float | None:
        """Return the deadline from the workers' last speeds, or None before the first reports."""
        seconds_per_example = fit_state.memory.seconds_per_example
        known = np.isfinite(seconds_per_example)
        if not known.any():
            return None
        batch_size = fit_state.model.batch_size
        if self._steps:
            whole = np.full(fit_state.n_workers, self._steps * batch_size)
        else:
            sync_every = max(self._period(fit_state, worker) for worker in range(fit_state.n_workers))
            whole = longest_part(np.array(fit_state.shard_rows), batch_size, sync_every)
        return deadline(seconds_per_example[known], whole[known])

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        try:
            return run(model, shard, task, progress)
        except DivergedError:
            if not self._outer.raises_rates or task.n_workers == 1:
                raise
        # rates were raised by at most n_workers; divergence at the serial rates is an error
        return run(model, shard, replace(task, lr_scale=task.lr_scale / task.n_workers), mute_progress(progress))

    def merge_weights(self, fit_state: FitState, reports: Sequence[Report]) -> np.ndarray:
        return RULES["examples" if self._rule in COORDINATE_RULES else self._rule](fit_state, reports)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        return self.merge_planned(fit_state, reports, merge_by_rule(self._rule, fit_state, reports))

    def is_due(self, fit_state: FitState, examples: int) -> bool:
        return self._outer.is_due(fit_state, examples, fit_state.memory.outer_optimizer)

    def answer_weight(self, fit_state: FitState, examples: int) -> float:
        return self._outer.answer_weight(fit_state, examples)

    def merge_planned(self, fit_state: FitState, reports: Sequence[Report], merged: MergeResult) -> MergeResult:
        memory = self._update_memory(fit_state, reports)
        fractions = None
        if self.balance is not None:
            fractions = shares_by_speed(memory.seconds_per_example, fit_state.shard_rows)
        if not np.any(merged.weights):
            return MergeResult(fit_state.state, merged.weights, memory, memory.answer, fractions)
        step = self._outer.step(fit_state, reports, merged, memory.outer_optimizer)
        memory = memory._replace(outer_optimizer=step.memory, answer=step.answer)
        return MergeResult(step.state, merged.weights * step.factor, memory, step.answer, fractions, merged.work)

    def skip_rounds(self, fit_state: FitState, steps: int) -> _Memory:
        memory = fit_state.memory
        return memory._replace(outer_optimizer=self._outer.skip_rounds(fit_state, steps, memory.outer_optimizer))

    def _update_memory(self, fit_state: FitState, reports: Sequence[Report]) -> _Memory:
        """Update the loss sums and speeds in the memory from the reports."""
        memory = fit_state.memory
        memory = memory._replace(seconds_per_example=update_seconds_per_example(memory.seconds_per_example, reports))
        if self.sync_every != "adaptive":
            return memory
        loss = memory.loss + sum(fit_state.model.total_loss(report.loss) for report in reports)
        examples = memory.examples + sum(report.examples for report in reports)
        if examples < fit_state.n_rows:
            return memory._replace(loss=loss, examples=examples)
        mean = loss / examples
        if memory.first_loss is None:
            return memory._replace(loss=0.0, examples=0, first_loss=mean)
        sync_every = next_period(_FIRST_PERIOD, memory.sync_every, memory.first_loss, mean)
        return memory._replace(loss=0.0, examples=0, sync_every=sync_every)
