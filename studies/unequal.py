"""Workers of unequal speed at equal time: which weights for one average, and how to get all their speed with rounds.

Usage: python studies/unequal.py DATA_FOLDER [--seeds 3] [--out docs/results/unequal.md]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from watching import Data, Kept, timed

from parsgd import AsyncLocalSGD, LocalSGD, SGDClassifier, Simulated, SimuParallel, WeightedAverage
from parsgd.algorithms.merging.merge_rules import RULES
from parsgd.algorithms.merging.merge_weights import merge
from parsgd.errors import DivergedError
from parsgd.estimators.linear.linear_kind import LINEAR
from parsgd.planning.trials.heldout import HeldOut, ObservedFit

PROBLEMS = {"adult": 1e-4, "covtype": 1e-4, "news20": 1e-6, "enron_spam": 1e-6}
MIXED = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1)
CREWS = {f"one {n}x slower": (1.0,) * 9 + (1.0 / n,) for n in (2, 4, 10)}
CREWS |= {"1, 0.9 ... 0.1": tuple(n / 10 for n in range(10, 0, -1)), "mixed": MIXED}
BOXES = {"alike": (1.0,) * 6, "unequal": (1.0, 1.0, 0.5, 0.5, 0.25, 0.1)}
SIMPLE = ("uniform", "steps", "wp", "measured", "fednova", "loss")
COLUMNS = (*SIMPLE, "SAVGM", "learned")
RIVALS = ("uniform", "steps", "wp")
CORRECTION = 0.25
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# With rounds: of the ways with `seconds`, a round is a tenth of a fast worker's pass over its own rows.
SERIAL_PASSES, MOST_PASSES, ROUND = 5, 15, 0.01
IDEAL = SERIAL_PASSES / sum(MIXED)
adaptive = partial(LocalSGD, outer_optimizer="adaptive", sync_every=0.1)
WAYS: dict[str, Any] = {
    "wait for the slowest, outer_optimizer=mean": LocalSGD(sync_every=0.1),
    "wait for the slowest, outer_optimizer=adaptive": adaptive(),
    "balance=speed": adaptive(balance="speed"),
    "deadline=auto": adaptive(deadline="auto"),
    "deadline=auto, rule=uniform": adaptive(deadline="auto", rule="uniform"),
    "deadline=auto, balance=speed": adaptive(deadline="auto", balance="speed"),
    "seconds, outer_optimizer=mean": LocalSGD(seconds=ROUND),
    "seconds": adaptive(seconds=ROUND),
    "seconds, rule=learned": adaptive(seconds=ROUND, rule="learned"),
    "seconds, rule=uniform": adaptive(seconds=ROUND, rule="uniform"),
    "seconds, balance=speed": adaptive(seconds=ROUND, balance="speed"),
    "seconds, balance=speed, rule=uniform": adaptive(seconds=ROUND, balance="speed", rule="uniform"),
    "asynchronous": AsyncLocalSGD(sync_every=0.1),
    "asynchronous, rate=0.3": AsyncLocalSGD(sync_every=0.1, rate=0.3),
}
ALONE = "one worker of speed 1"
HEADER = """# Workers of unequal speed

<!-- figures: python studies/unequal.py DATA_FOLDER -->

This page compares weights and round lengths for workers of unequal speed. `studies/unequal.py` writes it. The models
are logistic regression (`log_loss`, one against all) with `learning_rate="optimal"` and `alpha=1e-4` (news20,
enron_spam: `1e-6`). The clock is virtual (`Simulated`): time is examples divided by speed, and messages take none. The
test loss is the loss on the test rows without penalty, summed over classes. There are {seeds} seeds; sd is over seeds.

WP-SGD (Cheng, Li, Zhang, arXiv 1708.04801) claims that weights which decrease with a node's delay make one average good
on unbalanced nodes. We could not read its data sets, its nodes and the exact formula. `wp` is our reading of it
([literature](../literature.md)), and the groups of workers are ours, so this page reproduces no table of that paper.
"""
ONE_SHOT = """
## One average, equal time

Each of ten workers owns a tenth of the rows, assigned at random. They run for the time in which a worker of speed 1
makes one pass, or five, over its own rows, and then average once. Pools: one of ten slow by 2, 4 or 10; speeds
decreasing evenly from 1 to 0.1; "mixed": 1, 1, 1, 1, 1, 1/2, 1/2, 1/4, 1/4, 1/10. `steps` is also `examples` here.
`SAVGM` is uniform with `correction=0.25`; its second run uses part of the same time. `learned` holds out 2 % of the
rows (at least 1,000). "Over best" is the loss of learned divided by the best of uniform, steps and wp, mean (worst
seed).

"""
CONSTANT = """
## The same at a constant rate

The mixed pool with `learning_rate="constant"`. The rate is the one of 0.001, 0.003, ... 10 at which one worker has the
least training loss after five passes over all rows, so that no run is too long because of large first steps.

"""
MAILBOXES = """
## Six mailboxes

The rows of enron_spam are sorted by mailbox and assigned in stored order (`partition="contiguous"`) to six workers.
Each has nearly one mailbox, from a quarter to three quarters of it spam. The speeds are equal ("alike"), or 1, 1, 1/2,
1/2, 1/4, 1/10.

"""
ROUNDS = """
## With rounds: time to the serial loss

The mixed pool. The loss to reach is the final one of one worker of speed 1 after {passes} passes over all rows, mean of
{seeds} seeds. The times are in units of the time that the summed speed of 6.6 allows: these passes of one worker take
6.6. The loss is measured ten times per pass, and the first time below the goal counts; mean over the seeds (worst), at
most {most} passes. `seconds` is a tenth of a fast worker's pass over its rows; other rounds are a tenth of a pass over
the worker's rows. `outer_optimizer="adaptive"` except where mean is given. `rule` is by steps for `seconds` and
`deadline` where no other is given.

