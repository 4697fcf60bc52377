"""Time to the same test loss, which is what users feel: whole fits from scratch until scikit-learn's loss is reached.

The goal is the best test log loss that scikit-learn's SGDClassifier has after five epochs, among a grid of penalties,
with and without averaging.  For everybody, itself included, each setting of a grid of the solver's own is fitted with
1, 2, 3, ... epochs, until the median loss over seeds is at the goal; the setting that is there soonest is timed.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from sklearn.metrics import log_loss

from benchmarks import drawing, problems, solvers
from benchmarks.markdown import NOTHING, number, table, times
from benchmarks.measuring import Spread, ratio, run_turns, timed
from benchmarks.options import Options
from benchmarks.problems import Problem, Unavailable
from benchmarks.readings import Reading, select

TITLE = "Time to the same test loss"
FIGURE = "time_to_loss"
PROBLEMS = ("enron_spam", "covtype2", "adult", "nycflights_late")
EPOCHS, SEEDS, TARGET = 5, 3, 3.5
SKLEARN, OURS, ALONE = "scikit-learn SGD", "parsgd", "parsgd, 1 worker"
# the same settings as scikit-learn's only: what comes of the speed of a pass
ALIKE = "parsgd, scikit-learn's rates"
PEERS = ("sklearn_logistic", "vowpal_wabbit", "cyanure_qning", "snap")
# nobody is looked at with more epochs than this, or longer than so many of scikit-learn's fits, or when so many looks
# in a row brought nothing
MOST_EPOCHS, PATIENCE, LOOKS = 100, 3, 2
# and for no other solver than scikit-learn's SGD and ours is there more time to find its setting
SEARCH_SECONDS = 120.0
WORDS = f"""The goal on each problem is the best test log loss of scikit-learn's `SGDClassifier` after {EPOCHS} epochs.
The search covers penalties from 1e-7 to 1e-3, with and without averaging; the loss is the median of {SEEDS} seeds.
Every solver, scikit-learn's SGD included, then uses the setting and the number of epochs (`max_iter`; a whole fit each
time) that reach the goal first.

parsgd's settings are scikit-learn's, Hogwild on sparse rows, and `learning_rate="adagrad"` with initial rates from 0.05
to 2 and one average at the end or `auto`. A separate line excludes AdaGrad. The other solvers have their own settings,
Vowpal Wabbit's AdaGrad included, searched for {SEARCH_SECONDS:.0f} seconds. Times are of whole fits, over all seeds;
Vowpal Wabbit's are of passes over a cache file. A solver that needs more than {PATIENCE} times scikit-learn's time is
not timed.
"""


@dataclass(frozen=True)
class Arrival:
    """A setting that gets to the goal: with how many epochs, to which loss, and how long that takes about."""

    setting: dict
    n_epochs: int
    loss: float
    seconds: float


def measure(options: Options) -> list[Reading]:
    found: list[Reading] = []
    for name in PROBLEMS:
        title = problems.title(name)
        options.say(title)
        try:
            found += _compare(problems.load(name, options), options)
        except Unavailable as why:
            found.append(Reading(FIGURE, title, OURS, peer=SKLEARN, target=TARGET, note=str(why)))
    return found


def entrants() -> dict[str, tuple[ModuleType, dict]]:
    """By name, everybody's solver and what is fixed of its setting."""
    ours, theirs = solvers.load("ours"), solvers.load("sklearn_sgd")
    two = {"n_jobs": 2}
    found = {SKLEARN: (theirs, {}), OURS: (ours, two), ALIKE: (ours, two), ALONE: (ours, {"n_jobs": 1})}
    return found | {module.NAME: (module, {}) for module in solvers.present(PEERS)}


def _compare(problem: Problem, options: Options) -> list[Reading]:
    seeds = range(2 if options.quick else SEEDS)
    everybody = entrants()
    goal, worker_timeout_s, known = scikit_learns_loss(problem, everybody[SKLEARN][0], seeds)
    options.say(f"  goal {goal:.4f}")
    arrivals = {}
    for name, (module, fixed) in everybody.items():
        # one worker has nobody to share with
        alone = fixed.get("n_jobs") == 1
        unfit = {"algorithm"} if alone else {"learning_rate"} if name == ALIKE else set()
        grid = [{**setting, **fixed} for setting in module.grid(problem) if not unfit & setting.keys()]
        grid.sort(key=lambda setting: distance(setting, known))
        search_s = math.inf if name in (SKLEARN, OURS, ALIKE, ALONE) else SEARCH_SECONDS
        arrivals[name] = soonest(problem, module, grid, goal, seeds, PATIENCE * worker_timeout_s, search_s)
        options.say(f"  {name}: {arrivals[name] or 'not there'}")
    runs = {name: _runner(problem, everybody[name][0], arrival, seeds) for name, arrival in arrivals.items() if arrival}
    seconds = run_turns(runs, max(options.n_turns, len(seeds)))
    return [_reading(problem, name, arrival, seconds, goal) for name, arrival in arrivals.items()]


def losses(problem: Problem, module: ModuleType, setting: dict, n_epochs: int, seeds) -> tuple[float, float]:
    """The median over seeds of the test log loss after so many epochs, and the shortest fit's seconds."""
    found, seconds = [], []
    for seed in seeds:
        run, fitted = module.prepare(problem, n_epochs, seed=seed, **setting), []
        seconds.append(timed(lambda run=run, fitted=fitted: fitted.append(run())))
        found.append(log_loss(problem.y_test, fitted[0].predict_proba(problem.X_test)))
    return float(np.median(found)), min(seconds)


