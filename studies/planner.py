"""Does ``parsgd.plan`` say beforehand how long fits will take, and which to take?

Usage: python studies/planner.py DATA_FOLDER [--seeds 3] [--sets adult,...] [--out docs/results/planner.md]

Each set is planned for once, with the plan's own budget; then every cell is fitted in full with other seeds, and the
time until its held-out loss is serial SGD's is measured: on real threads for 1 and 2 workers, on simulated ones of the
measured speed for 8 and 64.  Timed parts wait until the machine is idle.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from sklearn.base import clone

import parsgd
from parsgd import LocalSGD, MLPClassifier, SGDClassifier, SGDRegressor, Simulated
from parsgd.engines.threads import Threads
from parsgd.estimators.kinds import kind_of
from parsgd.planning.instrumented import StopTrial
from parsgd.planning.trials.heldout import HeldOut, ObservedFit
from parsgd.planning.trials.independent_runs import IndependentRuns
from parsgd.planning.trials.trial_runs import MOST_PASSES
from parsgd.training import cost_model

PASSES, WORKERS, NEAR, TOLERANCE = 5, (1, 2, 8, 64), 0.3, 0.01
LINEAR = {"max_iter": PASSES, "tol": None}
ESTIMATORS = {
    "covtype": SGDClassifier("log_loss", **LINEAR),
    "adult": SGDClassifier("log_loss", **LINEAR),
    "enron_spam": SGDClassifier("log_loss", alpha=1e-6, **LINEAR),
    "news20": SGDClassifier("log_loss", alpha=1e-6, **LINEAR),
    "nycflights": SGDRegressor(**LINEAR),
    "fashion_mnist": MLPClassifier((128,), batch_size=64, max_iter=PASSES, tol=0.0, n_iter_no_change=10**9),
}
HEADER = """# Results: the planner

<!-- figures: python studies/planner.py DATA_FOLDER -->

This page compares the predictions of `parsgd.plan` with measured fits. `studies/planner.py` writes it, here with Python
{python} and parsgd {parsgd} on {cores} cores. Each set is planned once, for 1, 2, 8 and 64 workers, with the default
budget (2 s, or a tenth of a serial fit). Then every candidate is fitted with {seeds} other seeds, for at most twice
serial SGD's {passes} passes. The measured time is the first at which its test loss is within 1 % of the final loss of
serial SGD.

1 and 2 workers run on real threads. 8 and 64 are simulated at the measured speed without latency, and the time of their
merges is added. All times are those of rounds and exclude checking and assigning the data. The machine was {idle} idle
when the plans were made.

