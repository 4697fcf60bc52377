"""Workers of unequal speed at equal time: merge weights for one average.

Usage: python studies/unequal_average.py DATA_FOLDER [--seeds 3] [--out docs/results/unequal-average.md]

The time to a loss with rounds is in studies/unequal.py.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from watching import Data, Kept

from parsgd import LocalSGD, SGDClassifier, Simulated, SimuParallel, WeightedAverage
from parsgd.algorithms.merging.merge_rules import RULES
from parsgd.algorithms.merging.merge_weights import merge
from parsgd.errors import DivergedError
from parsgd.estimators.linear.linear_kind import LINEAR
from parsgd.planning.trials.heldout import HeldOut, ObservedFit

PROBLEMS = {"adult": 1e-4, "covtype": 1e-4, "news20": 1e-6, "enron_spam": 1e-6}
MIXED = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1)
POOLS = {f"one {n}x slower": (1.0,) * 9 + (1.0 / n,) for n in (2, 4, 10)}
POOLS |= {"1, 0.9 ... 0.1": tuple(n / 10 for n in range(10, 0, -1)), "mixed": MIXED}
BOXES = {"equal": (1.0,) * 6, "unequal": (1.0, 1.0, 0.5, 0.5, 0.25, 0.1)}
SIMPLE = ("uniform", "steps", "wp", "measured", "fednova", "loss")
COLUMNS = (*SIMPLE, "SAVGM", "learned")
RIVALS = ("uniform", "steps", "wp")
CORRECTION = 0.25
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# Passes of the fits that choose the constant rate.
TUNING_PASSES = 5
FIGURES = "<!-- figures: python studies/unequal_average.py DATA_FOLDER -->"
HEADER = """# One average of workers of unequal speed

<!-- figures: python studies/unequal_average.py DATA_FOLDER -->

This page compares merge weights for one average of workers of unequal speed. `studies/unequal_average.py` writes it.
All rules have the same time. The time to a loss, with rounds and tuned rates, is in
[workers of unequal speed](unequal.md).

The models are logistic regression (`log_loss`, one against all) with `alpha=1e-4` (news20, enron_spam: `1e-6`). The
clock is virtual (`Simulated`): time is examples divided by speed, and messages take none. The test loss is the loss on
the test rows without penalty, summed over classes. There are {seeds} seeds; sd is over seeds.

Only the constant rate is tuned. The other tables are at scikit-learn's default schedule, `learning_rate="optimal"`,
with untuned rates. They compare the rules with each other at these rates, and are no measure of the benefit of workers.

WP-SGD (Cheng, Li, Zhang, arXiv 1708.04801) claims that weights which decrease with a node's delay make one average good
on unbalanced nodes. We could not read its data sets, its nodes and the exact formula. `wp` is our reading of it
([literature](../literature.md)), and the groups of workers are ours, so this page reproduces no table of that paper.
"""
ONE_SHOT = """
## One average, equal time

<!-- figures: python studies/unequal_average.py DATA_FOLDER -->

The rates are those of the default schedule, untuned.

Each of ten workers owns a tenth of the rows, assigned at random. They run for the time in which a worker of speed 1
makes one pass, or five, over its own rows, and then average once. Pools: one of ten slow by 2, 4 or 10; speeds
decreasing evenly from 1 to 0.1; "mixed": 1, 1, 1, 1, 1, 1/2, 1/2, 1/4, 1/4, 1/10. `steps` is also `examples` here.
`SAVGM` is uniform with `correction=0.25`; its second run uses part of the same time. `learned` holds out 2 % of the
rows (at least 1,000). "Over best" is the loss of learned divided by the best of uniform, steps and wp, mean (worst
seed).

"""
CONSTANT = """
## The same at a constant rate

<!-- figures: python studies/unequal_average.py DATA_FOLDER -->

The mixed pool with `learning_rate="constant"`. The rate is the one of 0.001, 0.003, ... 10 at which one worker has the
least training loss after five passes over all rows, so that no run is too long because of large first steps.

"""
MAILBOXES = """
## Six mailboxes

