"""An algorithm of one's own: rounds that end in the coordinate-wise median, which one wild worker cannot carry away.

(Yin, Chen, Kannan, Bartlett, "Byzantine-Robust Distributed Learning", ICML 2018, have it for gradients.)
"""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

from parsgd import SGDClassifier
from parsgd.algorithms.common.worker_loop import run
from parsgd.core import Budget, MergeResult, SynchronousAlgorithm


@dataclass(frozen=True)
class Median(SynchronousAlgorithm):
    """``w = median_i w_i``, number by number, after each pass of every worker over its rows."""

    name = "median"

    def budget(self, standing, worker):
        return Budget(examples=standing.shard_rows[worker])

    def run(self, model, shard, task, pulse):
        return run(model, shard, task, pulse)

    def merge(self, standing, reports):
        moved = [report.steps > 0 for report in reports]
        states = [np.asarray(report.state) for report in reports if report.steps > 0]
        return MergeResult(
            np.median(states, axis=0) if states else standing.state, np.array(moved) / max(1, sum(moved))
        )


if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    model = SGDClassifier("log_loss", algorithm=Median(), n_jobs=5, engine="serial", random_state=0).fit(X / 16, y)
    print("accuracy:", model.score(X / 16, y))