"""
READING = Path(__file__).with_name("readings") / "unequal.md"


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
            max_iter=SERIAL_PASSES,
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


def time_cell(times: np.ndarray, last: np.ndarray) -> str:
    """Mean and worst time, in units of what the summed speed allows."""
    late = int(np.isnan(times).sum())
    if late == len(times):
        return f"never ({last.mean():.4g})"
    worst = f"{late} of {len(times)} never" if late else f"{np.max(times) / IDEAL:.2f}"
    return f"{np.nanmean(times) / IDEAL:.2f} ({worst})"


def draw(shots: dict, times: dict, path: Path) -> None:
    figure = Figure(figsize=(7.4, 6.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(1.0, 1.5))
    places, colours = np.arange(len(PROBLEMS)), ("#4477aa", "#66ccee", "#228833", "#ccbb44")
    for at, (colour, name) in zip(places, zip(colours, PROBLEMS, strict=True), strict=True):
        mean = shots[name].mean(axis=0)[:-1]
        upper.plot(mean / mean[0], np.arange(len(COLUMNS)) + 0.12 * (at - 1.5), "o", color=colour, label=name, ms=6)
        found = [
            np.nanmean(times[name][way][:, 0]) / IDEAL if not np.isnan(times[name][way][:, 0]).all() else np.nan
            for way in WAYS
        ]
        rows = np.arange(len(WAYS)) + 0.15 * (at - 1.5)
        late = [bool(np.isnan(times[name][way][:, 0]).any()) for way in WAYS]
        lower.plot(np.where(late, np.nan, found), rows, "o", color=colour, ms=6)
        lower.plot(np.where(late, 30.0, np.nan), rows, "x", color=colour, ms=6)
    upper.set(xscale="log", yticks=range(len(COLUMNS)), yticklabels=COLUMNS)
    upper.set_xticks([0.3, 0.5, 1, 2, 4], ["0.3", "0.5", "1", "2", "4"])
    upper.minorticks_off()
    upper.set_title("one average, mixed crew, 5 passes: test loss over uniform's", fontsize=10)
    upper.legend(fontsize=8, loc="lower right")
    lower.set(xscale="log", yticks=range(len(WAYS)), yticklabels=WAYS)
    lower.set_xticks([0.1, 0.3, 1, 3, 10, 30], ["0.1", "0.3", "1", "3", "10", "never"])
    lower.minorticks_off()
    lower.axvline(1.3, color="0.7", lw=1)
    lower.axvline(sum(MIXED), color="0.7", lw=1, ls=":")
    lower.set_title(
        "rounds: time to the serial loss over what the summed speed allows\n"
        "(lines: 1.3 and 6.6, five serial passes; x: a seed did not get there)",
        fontsize=10,
    )
    for panel in (upper, lower):
        panel.invert_yaxis()
        panel.tick_params(labelsize=8)
        panel.grid(axis="y", color="0.93")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/unequal.md"))
    given = parser.parse_args()
    seeds, shots, times = given.seeds, {}, {}
    parts = {"shots": ONE_SHOT, "constant": CONSTANT, "boxes": MAILBOXES}
    constant, rounds = {}, {way: f"| {way} |" for way in (ALONE, *WAYS)}
    with Parallel(n_jobs=2) as run:
        for name, alpha in PROBLEMS.items():
            data = getattr(datasets, name)(given.folder)
            cases = {f"{crew}, {p}": ((speeds, p), ()) for crew, speeds in CREWS.items() for p in (1, 5)}
            found = many(run, one_shot, data, alpha, cases, seeds)
            shots[name] = found["mixed, 5"]
            parts["shots"] += f"### {name}\n\n{table(found)}\n"
            eta = tuned(data, alpha)
            cases = {f"{name}, eta0={eta:g}, {p}": ((MIXED, p), ()) for p in (1, 5)}
            constant |= many(run, one_shot, data, alpha, cases, seeds, learning_rate="constant", eta0=eta)
            serial = {"serial": ((LocalSGD(),), (-np.inf, SERIAL_PASSES, (1.0,)))}
            target = many(run, timed, data, alpha, serial, seeds)["serial"][:, 1].mean()
            cases = {way: ((algorithm,), (target, MOST_PASSES, MIXED)) for way, algorithm in WAYS.items()}
            cases[ALONE] = ((LocalSGD(),), (target, MOST_PASSES, (1.0,)))
            times[name] = many(run, timed, data, alpha, cases, seeds)
            for way in rounds:
                rounds[way] += f" {time_cell(*times[name][way].T)} |"
            if name == "enron_spam":
                data = by_mailbox(given.folder, data)
                cases = {f"{crew}, {p}": ((speeds, p), ()) for crew, speeds in BOXES.items() for p in (1, 5)}
                parts["boxes"] += table(many(run, one_shot, data, alpha, cases, seeds, partition="contiguous"))
            print(name, parts["shots"][-2000:], *rounds.values(), sep="\n", flush=True)
    parts["constant"] += table(constant)
    parts["rounds"] = ROUNDS.format(passes=SERIAL_PASSES, seeds=seeds, most=MOST_PASSES)
    parts["rounds"] += f"| | {' | '.join(PROBLEMS)} |\n|" + "---|" * (len(PROBLEMS) + 1) + "\n"
    parts["rounds"] += "\n".join(rounds.values()) + "\n"
    draw(shots, times, given.out.with_suffix(".png"))
    text = HEADER.format(seeds=seeds) + "".join(parts.values()) + "\n![Unequal workers](unequal.png)\n"
    given.out.write_text(text + READING.read_text())
    print(text[text.index("## The same at") :])


if __name__ == "__main__":
    main()