A prediction is a hit if it is within 30 % of the measured time, or if both are "never". A candidate for which the plan
had no time is a miss. The recommendation is a hit if its measured time is within 10 % of that of the best candidate.
"""


@dataclass
class Measured:
    """A cell, as predicted and as it was."""

    workers: int
    label: str
    predicted: float | None
    measured: float

    @property
    def hit(self) -> bool:
        if self.predicted is None:
            return False
        if math.isinf(self.predicted) or math.isinf(self.measured):
            return self.predicted == self.measured
        return abs(self.predicted - self.measured) <= NEAR * self.measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", default=",".join(ESTIMATORS))
    parser.add_argument("--patience", type=float, default=600.0, help="seconds to wait until the machine is idle")
    parser.add_argument("--out", type=Path, default=Path("docs/results/planner.md"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results, sections, idle = {}, [], []
    for name in arguments.sets.split(","):
        data = getattr(datasets, name)(arguments.folder)
        estimator = clone(ESTIMATORS[name]).set_params(random_state=0)
        idle.append(wait_for_quiet(arguments.patience))
        plan = parsgd.plan(estimator, data[0], data[2], WORKERS)
        seeds = range(101, 101 + arguments.seeds)
        results[name] = measure(plan, estimator, data, seeds, arguments.patience)
        sections.append(section(name, plan, results[name]))
        print(sections[-1], flush=True)
    versions = {"python": platform.python_version(), "parsgd": parsgd.__version__, "cores": os.cpu_count()}
    text = HEADER.format(seeds=arguments.seeds, passes=PASSES, idle=f"{min(idle):.0%} to {max(idle):.0%}", **versions)
    arguments.out.write_text(text + summary(results) + "".join(sections))
    draw({name: cells for name, (cells, *_) in results.items()}, arguments.out.with_suffix(".png"))


# -- measuring -------------------------------------------------------------------------------------------------------


def wait_for_quiet(most_s: float) -> float:
    """Wait until the processors are idle, but for this; the share that they were idle in the last second."""
    until = time.monotonic() + most_s
    while (idle := _idle()) < 0.9 and time.monotonic() < until:
        time.sleep(5.0)
    return idle


def _idle() -> float:
    def read() -> np.ndarray:
        return np.array(Path("/proc/stat").read_text().splitlines()[0].split()[1:], dtype=float)

    before = read()
    time.sleep(1.0)
    spent = read() - before
    return float(spent[3:5].sum() / spent.sum())


def measure(plan, estimator, data, seeds, patience: float) -> tuple[list[Measured], Measured, float]:
    """All cells; the recommended one; and what a serial fit takes, which the plan's own cost is compared with."""
    X, X_test, y, y_test = data
    classes = None if isinstance(estimator, SGDRegressor) else np.unique(y)
    loss = HeldOut(X_test, y_test, classes, kind_of(estimator))
    once = LocalSGD(sync_every=0.1), Threads(), 1
    curves = [watch(estimator, *once, X, y, loss, seed, PASSES, math.inf)[0] for seed in seeds]
    goal = np.mean([np.mean([p.loss for p in curve if p.passes > 0.8 * PASSES + 1e-9]) for curve in curves])
    goal *= 1.0 + TOLERANCE
    wait_for_quiet(patience)
    times = [serial_seconds(estimator, X, y, seed) for seed in seeds]
    passes = min(cost_model.mean_passes([reached(curve, goal)[0] for curve in curves]), PASSES)
    serial = float(np.median(times))
    found = [Measured(1, "serial", plan.cells[0].seconds, passes / PASSES * serial)]
    for cell in plan.cells[1:]:
        real = cell.engine == "threads"
        if real:
            wait_for_quiet(patience)
        one_shot = cell.label == "simuparallel"
        algorithm = IndependentRuns() if one_shot else cell.algorithm
        reaches = []
        for seed in seeds:
            engine = Threads() if real else Simulated(rate=1.0 / plan.costs.seconds_per_row)
            curve, merge_s = watch(
                estimator, algorithm, engine, cell.n_workers, X, y, loss, seed, int(MOST_PASSES * PASSES), goal
            )
            at, seconds = reached(curve, goal)
            rounds = 1.0 if one_shot else max(cell_rounds(cell) * at, 1.0)
            reaches.append(seconds if real or math.isinf(seconds) else seconds + rounds * merge_s)
        found.append(Measured(cell.n_workers, cell.label, cell.seconds, cost_model.mean_passes(reaches)))
    best = next(m for m in found if (m.workers, m.label) == (plan.best.n_workers, plan.best.label))
    return found, best, serial


def cell_rounds(cell) -> float:
    """Merges a pass."""
    if hasattr(cell.algorithm, "sync_every"):
        return 1.0 / cell.algorithm.sync_every
    return cell.rounds / cell.passes if cell.reaches else 1.0


def watch(estimator, algorithm, engine, n_workers, X, y, loss, seed, passes, goal) -> tuple[list, float]:
    """The curve of a fit, which ends when it was at the goal for a while, and the time of a merge."""

    def until(curve) -> bool:
        at = reached(curve, goal)[0] if math.isfinite(goal) else math.inf
        return curve[-1].passes >= 1.3 * at + 0.5

    watched = ObservedFit(algorithm, engine, loss, until)
    model = clone(estimator).set_params(
        algorithm=watched, engine=watched, n_jobs=n_workers, max_iter=passes, random_state=seed
    )
    try:
        model.fit(X, y)
        watched.record_loss()
    except StopTrial:
        pass
    except parsgd.errors.DivergedError:
        return watched.curve[:1], 0.0
    return watched.curve, float(np.median(watched.combine_s))


