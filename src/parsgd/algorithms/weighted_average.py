"""WP-SGD: one-shot weighted averaging for workers with unequal amounts of work.

Cheng, Li, Zhang, "WP-SGD: Weighted Parallel SGD for Distributed Unbalanced-Workload Training System", arXiv 1708.04801
(JPDC 145, 2020).  The text of the paper was not available; the formula is our reading of its abstract and of the
contraction lemma it builds on.

Round (a single one): the worker runs SGD until the examples or seconds are used up, optionally with delayed gradients;
the driver waits for all reports; merge = ``w + sum_i a_i (w_i - w)`` with ``a_i ~ rho^(T_max - T_i)``, or with the
weights of another rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from parsgd.algorithms.common.delayed_gradients import required_by_delay, run_with_delay
from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging import merge_weights
from parsgd.algorithms.merging.learned_weights import sample_rows
from parsgd.algorithms.merging.merge_rules import (
    COORDINATE_RULES,
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
    StartRun,
    SynchronousAlgorithm,
    Task,
    TaskSpec,
    no_progress,
)
from parsgd.errors import check_between, check_count, choose

# Bounds on the examples used to measure the contraction, 1 % of the shard.
_FEWEST_PROBES, _MOST_PROBES = 200, 20_000


@dataclass(frozen=True)
class WeightedAverage(SynchronousAlgorithm):
    """One-shot weighted averaging for workers of unequal speed.

    Parameters
    ----------
    rule : {"wp", "measured", "steps", "examples", "uniform", "loss", "fednova", "learned"}
        Merge weights ``a_i`` of the workers.

        - ``"wp"``: ``a_i ~ prod (1 - eta_t alpha)^-1`` over worker i's steps.  At a constant rate this equals
          ``(1 - eta alpha)^(T_max - T_i)``; with ``learning_rate="optimal"`` it telescopes to ``a_i ~ t0 + T_i``.
        - ``"measured"``: as ``"wp"``, with the measured contraction per step of two runs from different points on
          identical examples.
        - ``"steps"``: ``a_i ~ T_i``.
        - ``"examples"``: proportional to the examples visited.
        - ``"uniform"``: equal weights.
        - ``"loss"``: larger weights for workers with smaller losses.
        - ``"fednova"``: every worker's displacement is divided by its steps.
        - ``"learned"``: the weights that minimize the merged model's loss on held-out rows, 2 % of all
          (:mod:`parsgd.algorithms.merging.learned_weights`); they need not sum to 1.
    seconds : float or None
        End the round after this time.  Default: every worker runs all its epochs.
    partition : {"shuffled", "contiguous", "replicated"}
        Assignment of rows to workers: a random part, a contiguous part, or draws from all rows.
    inner_delay : int or None
        Delay of a worker's gradients in batches.  Default: SGD on batches of the model's ``batch_size``.  A number
        means delayed SGD inside each worker, as on a node with several cores; see
        :mod:`parsgd.algorithms.common.delayed_gradients`.  It takes two calls per batch on one core, about 0.1 ms.

    Examples
    --------
    >>> from parsgd import SGDClassifier, WeightedAverage
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=WeightedAverage(rule="steps"), n_jobs=2, max_iter=3, tol=None, random_state=0)
    >>> model = model.fit(scale(X), y)
    >>> [round(w["weight"], 2) for w in model.history_[-1]["workers"]]
    [0.5, 0.5]
    """

    rule: str = "wp"
    seconds: float | None = None
    partition: str = "shuffled"
    inner_delay: int | None = None

    name = "weighted"

    @property
    def traits(self) -> AlgorithmTraits:
        return AlgorithmTraits(
            requires=required_by_rule(self.rule) | required_by_delay(self.inner_delay),
            partition=self.partition,
            one_shot=True,
            holds_out=self.rule in PROBE_ROW_RULES,
            reports_visits=self.rule in COORDINATE_RULES,
            may_overwrite_start=self.rule != "measured",
        )

    def __post_init__(self) -> None:
        choose(self.rule, (*RULES, "measured"), "rule", "WeightedAverage")
        choose(self.partition, ("shuffled", "contiguous", "replicated"), "partition", "WeightedAverage")
        check_between(self.seconds, 0, float("inf"), "seconds", "WeightedAverage", optional=True)
        check_count(self.inner_delay, "inner_delay", "WeightedAverage")

    def n_probe_rows(self, n_rows: int) -> int:
        return sample_rows(n_rows) if self.rule in PROBE_ROW_RULES else 0

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        return TaskSpec(Budget(fit_state.shard_rows[worker] * fit_state.max_epochs, self.seconds))

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        start_run = run_with_delay(model, self.inner_delay)
        report = run(model, shard, task, progress, start_run=start_run)
        if self.rule == "measured" and report.steps > 0:
            per_step = measure_contraction(model, start_run, shard, task, report)
            report = replace(report, log_contraction=per_step * report.steps)
        return report

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        if self.rule != "measured":
            return merge_by_rule(self.rule, fit_state, reports)
        weights = self.weights(fit_state, reports)
        return merge_weights.merge(fit_state.state, reports, weights, fit_state.model.nonnegative)

    def weights(self, fit_state: FitState, reports: Sequence[Report]) -> np.ndarray:
        """Return the weight of each report."""
        if self.rule != "measured":
            return RULES[self.rule](fit_state, reports)
        steps = np.array([report.steps for report in reports])
        logs = np.array([report.log_contraction for report in reports])
        if steps.any():
            # one rate for all workers, because each measured the same quantity with noise; if the learning rates are
            # so large that runs diverge from each other, all weights are equal
            logs = steps * min(logs.sum() / steps.sum(), 0.0)
        return merge_weights.wp_sgd(logs, steps)


def measure_contraction(model: Model, start_run: StartRun, shard: Shard, task: Task, report: Report) -> float:
    """Return ``log(rho)`` per step, the contraction of the distance between two runs of ``start_run``.

    One run starts from the round's start, the other from its end.  Both visit the same examples at the same rates, so
    only their starts differ.  The distance covers the whole state.
    """
    examples = int(np.clip(shard.n_rows // 100, _FEWEST_PROBES, _MOST_PROBES))
    budget = Budget(min(examples, shard.n_rows))
    probe = replace(task, budget=budget, schedule_step=report.schedule_step, lr_scale=np.ones(model.n_outputs))
    near = run(model, shard, replace(probe, state=report.state), no_progress, start_run=start_run)
    far = run(model, shard, probe, no_progress, start_run=start_run)
    before = np.linalg.norm(report.state.astype(float) - task.state)
    after = np.linalg.norm(near.state.astype(float) - far.state)
    if before == 0.0 or near.steps == 0:
        return 0.0
    return float(np.log(max(after / before, 1e-300)) / near.steps)
