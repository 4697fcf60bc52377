"""Merge rules for workers of unequal speed, each at its own best rate.

Usage: python studies/unequal_rules.py DATA_FOLDER [--only adult ...] [--page-only]
       python studies/unequal_rules.py --quick --only adult --stored FILE.json --out FILE.md

The readings are in studies/readings/unequal_rules.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import datasets
from stored_study import Stored, StoredStudy

from benchmarks.time_to_goal import tasks
from parsgd import LocalSGD, SGDClassifier, Simulated, WeightedAverage
from parsgd.errors import DivergedError
from parsgd.utils import blas_threads

STUDY = StoredStudy("unequal_rules", one_core=True)
PROBLEMS = {"adult": 1e-5, "covtype": 1e-6, "nycflights_late": 1e-6, "enron_spam": 1e-6, "news20": 1e-6}
SPEEDS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1)
RULES = ("uniform", "steps", "wp", "fednova", "loss", "learned", "coordinate", "touched")
PASSES = 3
# A virtual second is one pass of a worker of speed 1 over all rows.
TOTAL, ROUND = PASSES / sum(SPEEDS), 0.01
# In units of 1 / (mean squared norm of a row).
RATES = tuple(float(f"{10.0 ** (step / 2):.1g}") for step in range(-5, 5))
QUICK_RATES = RATES[4:6]
SEEDS, TUNING_SEED = (0, 1, 2, 3, 4), 100
PAGE = """# Merge rules for workers of unequal speed

<!-- figures: python studies/unequal_rules.py DATA_FOLDER -->

This page compares the merge rules of ten workers with the speeds 1, 1, 1, 1, 1, 1/2, 1/2, 1/4, 1/4 and 1/10.
`python studies/unequal_rules.py DATA_FOLDER` writes it from the readings in `studies/readings/unequal_rules.json`, in
about {minutes} minutes of one core.

Each worker owns a tenth of the rows, assigned at random. All rules have the same virtual time, in which the workers
together visit {passes} times as many rows as there are. The model is logistic regression, one against all for several
classes, with a constant rate.

Each rule has the one of {n_rates} rates that gives it the least test loss with one seed, not used again. The figures
are the test losses of {n_seeds} other seeds, without the penalty and summed over the classes: mean ± standard
deviation. A figure is bold if it is the least of its column.

{about}

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


def measure(name: str, folder: Path | None, rates: tuple[float, ...], seeds: tuple[int, ...]) -> dict[str, Any]:
    """The losses at each rate with the seed of the tuning, and those with the other seeds at the best rate, by rule."""
    if folder is None:
        task = tasks.load("news20_one_vs_all" if name == "news20" else name, None)
        data = (task.X, task.X_test, task.y, task.y_test)
    else:
        data = getattr(datasets, name)(folder)
    alpha, unit, rows = PROBLEMS[name], unit_of(data[0]), []
    for rule in RULES:
        for in_rounds in (True, False):
            way = (data, alpha, rule, in_rounds)
            tried = [test_loss(*way, rate * unit, TUNING_SEED) for rate in rates]
            rate = rates[int(np.argmin(tried))]
            losses = [test_loss(*way, rate * unit, seed) for seed in seeds]
            rows.append({"rule": rule, "rounds": in_rounds, "rate": rate})
            rows[-1] |= {"tried": [finite(loss) for loss in tried], "losses": [finite(loss) for loss in losses]}
            print(f"  {rule}, {'in rounds' if in_rounds else 'one average'}: {rate:g}, {cell(losses)}", flush=True)
    return {"name": name, "n_rows": len(data[2]), "rates": rates, "rows": rows}


def finite(loss: float) -> float | None:
    """The loss, or None for a fit that diverged."""
    return loss if np.isfinite(loss) else None


def cell(losses: list[float | None]) -> str:
    """Mean and standard deviation."""
    if None in losses or not np.isfinite(losses).all():
        return "diverged"
    return f"{np.mean(losses):.4f} ± {np.std(losses, ddof=1 if len(losses) > 1 else 0):.1g}"


def by_rule(entry: dict[str, Any], in_rounds: bool) -> dict[str, dict[str, Any]]:
    """The rows of a data set in rounds, or of one average."""
    return {row["rule"]: row for row in entry["rows"] if row["rounds"] == in_rounds}


def table(found: list[dict[str, Any]], in_rounds: bool) -> str:
    """A row for each rule, a column for each problem."""
    columns = []
    for entry in found:
        losses = {rule: row["losses"] for rule, row in by_rule(entry, in_rounds).items()}
        means = {rule: np.inf if None in each else np.mean(each) for rule, each in losses.items()}
        best = min(means, key=means.get)
        columns.append({rule: f"**{cell(each)}**" if rule == best else cell(each) for rule, each in losses.items()})
    return rows_of_rules(found, columns)


def table_of_rates(found: list[dict[str, Any]]) -> str:
    """The best rates in rounds and with one average."""
    columns = []
    for entry in found:
        in_rounds, once = by_rule(entry, True), by_rule(entry, False)
        columns.append({rule: f"{in_rounds[rule]['rate']:g}, {once[rule]['rate']:g}" for rule in RULES})
    return rows_of_rules(found, columns)


def rows_of_rules(found: list[dict[str, Any]], columns: list[dict[str, str]]) -> str:
    """A table from the cells of each problem."""
    text = f"| rule | {' | '.join(entry['name'] for entry in found)} |\n|{'---|' * (len(found) + 1)}\n"
    return text + "".join(f"| `{rule}` | {' | '.join(each[rule] for each in columns)} |\n" for rule in RULES)


def page(stored: Stored, observations: str = "") -> str:
    """The page from the stored readings."""
    found = [stored[name] for name in PROBLEMS if name in stored]
    rates = found[0]["rates"]
    text = PAGE.format(
        minutes=math.ceil(sum(each["about"]["seconds"] for each in found) / 60.0),
        passes=PASSES,
        n_seeds=len(found[0]["rows"][0]["losses"]),
        n_rates=len(rates),
        rounds=round(TOTAL / ROUND),
        about="\n".join(sorted({each["about"]["text"] for each in found})),
        several=table(found, True),
        single=table(found, False),
        least=rates[0],
        most=rates[-1],
        rates=table_of_rates(found),
    )
    return text + observations


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, PROBLEMS, "DATASET", "2,000 generated rows, two rates, one seed")
    given = STUDY.parse(parser, arguments)
    sizes = (QUICK_RATES, SEEDS[:1]) if given.quick else (RATES, SEEDS)
    with blas_threads.one_thread():
        stored = STUDY.measure(given, lambda name, _: measure(name, given.folder, *sizes))
    STUDY.write(given, stored, page)


if __name__ == "__main__":
    main()
