"""Workers of unequal speed at equal time: merge weights for one average.

Usage: python studies/unequal_average.py DATA_FOLDER [--only adult ...] [--page-only]
       python studies/unequal_average.py --quick --only adult --stored FILE.json --out FILE.md

The readings are in studies/readings/unequal_average.json; the page and its picture are written from all of them.
The time to a loss with rounds is in studies/unequal.py.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import datasets
from stored_study import Stored, StoredStudy
from watching import Data, Kept

from benchmarks.time_to_goal import tasks
from parsgd import LocalSGD, SGDClassifier, Simulated, SimuParallel, WeightedAverage
from parsgd.algorithms.merging.merge_rules import RULES
from parsgd.algorithms.merging.merge_weights import merge
from parsgd.errors import DivergedError
from parsgd.estimators.linear.linear_kind import LINEAR
from parsgd.planning.trials.heldout import HeldOut, ObservedFit
from parsgd.utils import blas_threads

STUDY = StoredStudy("unequal_average", one_core=True)
PROBLEMS = {"adult": 1e-4, "covtype": 1e-4, "news20": 1e-6, "enron_spam": 1e-6}
MIXED = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1)
POOLS = {f"one {n}x slower": (1.0,) * 9 + (1.0 / n,) for n in (2, 4, 10)}
POOLS |= {"1, 0.9 ... 0.1": tuple(n / 10 for n in range(10, 0, -1)), "mixed": MIXED}
MAILBOXES = "enron_spam"
BOXES = {"equal": (1.0,) * 6, "unequal": (1.0, 1.0, 0.5, 0.5, 0.25, 0.1)}
# Passes of a worker of speed 1 over its own rows.
PASSES = (1, 5)
SEEDS = (0, 1, 2)
SIMPLE = ("uniform", "steps", "wp", "measured", "fednova", "loss")
COLUMNS = (*SIMPLE, "SAVGM", "learned")
RIVALS = ("uniform", "steps", "wp")
CORRECTION = 0.25
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# Passes of the fits that choose the constant rate.
TUNING_PASSES = 5
FIGURES = "<!-- figures: python studies/unequal_average.py DATA_FOLDER -->"
PAGE = """# One average of workers of unequal speed

{comment}

This page compares merge weights for one average of workers of unequal speed. All rules have the same time.
`python studies/unequal_average.py DATA_FOLDER` writes it from the readings in `studies/readings/unequal_average.json`,
in about {minutes} minutes of one core. The time to a loss, with rounds and tuned rates, is in
[workers of unequal speed](unequal.md).

The models are logistic regression (`log_loss`, one against all) with `alpha=1e-4` (news20, enron_spam: `1e-6`). The
clock is virtual (`Simulated`): time is examples divided by speed, and messages take none. The test loss is the loss on
the test rows without penalty, summed over classes. There are {n_seeds} seeds; sd is over seeds.

Only the constant rate is tuned. The other tables are at scikit-learn's default schedule, `learning_rate="optimal"`,
with untuned rates. They compare the rules with each other at these rates, and are no measure of the benefit of workers.

WP-SGD (Cheng, Li, Zhang, arXiv 1708.04801) claims that weights which decrease with a node's delay make one average good
on unbalanced nodes. We could not read its data sets, its nodes and the exact formula. `wp` is our reading of it
([literature](../literature.md)), and the groups of workers are ours, so this page reproduces no table of that paper.

{about}

## One average, equal time

{comment}

The rates are those of the default schedule, untuned.

Each of ten workers owns a tenth of the rows, assigned at random. They run for the time in which a worker of speed 1
makes one pass, or five, over its own rows, and then average once. Pools: one of ten slow by 2, 4 or 10; speeds
decreasing evenly from 1 to 0.1; "mixed": 1, 1, 1, 1, 1, 1/2, 1/2, 1/4, 1/4, 1/10. `steps` is also `examples` here.
`SAVGM` is uniform with `correction=0.25`; its second run uses part of the same time. `learned` holds out 2 % of the
rows (at least 1,000). "Over best" is the loss of learned divided by the best of uniform, steps and wp, mean (worst
seed).

{shots}## The same at a constant rate

{comment}

The mixed pool with `learning_rate="constant"`. The rate is the one of 0.001, 0.003, ... 10 at which one worker has the
least training loss after five passes over all rows, so that no run is too long because of large first steps.
{edges}
{constant}{mailboxes}
![One average]({picture})
"""
OF_MAILBOXES = """
## Six mailboxes

{comment}

The rows of enron_spam are sorted by mailbox and assigned in stored order (`partition="contiguous"`) to six workers.
Each has nearly one mailbox, from a quarter to three quarters of it spam. The speeds are equal, or 1, 1, 1/2,
1/2, 1/4, 1/10. The rates are untuned.

