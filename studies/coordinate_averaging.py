"""Averaging per coordinate against other merge rules: test losses, each rule at its own best learning rate.

Usage: python studies/coordinate_averaging.py DATA_FOLDER [--datasets enron_spam news20] [--workers 2 8 32]
           [--rules uniform coordinate] [--passes 1] [--seeds 3] [--rates 6] [--merges 100] [--alpha 0] [--adagrad]
           [--save]

One pass of all workers together, on the serial engine.  Rates are constant, or AdaGrad's, from a grid of powers of two,
which is extended while the best rate is at its edge.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

if __package__ in (None, ""):
    # a script has its own folder first in the path, and needs the root of the repository
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import datasets
import numpy as np

from benchmarks import stored_tables
from benchmarks.markdown import NOTHING, table
from parsgd import LocalSGD, SGDClassifier
from parsgd.errors import DivergedError

RULES = ("uniform", "learned", "coordinate", "touched")
# The first rate of each grid.
FIRST_RATES = {"enron_spam": 4.0, "news20": 4.0, "covtype": 0.0005, "adult": 0.005}
FIRST_ADAGRAD_RATES = {"enron_spam": 0.1, "news20": 0.1, "covtype": 0.01, "adult": 0.02}
MOST_RATES = 12


def load(folder: Path, name: str):
    """Return the split of a data set; news20 as the first ten classes against the last ten."""
    X, X_test, y, y_test = getattr(datasets, name)(folder)
    return (X, X_test, y // 10, y_test // 10) if name == "news20" else (X, X_test, y, y_test)


def loss_of_fit(data, rate: float, seed: int, arguments: argparse.Namespace, **settings) -> float:
    """Return the test loss of one fit; infinity for one that diverges."""
    X, X_test, y, y_test = data
    model = SGDClassifier(
        "log_loss",
        penalty="l2" if arguments.alpha else None,
        alpha=arguments.alpha,
        learning_rate="adagrad" if arguments.adagrad else "constant",
        eta0=rate,
        max_iter=arguments.passes,
        tol=None,
        random_state=seed,
        engine="serial",
        **settings,
    )
    try:
        model.fit(X, y)
    except DivergedError:
        return np.inf
    decision = model.decision_function(X_test).astype(np.float64)
    return float(np.logaddexp(0.0, np.where(y_test == model.classes_[1], -decision, decision)).mean())


def best_loss(data, first_rate: float, arguments: argparse.Namespace, **settings) -> tuple[float, float, float]:
    """Return mean and standard deviation of the test losses at the best rate, and this rate."""
    losses: dict[int, list[float]] = {}

    def measure(power: int) -> None:
        rate = first_rate * 2.0**power
        losses[power] = [loss_of_fit(data, rate, seed, arguments, **settings) for seed in range(arguments.seeds)]

    def mean(power: int) -> float:
        return float(np.mean(losses[power]))

    for power in range(arguments.rates):
        measure(power)
    while len(losses) < MOST_RATES and (best := min(losses, key=mean)) in (min(losses), max(losses)):
        measure(best - 1 if best == min(losses) else best + 1)
    best = min(losses, key=mean)
    return mean(best), float(np.std(losses[best])), first_rate * 2.0**best


def rows_of_table(name: str, data, arguments: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the rows of one data set; those of one worker have their loss in the first column."""
    first = (FIRST_ADAGRAD_RATES if arguments.adagrad else FIRST_RATES)[name]

    def cell(**settings) -> str:
        mean, deviation, rate = best_loss(data, first, arguments, **settings)
        return f"{mean:.4f} ± {deviation:.4f} ({rate:g})"

    for solver, settings in (("last iterate", {}), ("averaged iterates", {"average": True})):
        yield [name, f"1 ({solver})", cell(n_jobs=1, **settings), *[NOTHING] * (len(arguments.rules) - 1)]
    for n_workers in arguments.workers:
        cells = []
        for rule in arguments.rules:
            algorithm = LocalSGD(1.0 / arguments.merges, rule=rule)
            cells.append(cell(n_jobs=n_workers, algorithm=algorithm))
        yield [name, str(n_workers), *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--datasets", nargs="+", choices=FIRST_RATES, default=["enron_spam", "news20"])
    parser.add_argument("--workers", nargs="+", type=int, default=[2, 8, 32])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=int, default=6)
    parser.add_argument("--merges", type=int, default=100, help="merges per pass")
    parser.add_argument("--alpha", type=float, default=0.0)
    parser.add_argument("--adagrad", action="store_true")
    stored_tables.add_option(parser, "coordinate_averaging")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.datasets:
        data = load(arguments.data, name)
        for row in rows_of_table(name, data, arguments):
            rows.append(row)
            print(" | ".join(row), file=sys.stderr, flush=True)
    text = f"Test loss ± standard deviation over {arguments.seeds} seeds, in brackets the best rate:\n"
    stored_tables.show(f"{text}\n{table(['data', 'workers', *arguments.rules], rows)}", arguments.save, __file__)


if __name__ == "__main__":
    main()
