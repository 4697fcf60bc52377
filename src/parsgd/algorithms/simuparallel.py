"""SimuParallelSGD.

Zinkevich, Weimer, Smola, Li, "Parallelized Stochastic Gradient Descent", NIPS 2010, algorithm 3.  With
``partition="replicated"``, algorithm 2, in which every worker draws from the whole data set with replacement.

Round (a single one): the worker runs SGD on its shard for all epochs; the driver waits for all reports;
merge = ``1/K sum_i w_i``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from parsgd.algorithms.common.delayed_gradients import required_by_delay, run_with_delay
from parsgd.algorithms.common.subsample import SubsampledShard, mute_progress, scale_budget
from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging import merge_weights
from parsgd.algorithms.merging.merge_rules import COORDINATE_RULES, merge_by_rule, required_by_rule
from parsgd.algorithms.merging.sparse_reports import expand
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
    has_features,
)
from parsgd.errors import InvalidArgumentError, check_between, check_count, choose


@lru_cache(maxsize=64)
def _traits(rule: str, inner_delay: int, partition: str) -> AlgorithmTraits:
    """Return the traits, read several times per small ``partial_fit``."""
    return AlgorithmTraits(
        requires=required_by_rule(rule) | required_by_delay(inner_delay),
        partition=partition,
        one_shot=True,
        reports_visits=rule in COORDINATE_RULES,
        may_overwrite_start=True,
    )


@dataclass(frozen=True)
class SimuParallel(SynchronousAlgorithm):
    """One-shot averaging of independent runs.

    Parameters
    ----------
    partition : {"shuffled", "contiguous", "replicated"}
        ``"shuffled"``: each worker owns a random ``1/K`` of the rows (algorithm 3).  ``"contiguous"``: it owns adjacent
        rows.  If the order of the rows is informative (a sorted file), the workers learn different models, and
        :class:`~parsgd.errors.ShardSkewWarning` reports it.  ``"replicated"``: each worker draws the same number of
        rows from the whole set, with replacement (algorithm 2).
    seconds : float or None
        End the single round after this time.  Default: every worker runs all its epochs.
    inner_delay : int or None
        Delay of a worker's gradients in batches.  Default: SGD on batches of the model's ``batch_size``.  A number
        means delayed SGD inside each worker, as on a node with several cores; see
        :mod:`parsgd.algorithms.common.delayed_gradients`.  It takes two calls per batch on one core, about 0.1 ms.
    correction : float or None
        A fraction r < 1 for bias correction (SAVGM; :func:`parsgd.algorithms.merging.merge_weights.bias_corrected`).
        Each worker makes a second run on r of its rows and sends ``(w - r w') / (1 - r)``, in which the bias of a small
        shard cancels.  The fit takes 1 + r times as long.  Use it for convex models run to convergence, with few rows
        per worker relative to the features.  Before convergence the correction removes progress instead of bias.
    rule : {"uniform", "coordinate", "touched"}
        Merge rule: the papers' mean, or a mean per coordinate as in :class:`~parsgd.LocalSGD`.
        :class:`~parsgd.WeightedAverage` has the other rules.

    Examples
    --------
    >>> from parsgd import SGDClassifier, SimuParallel
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=SimuParallel(), n_jobs=2, random_state=0).fit(scale(X), y)
    >>> model.score(scale(X), y) > 0.95
    True
    """

    partition: str = "shuffled"
    seconds: float | None = None
    inner_delay: int | None = None
    correction: float | None = None
    rule: str = "uniform"

    name = "simuparallel"

    @property
    def traits(self) -> AlgorithmTraits:
        return _traits(self.rule, self.inner_delay, self.partition)

    def __post_init__(self) -> None:
        choose(self.partition, ("shuffled", "contiguous", "replicated"), "partition", "SimuParallel")
        check_between(self.seconds, 0, float("inf"), "seconds", "SimuParallel", optional=True)
        check_count(self.inner_delay, "inner_delay", "SimuParallel")
        choose(self.rule, ("uniform", *COORDINATE_RULES), "rule", "SimuParallel")
        check_between(self.correction, 0, 0.9, "correction", "SimuParallel", optional=True)
        if self.correction is not None and self.partition == "replicated":
            raise InvalidArgumentError(
                "SimuParallel's correction is for workers that own their rows; with partition='replicated' they draw"
                " from all of them. Use partition='shuffled'."
            )

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        return TaskSpec(Budget(fit_state.shard_rows[worker] * fit_state.max_epochs, self.seconds))

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        start_run = run_with_delay(model, self.inner_delay)
        report = run(model, shard, task, progress, start_run=start_run, bounds_contraction=False)
        # one worker is serial SGD
        if self.correction is None or task.n_workers == 1 or report.steps == 0:
            return report
        part = SubsampledShard(shard, self.correction, task.seed)
        if part.n_rows == 0:
            return report
        again_task = replace(scale_budget(task, part), counts_visits=False)
        again = run(model, part, again_task, mute_progress(progress), start_run=start_run)
        report = expand(report, model, task.state) if has_features(model) else report
        state = merge_weights.bias_corrected(report.state, again.state, part.n_rows / shard.n_rows)
        state = state.astype(report.state.dtype)
        state[model.nonnegative] = report.state[model.nonnegative]
        return replace(report, state=state, seconds=report.seconds + again.seconds)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        return merge_by_rule(self.rule, fit_state, reports)