{table}"""


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


def line(name: str, losses: np.ndarray, sums: np.ndarray) -> str:
    """A line of a table, from ``(seeds, columns)`` losses and the sums of the learned weights."""
    mean, sd = losses.mean(axis=0), losses.std(axis=0, ddof=1 if len(losses) > 1 else 0)
    best = int(mean.argmin())
    cells = [f"{m:.4g} ± {s:.2g}" for m, s in zip(mean, sd, strict=True)]
    cells[best] = f"**{cells[best]}**"
    rivals = [COLUMNS.index(rule) for rule in RIVALS]
    over = losses[:, COLUMNS.index("learned")] / losses[:, rivals].min(axis=1)
    return f"| {name} | {' | '.join(cells)} | {sums.mean():.2f} | {over.mean():.3f} ({over.max():.3f}) |\n"


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each setting."""
    text = f"| | {' | '.join(COLUMNS)} | sum of learned | over best |\n|" + "---|" * (len(COLUMNS) + 3) + "\n"
    for row in rows:
        text += line(f"{row['name']}, {row['passes']}", np.array(row["losses"]), np.array(row["sums"]))
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


def measured(data: Data, alpha: float, pools: dict[str, tuple], seeds: tuple[int, ...], **settings: Any) -> list[dict]:
    """A row for each pool of workers and number of passes: the losses by seed, and the sums of the learned weights."""
    rows = []
    for name, speeds in pools.items():
        for passes in PASSES:
            found = np.array([one_shot(data, alpha, speeds, passes, seed, **settings) for seed in seeds])
            rows.append(
                {"name": name, "passes": passes, "losses": found[:, :-1].tolist(), "sums": found[:, -1].tolist()}
            )
            print(" ", line(f"{name}, {passes}", found[:, :-1], found[:, -1]), end="", flush=True)
    return rows


def measure(name: str, folder: Path | None, seeds: tuple[int, ...]) -> dict[str, Any]:
    """The rows of a data set at the default rates, at the constant rate, and with a mailbox for each worker."""
    alpha = PROBLEMS[name]
    if folder is None:
        task = tasks.load("news20_one_vs_all" if name == "news20" else name, None)
        data = (task.X, task.X_test, task.y, task.y_test)
    else:
        data = getattr(datasets, name)(folder)
    shots, eta = measured(data, alpha, POOLS, seeds), tuned(data, alpha)
    constant = measured(data, alpha, {"mixed": MIXED}, seeds, learning_rate="constant", eta0=eta)
    entry = {"name": name, "n_rows": len(data[2]), "shots": shots, "rate": eta, "constant": constant}
    if name == MAILBOXES:
        data = by_mailbox(folder, data) if folder else data
        entry["mailboxes"] = measured(data, alpha, BOXES, seeds, partition="contiguous")
    return entry


def draw(stored: Stored, path: Path) -> None:
    """Draw the losses of the mixed pool after five passes relative to those of uniform weights."""
    figure = Figure(figsize=(7.4, 3.0), layout="constrained")
    panel, colors = figure.subplots(), ("#4477aa", "#66ccee", "#228833", "#ccbb44")
    for at, (color, name) in enumerate(zip(colors, PROBLEMS, strict=True)):
        if name in stored:
            (row,) = (row for row in stored[name]["shots"] if (row["name"], row["passes"]) == ("mixed", PASSES[-1]))
            mean = np.mean(row["losses"], axis=0)
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


def page(stored: Stored, observations: str = "") -> str:
    """The page from the stored readings."""
    found = [stored[name] for name in PROBLEMS if name in stored]
    rows = [{**row, "name": f"{each['name']}, eta0={each['rate']:g}"} for each in found for row in each["constant"]]
    edges = [f"{each['name']} ({each['rate']:g})" for each in found if each["rate"] in (RATES[0], RATES[-1])]
    boxes = next((each["mailboxes"] for each in found if each["name"] == MAILBOXES), None)
    text = PAGE.format(
        comment=FIGURES,
        minutes=math.ceil(sum(each["about"]["seconds"] for each in found) / 60.0),
        n_seeds=len(found[0]["shots"][0]["losses"]),
        about="\n".join(sorted({each["about"]["text"] for each in found})),
        shots="".join(f"### {each['name']}\n\n{FIGURES}\n\n{table(each['shots'])}\n" for each in found),
        edges=f"It is the first or the last of them on {' and '.join(edges)}.\n" if edges else "",
        constant=table(rows),
        mailboxes=OF_MAILBOXES.format(comment=FIGURES, table=table(boxes)) if boxes else "",
        picture=STUDY.page.with_suffix(".png").name,
    )
    return text + observations


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets, store the readings after each, and write the page and its picture."""
    parser = STUDY.parser(__doc__, PROBLEMS, "DATASET", "2,000 generated rows, one seed")
    given = STUDY.parse(parser, arguments)
    seeds = SEEDS[:1] if given.quick else SEEDS
    with blas_threads.one_thread():
        stored = STUDY.measure(given, lambda name, _: measure(name, given.folder, seeds))
    STUDY.write(given, stored, page)
    draw(stored, given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
