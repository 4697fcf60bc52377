"""SimuParallelSGD: every worker runs SGD on its shard without talking, then one average.

run: SGD over all epochs.  quorum: all.  merge: ``v = 1/K sum_i w_i``.

Zinkevich, Weimer, Smola, Li, "Parallelized Stochastic Gradient Descent", NIPS 2010, algorithm 3; with
``partition="replicated"`` algorithm 2, in which every worker draws from the whole data set, with replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from parsgd.algorithms.common import merge_weights
from parsgd.algorithms.common.delayed_gradients import wrap_delay
from parsgd.algorithms.common.subsample import SubsampledShard, mute_progress, scale_budget
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
from parsgd.errors import InvalidArgumentError, check_between, check_count, choose


@dataclass(frozen=True)
class SimuParallel(SynchronousAlgorithm):
    """One-shot averaging of independent runs.

    Parameters
    ----------
    partition : {"shuffled", "contiguous", "replicated"}
        ``"shuffled"``: each worker owns ``1/K`` of the rows, dealt at random (algorithm 3).  ``"contiguous"``: it owns
        those that lie together; if the order of the rows tells anything of them (a sorted file) the workers learn
        different things, and :class:`~parsgd.errors.ShardSkewWarning` says so.  ``"replicated"``: each worker draws as
        many rows from the whole set, with replacement (algorithm 2).
    seconds : float or None
        End the one round after so many seconds, wherever each worker is.
    inner_delay : int or None
        What a worker does by itself.  None: SGD on batches of the model's ``batch_size``.  A number: delayed SGD, each
        gradient that many batches late, as on a node whose cores take turns; see
        :mod:`parsgd.algorithms.common.delayed_gradients`.  That is computed in NumPy, about 0.1 ms a batch, on one
        core.
    correction : float or None
        A fraction r < 1: each worker runs once more, on r of its rows, and sends ``(w - r w') / (1 - r)``, in which the
        bias that the smallness of its shard brings cancels (SAVGM;
        :func:`parsgd.algorithms.common.merge_weights.bias_corrected`). It takes 1 + r times as long.  For convex models
        run until they converge, with few rows a worker for their features: stopped earlier, what it takes away is
        progress rather than bias.

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

    name = "simuparallel"
    one_shot = True
    frees_start = True

    def __post_init__(self) -> None:
        choose(self.partition, ("shuffled", "contiguous", "replicated"), "partition", "SimuParallel")
        check_between(self.seconds, 0, float("inf"), "seconds", "SimuParallel", optional=True)
        check_count(self.inner_delay, "inner_delay", "SimuParallel")
        check_between(self.correction, 0, 0.9, "correction", "SimuParallel", optional=True)
        if self.correction is not None and self.partition == "replicated":
            raise InvalidArgumentError(
                "SimuParallel's correction is for workers that own their rows; with partition='replicated' they draw"
                " from all of them. Use partition='shuffled'."
            )

    def budget(self, standing: FitState, worker: int) -> Budget:
        return Budget(standing.shard_rows[worker] * standing.max_epochs, self.seconds)

    def run(self, model: Model, shard: Shard, task: Task, pulse: ProgressCallback) -> Report:
        model = wrap_delay(model, self.inner_delay)
        report = run(model, shard, task, pulse)
        # one worker is serial SGD
        if self.correction is None or task.n_workers == 1 or report.steps == 0:
            return report
        part = SubsampledShard(shard, self.correction, task.seed)
        if part.n_rows == 0:
            return report
        again = run(model, part, scale_budget(task, part), mute_progress(pulse))
        state = merge_weights.bias_corrected(report.state, again.state, part.n_rows / shard.n_rows)
        state = state.astype(report.state.dtype)
        state[model.nonnegative] = report.state[model.nonnegative]
        return replace(report, state=state, seconds=report.seconds + again.seconds)

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        return merge_weights.merge(standing.state, reports, merge_weights.uniform([r.steps for r in reports]))