def scikit_learns_loss(problem: Problem, module: ModuleType, seeds) -> tuple[float, float, dict]:
    """The goal, what the fit takes that gets there, and its setting.  In float32: precision makes no difference to the
    loss."""
    grid = [setting for setting in module.grid(problem) if setting["dtype"] == "float32"]
    found = [(*losses(problem, module, setting, EPOCHS, seeds), setting) for setting in grid]
    return min(found, key=lambda one: one[0])


def distance(setting: dict, known: dict) -> tuple[bool, float]:
    """How far a setting is from one that gets to the goal: near ones first, for whoever is slower than the best so far
    is stopped early."""
    penalties = (setting.get("alpha"), known["alpha"])
    apart = abs(float(np.log(penalties[0] / penalties[1]))) if all(penalties) else 0.0
    return setting.get("average", False) != known["average"], apart


def soonest(
    problem: Problem,
    module: ModuleType,
    grid: Sequence[dict],
    goal: float,
    seeds,
    worker_timeout_s: float,
    search_s: float = math.inf,
) -> Arrival | None:
    """The setting that is at the goal in the least time; None if none is, or is found in ``search_s`` seconds."""
    # compilation apart, and conversion to a form of the solver's own
    for seed in seeds:
        module.prepare(problem, 1, seed=seed, **grid[0])()
    best, end = None, time.perf_counter() + search_s
    # whose last fit was the shortest is looked at next: so the soonest is found before what takes longer is tried
    waiting = [(0.0, rank, _looks(problem, module, setting, goal, seeds)) for rank, setting in enumerate(grid)]
    while waiting and time.perf_counter() < end:
        seconds, rank, looks = heapq.heappop(waiting)
        # a fit of a few epochs may be slow for once; from 1.5 times on it is no accident
        if seconds > 1.5 * (worker_timeout_s if best is None else best.seconds):
            break
        arrival, seconds = next(looks, (None, None))
        if arrival is not None and (best is None or arrival.seconds < best.seconds):
            best = arrival
        if arrival is None and seconds is not None:
            heapq.heappush(waiting, (seconds, rank, looks))
    return best


def _looks(
    problem: Problem, module: ModuleType, setting: dict, goal: float, seeds
) -> Iterator[tuple[Arrival | None, float]]:
    """A setting with more and more epochs: whether it is at the goal, and a fit's seconds; until more bring nothing."""
    best, idle = float("inf"), 0
    for n_epochs in solvers.steps(MOST_EPOCHS):
        # one seed says whether it is worthwhile to ask the others: nobody's losses differ much between seeds
        first, seconds = losses(problem, module, setting, n_epochs, seeds[:1])
        arrival = None
        if first <= 1.02 * goal:
            loss, least = losses(problem, module, setting, n_epochs, seeds)
            if loss <= goal:
                arrival = Arrival(setting, n_epochs, loss, min(least, seconds))
        yield arrival, seconds
        best, idle = (first, 0) if first < best else (best, idle + 1)
        if idle == LOOKS:
            return


def _runner(problem: Problem, module: ModuleType, arrival: Arrival, seeds):
    """Whole fits, each call with the next seed; what it says are seconds of `fit` alone."""
    made = [module.prepare(problem, arrival.n_epochs, seed=seed, **arrival.setting) for seed in seeds]
    calls = iter(range(10**9))
    return lambda: timed(made[next(calls) % len(made)])


def _reading(problem: Problem, name: str, arrival: Arrival | None, seconds: dict, goal: float) -> Reading:
    make = partial(Reading, FIGURE, problem.title, name, peer=SKLEARN, target=TARGET if name == OURS else None)
    if arrival is None:
        # at no speed: a target is missed, not left open
        return make(ratio=Spread(0.0, 0.0, 0.0), note=f"no setting found that gets to {goal:.4f}")
    epochs = f"{arrival.n_epochs} epoch{'s' * (arrival.n_epochs > 1)}"
    setting = f"{epochs}, {solvers.words(arrival.setting)}"
    note = f"loss {arrival.loss:.4f}, goal {goal:.4f}"
    if name == SKLEARN:
        return Reading(FIGURE, problem.title, name, setting, "s", tuple(seconds[name]), note=note)
    return make(setting, "s", tuple(seconds[name]), ratio(seconds[SKLEARN], seconds[name]), note=note)


def describe(readings: Sequence[Reading]) -> str:
    rows = []
    for r in readings:
        taken = NOTHING if r.median is None else number(1e3 * r.median)
        rows.append([r.problem, r.solver, r.setting or NOTHING, taken, times(r), r.note])
    header = ["problem", "solver", "soonest with", "ms", "times as fast as scikit-learn's SGD", ""]
    return f"{WORDS}\n{table(header, rows, words=(0, 1, 2, 5))}"


def draw(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Bars of the ratios to scikit-learn's SGD, a panel for each problem."""
    titles = dict.fromkeys(r.problem for r in readings if r.ratio is not None)
    panels = [[r for r in select(readings, problem=title) if r.ratio is not None] for title in titles]
    if not panels:
        return []
    drawn, axes = drawing.figure(width=8.0, height=2.2 * len(panels), rows=len(panels))
    for axis, rows in zip(axes, panels, strict=True):
        labels, ratios = [r.solver for r in rows], [r.ratio.median for r in rows]
        colors = [drawing.OURS if r.solver.startswith("parsgd") else drawing.THEIRS for r in rows]
        spreads = [(r.ratio.low, r.ratio.high) for r in rows]
        drawing.bars(axis, labels, ratios, spreads, colors)
        axis.axvline(1.0, color="black", lw=0.8)
        axis.set_title(rows[0].problem, loc="left", fontsize=10)
    axes[-1].set_xlabel("times as fast to the same test loss as scikit-learn's SGDClassifier")
    return [drawing.keep(drawn, folder, "time-to-loss")]