<!-- figures: python studies/unequal_average.py DATA_FOLDER -->

The rows of enron_spam are sorted by mailbox and assigned in stored order (`partition="contiguous"`) to six workers.
Each has nearly one mailbox, from a quarter to three quarters of it spam. The speeds are equal, or 1, 1, 1/2,
1/2, 1/4, 1/10. The rates are untuned.

"""
READING = Path(__file__).with_name("readings") / "unequal-average.md"


def once(data: Data, alpha: float, speeds: tuple, algorithm: Any, seed: int, **settings: Any) -> Kept:
    """A one-shot fit; the virtual schedule_step's second is a pass of a worker of speed 1 over all rows."""
    X, _, y, _ = data
    kept = Kept(algorithm)
    SGDClassifier(
        "log_loss",
        alpha=alpha,
        max_iter=1000,
        tol=None,
        n_jobs=len(speeds),
        random_state=seed,
        algorithm=kept,
        engine=Simulated(speeds=speeds, rate=float(len(y))),
        **settings,
    ).fit(X, y)
    return kept


def one_shot(
    data: Data, alpha: float, speeds: tuple, passes: int, seed: int, partition: str = "shuffled", **settings: Any
) -> np.ndarray:
    """Test loss of each of the columns, and the sum of the learned weights."""
    warnings.simplefilter("ignore")
    _, X_test, y, y_test = data
    loss, seconds = HeldOut(X_test, y_test, np.unique(y), LINEAR), passes / len(speeds)
    kept = once(data, alpha, speeds, WeightedAverage("measured", seconds, partition), seed, **settings)
    standing, reports = kept.standing, kept.reports
    by_formula = [
        replace(report, log_contraction=standing.model.log_contraction(1.0, report.steps)) for report in reports
    ]
    losses = []
    for rule in SIMPLE:
        weights = kept.algorithm.weights(standing, reports) if rule == "measured" else RULES[rule](standing, by_formula)
        losses.append(loss(standing.model, merge(standing.state, reports, weights).state))
    shorter = SimuParallel(partition, seconds / (1.0 + CORRECTION), correction=CORRECTION)
    for algorithm in (shorter, WeightedAverage("learned", seconds, partition)):
        kept = once(data, alpha, speeds, algorithm, seed, **settings)
        losses.append(loss(standing.model, kept.merged.state))
    return np.array([*losses, kept.merged.weights.sum()])


def table(rows: dict[str, np.ndarray]) -> str:
    """A row for each setting, from ``(seeds, columns + 1)`` numbers."""
    text = f"| | {' | '.join(COLUMNS)} | sum of learned | over best |\n|" + "---|" * (len(COLUMNS) + 3) + "\n"
    for name, found in rows.items():
        mean, sd = found[:, :-1].mean(axis=0), found[:, :-1].std(axis=0, ddof=1)
        best = int(mean.argmin())
        cells = [f"{m:.4g} ± {s:.2g}" for m, s in zip(mean, sd, strict=True)]
        cells[best] = f"**{cells[best]}**"
        rivals = [COLUMNS.index(rule) for rule in RIVALS]
        over = found[:, COLUMNS.index("learned")] / found[:, rivals].min(axis=1)
        text += f"| {name} | {' | '.join(cells)} | {found[:, -1].mean():.2f} | {over.mean():.3f} ({over.max():.3f}) |\n"
    return text


def tuned(data: Data, alpha: float) -> float:
    """The constant rate of least training loss, of one worker, on a seed that is not used again."""
    X, _, y, _ = data

    def loss(eta: float) -> float:
        fit = ObservedFit(LocalSGD(), Simulated(speeds=(1.0,), rate=1.0), HeldOut(X, y, np.unique(y), LINEAR))
        model = SGDClassifier(
            "log_loss",
            alpha=alpha,
            max_iter=TUNING_PASSES,
            tol=None,
            n_jobs=1,
            random_state=100,
            algorithm=fit,
            engine=fit,
            learning_rate="constant",
            eta0=eta,
        )
        try:
            model.fit(X, y)
        except DivergedError:
            return np.inf
        return fit.curve[-1].loss

    return min(RATES, key=loss)