def reached(curve, goal: float) -> tuple[float, float]:
    """The passes and the seconds to the goal, by the curve's trend."""
    seen = curve[1:]
    if not seen:
        return math.inf, math.inf
    passes = [point.passes for point in seen]
    at = cost_model.reach(passes, [point.loss for point in seen], goal)
    if math.isinf(at):
        return at, at
    return at, float(np.interp(at, [0.0, *passes], [0.0, *(point.seconds for point in seen)]))


def serial_seconds(estimator, X, y, seed: int) -> float:
    """The time of a serial fit in one round, without the checks before it."""
    model = clone(estimator).set_params(n_jobs=1, random_state=seed).fit(X, y)
    return model.history_[-1]["seconds"]


# -- telling ---------------------------------------------------------------------------------------------------------


def section(name: str, plan, result) -> str:
    cells, best, serial = result
    least = min(cell.measured for cell in cells)
    fastest = next(cell for cell in cells if cell.measured == least)
    lines = [
        f"\n## {name}\n",
        f"> {plan.why}\n",
        f"Planned in {plan.seconds:.2f} s; a serial fit takes {serial:.3f} s. The recommended cell took"
        f" {words(best.measured)}; the fastest one, {fastest.workers} workers with {fastest.label}, {words(least)}.\n",
        "| workers | algorithm | predicted | measured | |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {cell.workers} | {cell.label} | {words(cell.predicted)} | {words(cell.measured)} |"
        f" {'hit' if cell.hit else 'miss'} |"
        for cell in cells
    ]
    return "\n".join(lines) + "\n"


def words(seconds: float | None) -> str:
    if seconds is None:
        return "not rehearsed"
    return "never" if math.isinf(seconds) else f"{1e3 * seconds:.3g} ms"


def summary(results) -> str:
    lines = ["\n| set | cells | hits | of those that both reach | recommended, x best | its place |"]
    lines.append("|---|---|---|---|---|---|")
    every, near = [], 0
    for name, (cells, best, _) in results.items():
        every += cells
        reaching = [c for c in cells if c.predicted is not None and math.isfinite(c.predicted + c.measured)]
        ratio = best.measured / min(cell.measured for cell in cells)
        near += ratio <= 1.1
        place = 1 + sum(cell.measured < best.measured for cell in cells)
        lines.append(
            f"| {name} | {len(cells)} | {sum(c.hit for c in cells)} | {sum(c.hit for c in reaching)} of"
            f" {len(reaching)} | {ratio:.2f} | {place} of {len(cells)} |"
        )
    hits = sum(cell.hit for cell in every)
    unknown = sum(cell.predicted is None for cell in every)
    return "\n".join(lines) + (
        f"\n\n{hits} of {len(every)} cells are hits ({hits / len(every):.0%}; {unknown} were not rehearsed), and the"
        f" recommendation is within 10 % of the best cell on {near} of {len(results)} sets.\n\n"
        "![Predicted against measured](planner.png)\n"
    )


def draw(results, path: Path) -> None:
    """Predicted against measured, one colour a set, crosses for simulated workers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    times = []
    for number, (name, cells) in enumerate(results.items()):
        known = [c for c in cells if c.predicted is not None and math.isfinite(c.predicted + c.measured)]
        for marker, part in (("o", [c for c in known if c.workers <= 2]), ("x", [c for c in known if c.workers > 2])):
            style = {"marker": marker, "color": f"C{number}", "label": name if marker == "o" else None}
            axes.scatter([c.measured for c in part], [c.predicted for c in part], **style)
        times += [c.measured for c in known]
    line = np.array([min(times) / 1.5, max(times) * 1.5])
    axes.plot(line, line, color="grey", linewidth=1)
    axes.fill_between(line, (1 - NEAR) * line, (1 + NEAR) * line, color="grey", alpha=0.2)
    axes.set(xscale="log", yscale="log", xlabel="measured, s", ylabel="predicted, s")
    axes.set_title("Time to serial SGD's loss; o threads, x simulated; band: 30 %")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
