"""WP-SGD: one-shot averaging of workers that did unequal amounts of work, weighted by how far each one came.

run: SGD until the round's examples or seconds are used up; inside a node it may be mini-batch or delayed SGD.  quorum:
all.  merge: ``v = w + sum_i a_i (w_i - w)`` with ``a_i ~ rho^(T_max - T_i)``, or by another rule.

Cheng, Li, Zhang, "WP-SGD: Weighted Parallel SGD for Distributed Unbalanced-Workload Training System", arXiv 1708.04801
(JPDC 145, 2020).  The text of the paper could not be had; the formula is our reading of its abstract and of the
contraction lemma it builds on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from parsgd.algorithms.common import merge_weights
from parsgd.algorithms.common.delayed_gradients import wrap_delay
from parsgd.algorithms.common.learned_weights import sample_rows
from parsgd.algorithms.common.merge_rules import LOOKING, RULES
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
    no_progress,
)
from parsgd.errors import check_between, check_count, choose

# Examples on which the contraction is measured: 1 % of the shard, between these.
_FEWEST_PROBES, _MOST_PROBES = 200, 20_000


@dataclass(frozen=True)
class WeightedAverage(SynchronousAlgorithm):
    """One-shot weighted averaging for workers of unequal speed.

    Parameters
    ----------
    rule : {"wp", "measured", "steps", "examples", "uniform", "loss", "fednova", "learned"}
        ``"wp"``: ``a_i ~ prod (1 - eta_t alpha)^-1`` over worker i's steps, which is ``(1 - eta alpha)^(T_max - T_i)``
        at a constant rate, and with ``learning_rate="optimal"`` telescopes to ``a_i ~ t0 + T_i``.
        ``"measured"``: the same with the contraction per step that two runs from different points, on identical
        examples, really show.  ``"steps"``: ``a_i ~ T_i``; ``"examples"``: by the examples visited.  ``"uniform"``: all
        alike.  ``"loss"``: who met smaller losses counts more.  ``"fednova"``: every worker's move is divided by its
        steps.  ``"learned"``: the weights that make the merged model's loss smallest on a few rows, 2 % of all, which
        are held back for it (:mod:`parsgd.algorithms.common.learned_weights`); they need not sum to 1.
    seconds : float or None
        End the round after so many seconds, wherever each worker is.  Without it every worker makes all its epochs.
    partition : {"shuffled", "contiguous", "replicated"}
        Whether workers own rows dealt at random, or rows that lie together, or draw from all of them.
    inner_delay : int or None
        What a worker does by itself.  None: SGD on batches of the model's ``batch_size``.  A number: delayed SGD, each
        gradient that many batches late, as on a node whose cores take turns; see
        :mod:`parsgd.algorithms.common.delayed_gradients`.  That is computed in NumPy, about 0.1 ms a batch, on one
        core.

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
    one_shot = True

    @property
    def frees_start(self) -> bool:
        return self.rule != "measured"

    def __post_init__(self) -> None:
        choose(self.rule, (*RULES, "measured"), "rule", "WeightedAverage")
        choose(self.partition, ("shuffled", "contiguous", "replicated"), "partition", "WeightedAverage")
        check_between(self.seconds, 0, float("inf"), "seconds", "WeightedAverage", optional=True)
        check_count(self.inner_delay, "inner_delay", "WeightedAverage")

    @property
    def holds_out(self) -> bool:
        return self.rule in LOOKING

    def n_probe_rows(self, n_rows: int) -> int:
        return sample_rows(n_rows) if self.rule in LOOKING else 0

    def budget(self, standing: FitState, worker: int) -> Budget:
        return Budget(standing.shard_rows[worker] * standing.max_epochs, self.seconds)

    def run(self, model: Model, shard: Shard, task: Task, pulse: ProgressCallback) -> Report:
        model = wrap_delay(model, self.inner_delay)
        report = run(model, shard, task, pulse)
        if self.rule == "measured" and report.steps > 0:
            per_step = measure_contraction(model, shard, task, report)
            report = replace(report, log_contraction=per_step * report.steps)
        return report

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        weights = self.weights(standing, reports)
        return merge_weights.merge(standing.state, reports, weights, standing.model.nonnegative)

    def weights(self, standing: FitState, reports: Sequence[Report]) -> np.ndarray:
        """The weight of each report."""
        if self.rule != "measured":
            return RULES[self.rule](standing, reports)
        steps = np.array([report.steps for report in reports])
        logs = np.array([report.log_contraction for report in reports])
        if steps.any():
            # one rate for all: the workers measured the same quantity, each with noise; where steps drive runs apart,
            # because the rates are too large, there is nothing to weigh by
            logs = steps * min(logs.sum() / steps.sum(), 0.0)
        return merge_weights.wp_sgd(logs, steps)


def measure_contraction(model: Model, shard: Shard, task: Task, report: Report) -> float:
    """``log(rho)`` per step: how fast runs from the round's start and from its end approach each other.

    Both runs see the same examples at the same rates, so that what separates them is their start alone; the distance
    is taken over the whole state.
    """
    examples = int(np.clip(shard.n_rows // 100, _FEWEST_PROBES, _MOST_PROBES))
    budget = Budget(min(examples, shard.n_rows))
    probe = replace(task, budget=budget, schedule_step=report.schedule_step, lr_scale=np.ones(model.n_outputs))
    near = run(model, shard, replace(probe, state=report.state), no_progress)
    far = run(model, shard, probe, no_progress)
    before = np.linalg.norm(report.state.astype(float) - task.state)
    after = np.linalg.norm(near.state.astype(float) - far.state)
    if before == 0.0 or near.steps == 0:
        return 0.0
    return float(np.log(max(after / before, 1e-300)) / near.steps)
