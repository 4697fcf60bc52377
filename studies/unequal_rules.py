"""Merge rules for workers of unequal speed, each at its own best rate.

Usage: python studies/unequal_rules.py DATA_FOLDER [--seeds 5] [--jobs 2] [--out docs/results/unequal-rules.md]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from joblib import Parallel, delayed

from parsgd import LocalSGD, SGDClassifier, Simulated, WeightedAverage
from parsgd.errors import DivergedError

PROBLEMS = {"adult": 1e-5, "covtype": 1e-6, "nycflights_late": 1e-6, "enron_spam": 1e-6, "news20": 1e-6}
SPEEDS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1)
RULES = ("uniform", "steps", "wp", "fednova", "loss", "learned", "coordinate", "touched")
PASSES = 3
# A virtual second is one pass of a worker of speed 1 over all rows.
TOTAL, ROUND = PASSES / sum(SPEEDS), 0.01
# In units of 1 / (mean squared norm of a row).
RATES = tuple(float(f"{10.0 ** (step / 2):.1g}") for step in range(-5, 5))
TUNING_SEED = 100
PAGE = """# Merge rules for workers of unequal speed

<!-- figures: python studies/unequal_rules.py DATA_FOLDER -->

This page compares the merge rules of ten workers with the speeds 1, 1, 1, 1, 1, 1/2, 1/2, 1/4, 1/4 and 1/10.
`studies/unequal_rules.py` writes it. Each worker owns a tenth of the rows, assigned at random. All rules have the same
virtual time, in which the workers together visit {passes} times as many rows as there are. The model is logistic
regression, one against all for several classes, with a constant rate.

Each rule has the one of {n_rates} rates that gives it the least test loss with one seed, not used again. The figures
are the test losses of {seeds} other seeds, without the penalty and summed over the classes: mean ± standard deviation.
A figure is bold if it is the least of its column.

## Merges in rounds

A round is a tenth of a fast worker's pass over its own rows; there are {rounds} rounds.

{several}
## One average at the end

{single}
## Rates

Best rates in units of 1 / (mean squared norm of a row), in rounds and with one average. All rates were tried from
{least:g} to {most:g}, a factor of about three apart.

{rates}
"""


def algorithm_of(rule: str, in_rounds: bool) -> Any:
    """Local SGD in rounds of equal time, or one average after the whole time."""
    return LocalSGD(seconds=ROUND, rule=rule) if in_rounds else WeightedAverage(rule, seconds=TOTAL)


def test_loss(data: Any, alpha: float, rule: str, in_rounds: bool, rate: float, seed: int) -> float:
    """The test loss of a fit; infinite if it diverges."""
    warnings.simplefilter("ignore")
    X, X_test, y, y_test = data
    model = SGDClassifier(
        "log_loss",
        alpha=alpha,
        learning_rate="constant",
        eta0=rate,
        # a fit of one average ends with its time
        max_iter=PASSES if in_rounds else 1000,
        tol=None,
        random_state=seed,
        n_jobs=len(SPEEDS),
        algorithm=algorithm_of(rule, in_rounds),
        engine=Simulated(speeds=SPEEDS, rate=float(len(y))),
    )
    try:
        decision = model.fit(X, y).decision_function(X_test).astype(float)
    except DivergedError:
        return np.inf
    decision = decision.reshape(len(y_test), -1)
    classes = model.classes_[1:] if decision.shape[1] == 1 else model.classes_
    signs = np.where(y_test[:, None] == classes, 1.0, -1.0)
    loss = float(np.logaddexp(0.0, -signs * decision).sum(axis=1).mean())
    return loss if np.isfinite(loss) else np.inf


def unit_of(X: Any) -> float:
    """One divided by the mean squared norm of a row."""
    values = np.asarray(X.data if hasattr(X, "indptr") else X, dtype=float).ravel()
    return X.shape[0] / float(values @ values)


def compare(run: Parallel, data: Any, alpha: float, seeds: int) -> dict[tuple[str, bool], tuple[float, np.ndarray]]:
    """The best rate of each rule, and its losses with the seeds."""
    unit, ways = unit_of(data[0]), [(rule, in_rounds) for rule in RULES for in_rounds in (True, False)]
    tried = run(delayed(test_loss)(data, alpha, *way, rate * unit, TUNING_SEED) for way in ways for rate in RATES)
    best = {way: RATES[int(np.argmin(row))] for way, row in zip(ways, np.reshape(tried, (len(ways), -1)), strict=True)}
    found = run(delayed(test_loss)(data, alpha, *way, best[way] * unit, seed) for way in ways for seed in range(seeds))
    return {way: (best[way], row) for way, row in zip(ways, np.reshape(found, (len(ways), -1)), strict=True)}


def table(results: dict[str, dict], in_rounds: bool) -> str:
    """A row for each rule, a column for each problem."""
    means = {name: [found[rule, in_rounds][1].mean() for rule in RULES] for name, found in results.items()}
    text = f"| rule | {' | '.join(results)} |\n|{'---|' * (len(results) + 1)}\n"
    for at, rule in enumerate(RULES):
        cells = []
        for name, found in results.items():
            losses = found[rule, in_rounds][1]
            cell = f"{losses.mean():.4f} ± {losses.std(ddof=1):.1g}" if np.isfinite(losses).all() else "diverged"
            cells.append(f"**{cell}**" if at == int(np.argmin(means[name])) else cell)
        text += f"| `{rule}` | {' | '.join(cells)} |\n"
    return text


def table_of_rates(results: dict[str, dict]) -> str:
    """The best rates in rounds and with one average."""
    text = f"| rule | {' | '.join(results)} |\n|{'---|' * (len(results) + 1)}\n"
    for rule in RULES:
        cells = (f"{found[rule, True][0]:g}, {found[rule, False][0]:g}" for found in results.values())
        text += f"| `{rule}` | {' | '.join(cells)} |\n"
    return text


def main() -> None:
    """Run all problems and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--out", type=Path, default=Path("docs/results/unequal-rules.md"))
    given = parser.parse_args()
    results = {}
    with Parallel(n_jobs=given.jobs) as run:
        for name in given.problems:
            results[name] = compare(run, getattr(datasets, name)(given.folder), PROBLEMS[name], given.seeds)
            print(name, table({name: results[name]}, True), table({name: results[name]}, False), sep="\n", flush=True)
    text = PAGE.format(
        passes=PASSES,
        seeds=given.seeds,
        n_rates=len(RATES),
        rounds=round(TOTAL / ROUND),
        several=table(results, True),
        single=table(results, False),
        least=RATES[0],
        most=RATES[-1],
        rates=table_of_rates(results),
    )
    reading = Path(__file__).with_name("readings") / "unequal-rules.md"
    given.out.write_text(text + (reading.read_text() if reading.exists() else ""))


if __name__ == "__main__":
    main()
