"""A custom algorithm: local SGD that merges by the coordinate-wise median, which is robust to one faulty worker.

Yin, Chen, Kannan, Bartlett, "Byzantine-Robust Distributed Learning", ICML 2018, use it for gradients.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

from parsgd import SGDClassifier
from parsgd.algorithms.common.worker_loop import run
from parsgd.core import Budget, MergeResult, SynchronousAlgorithm, TaskSpec


@dataclass(frozen=True)
class Median(SynchronousAlgorithm):
    """``w = median_i w_i``, elementwise, after each pass of every worker over its rows."""

    name = "median"

    def next_task(self, fit, worker):
        return TaskSpec(Budget(examples=fit.shard_rows[worker]))

    def run(self, model, shard, task, progress):
        return run(model, shard, task, progress)

    def merge(self, fit, reports):
        stepped = [report.steps > 0 for report in reports]
        states = [np.asarray(report.state) for report in reports if report.steps > 0]
        return MergeResult(np.median(states, axis=0) if states else fit.state, np.array(stepped) / max(1, sum(stepped)))


if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    model = SGDClassifier("log_loss", algorithm=Median(), n_jobs=5, engine="serial", random_state=0).fit(X / 16, y)
    print("accuracy:", model.score(X / 16, y))