def by_mailbox(folder: Path, data: Data) -> Data:
    """enron_spam with its training rows sorted by mailbox."""
    X, X_test, y, y_test = data
    frame = pd.read_parquet(folder / "enron_spam.parquet").drop_duplicates("text")
    boxes = datasets.split(frame["mailbox"].to_numpy(), frame["spam"].to_numpy().astype(int))[0]
    order = np.argsort(boxes, kind="stable")
    return X[order], X_test, y[order], y_test


def many(run: Parallel, function: Callable, data: Data, alpha: float, cases: dict, seeds: int, **settings: Any) -> dict:
    """``(seeds, ...)`` results of each case; a case is ``(arguments before the seed, those after it)``."""
    jobs = [(name, seed) for name in cases for seed in range(seeds)]
    found = run(
        delayed(function)(data, alpha, *cases[name][0], seed, *cases[name][1], **settings) for name, seed in jobs
    )
    return {name: np.array([r for job, r in zip(jobs, found, strict=True) if job[0] == name]) for name in cases}


def draw(shots: dict, path: Path) -> None:
    """Draw the losses of the mixed pool after five passes relative to those of uniform weights."""
    figure = Figure(figsize=(7.4, 3.0), layout="constrained")
    panel, colors = figure.subplots(), ("#4477aa", "#66ccee", "#228833", "#ccbb44")
    for at, (color, name) in enumerate(zip(colors, PROBLEMS, strict=True)):
        mean = np.asarray(shots[name])
        panel.plot(mean / mean[0], np.arange(len(COLUMNS)) + 0.12 * (at - 1.5), "o", color=color, label=name, ms=6)
    panel.set(xscale="log", yticks=range(len(COLUMNS)), yticklabels=COLUMNS)
    panel.set_xticks([0.3, 0.5, 1, 2, 4], ["0.3", "0.5", "1", "2", "4"])
    panel.minorticks_off()
    panel.set_title("one average, mixed pool, 5 passes, default rates: test loss over uniform's", fontsize=10)
    panel.legend(fontsize=8, loc="lower right")
    panel.invert_yaxis()
    panel.tick_params(labelsize=8)
    panel.grid(axis="y", color="0.93")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/unequal-average.md"))
    given = parser.parse_args()
    seeds, shots, constant = given.seeds, {}, {}
    parts = {"shots": ONE_SHOT, "constant": CONSTANT, "boxes": MAILBOXES}
    with Parallel(n_jobs=2) as run:
        for name, alpha in PROBLEMS.items():
            data = getattr(datasets, name)(given.folder)
            cases = {f"{pool}, {p}": ((speeds, p), ()) for pool, speeds in POOLS.items() for p in (1, 5)}
            found = many(run, one_shot, data, alpha, cases, seeds)
            shots[name] = found["mixed, 5"].mean(axis=0)[:-1]
            parts["shots"] += f"### {name}\n\n{FIGURES}\n\n{table(found)}\n"
            eta = tuned(data, alpha)
            cases = {f"{name}, eta0={eta:g}, {p}": ((MIXED, p), ()) for p in (1, 5)}
            constant |= many(run, one_shot, data, alpha, cases, seeds, learning_rate="constant", eta0=eta)
            if name == "enron_spam":
                data = by_mailbox(given.folder, data)
                cases = {f"{pool}, {p}": ((speeds, p), ()) for pool, speeds in BOXES.items() for p in (1, 5)}
                parts["boxes"] += table(many(run, one_shot, data, alpha, cases, seeds, partition="contiguous"))
            print(name, parts["shots"][-2000:], sep="\n", flush=True)
    parts["constant"] += table(constant)
    draw(shots, given.out.with_suffix(".png"))
    text = HEADER.format(seeds=seeds) + "".join(parts.values()) + f"\n![One average]({given.out.stem}.png)\n"
    given.out.write_text(text + READING.read_text())
    print(text[text.index("## The same at") :])


if __name__ == "__main__":
    main()
