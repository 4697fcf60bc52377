"""Which weights for the average of workers of unequal speed?  One shot, equal time, on real data.

Usage: python studies/merging.py [DATA_FOLDER] [--seeds 5] [--out docs/results/merging.md]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import numpy as np

from parsgd import SGDClassifier, WeightedAverage
from parsgd.core import Budget, EngineDefaults
from parsgd.engines.serial import Serial

SPEEDS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1)
PROBLEMS = {"adult": 1e-4, "covtype": 1e-4, "news20": 1e-6, "enron_spam": 1e-6}
PASSES = (1, 5)
RULES = ("uniform", "steps", "wp", "loss", "fednova", "learned")
HEADER = """# Merge weights of unequal workers

<!-- figures: python studies/merging.py DATA_FOLDER -->

This page compares rules for the weights of one average. `studies/merging.py` writes it. Ten workers have equal shards,
assigned at random, and the speeds 1, 1, 1, 1, 1, 1/2, 1/2, 1/4, 1/4 and 1/10. They run for the time in which the
fastest make one pass (or five), and then average once. `rule="learned"` holds its sample (2 % of the rows, at least
1,000, at most 5,000) out of the training rows. The other rules train on all of them.

The figures are the test loss, summed over classes, and in brackets the test error: means of {seeds} seeds. The models
have `log_loss`, `alpha=1e-4` (enron_spam, news20: `1e-6`) and default rates. The last columns are the sum of the
learned weights, and the learned loss divided by that of the best other rule, for the worst seed.

"""


@dataclass(frozen=True)
class Unequal(EngineDefaults):
    """An engine whose workers do a part of their budgets, as slow ones would in the same time."""

    name = "unequal"
    capabilities = frozenset()

    def open(self, work, shards, progress):
        def part(shard, task, progress):
            examples = int(task.budget.examples * SPEEDS[task.worker])
            return work(shard, replace(task, budget=Budget(examples)), progress)

        return Serial().open(part, shards, progress)


def measure(data, alpha: float, passes: int, rule: str, seed: int) -> tuple[float, float, float]:
    """Test loss, share of errors, and the sum of the weights."""
    X, X_test, y, y_test = data
    model = SGDClassifier(
        "log_loss",
        alpha=alpha,
        max_iter=passes,
        tol=None,
        n_jobs=len(SPEEDS),
        engine=Unequal(),
        random_state=seed,
        algorithm=WeightedAverage(rule=rule),
    ).fit(X, y)
    decision = model.decision_function(X_test).astype(np.float64)
    decision = decision.reshape(len(y_test), -1)
    right = y_test[:, None] == (model.classes_[1:] if decision.shape[1] == 1 else model.classes_)
    loss = np.logaddexp(0.0, np.where(right, -decision, decision)).sum(axis=1).mean()
    weights = sum(worker["weight"] for worker in model.history_[0]["workers"])
    return float(loss), 1.0 - model.score(X_test, y_test), weights


def row(name: str, data, passes: int, seeds: int) -> str:
    found = np.array([[measure(data, PROBLEMS[name], passes, rule, s) for rule in RULES] for s in range(seeds)])
    mean = found.mean(axis=0)
    best = int(mean[:, 0].argmin())
    cells = [f"{'**' * (i == best)}{m[0]:.4g}{'**' * (i == best)} ({m[1]:.1%})" for i, m in enumerate(mean)]
    worst = (found[:, -1, 0] / found[:, :-1, 0].min(axis=1)).max()
    return f"| {name} | {passes} | {' | '.join(cells)} | {mean[-1, 2]:.2f} | {worst:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="data", type=Path)
    parser.add_argument("--seeds", default=5, type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    lines = [f"| data | passes | {' | '.join(RULES)} | sum | worst |", "|" + "---|" * (len(RULES) + 4)]
    for name in PROBLEMS:
        data = getattr(datasets, name)(given.folder)
        for passes in PASSES:
            lines.append(row(name, data, passes, given.seeds))
            print(lines[-1], flush=True)
    if given.out:
        # what is to be read from the table is written by hand
        old = given.out.read_text() if given.out.exists() else ""
        reading = old[old.index("\n## ") :] if "\n## " in old else ""
        given.out.write_text(HEADER.format(seeds=given.seeds) + "\n".join(lines) + "\n" + reading)


if __name__ == "__main__":
    main()
