"""Seconds of training until 88 % of Fashion-MNIST's test pictures are told right: a network 784-256-128-10, float32.

What counts as a solver's time: it is trained afresh, with a seed, for as many epochs as that seed needs; the clock
stands while the 10,000 test pictures are looked at.  Which optimiser, batch and rate, is found out before: a race of
all in `grid` on one seed, whose fastest three, or more if none of these gets there with every seed, are run with two
more seeds; the one with the smallest median wins.
Peers then choose their threads and the form of the optimiser, and all winners take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import drawing
from benchmarks.markdown import number, readings_table
from benchmarks.measuring import ratio, run_turns
from benchmarks.options import Options
from benchmarks.problems.fashion_mnist import fashion_mnist
from benchmarks.readings import Reading
from benchmarks.solvers import network_torch
from benchmarks.solvers.network_parsgd import Parsgd
from benchmarks.solvers.network_sklearn import ScikitLearn
from benchmarks.solvers.network_torch import PyTorch
from benchmarks.solvers.training import Fitted, Training

TITLE = "Time to 88 % on Fashion-MNIST"
PROBLEM = "Fashion-MNIST, 784-256-128-10, to 88 % of the test set"
LAYERS, GOAL, SEEDS, MOST_EPOCHS = (784, 256, 128, 10), 0.88, (0, 1, 2), 20
TARGETS = {"PyTorch": 1.5, "scikit-learn": 8.0}
# Chosen beforehand, around the defaults: Adam's 0.001 in all three libraries; with momentum rates that are ten to
# a hundred times greater.  scikit-learn's own batch is 200.
RATES = {("adam", 0.0): (5e-4, 1e-3, 2e-3), ("sgd", 0.9): (1e-2, 3e-2, 1e-1)}
BATCHES = {"parsgd": (64, 128, 256), "PyTorch": (64, 128, 256), "scikit-learn": (64, 128, 200)}
# What a racer may take, in times of the fastest one's time; and how many of them are run with all seeds, at least.
PATIENCE, FINALISTS = 1.3, 3


def grid(name: str, quick: bool) -> list[Training]:
    """The trainings that are raced, likely ones first, for whoever is too slow is stopped early."""
    if quick:
        return [Training((784, 16, 10), 64, "sgd", 3e-2, 0.9), Training((784, 16, 10), 64, "adam", 1e-2)]
    found = [
        Training(LAYERS, batch, optimiser, rate, momentum)
        for batch, ((optimiser, momentum), rates) in product(BATCHES[name], RATES.items())
        for rate in rates
    ]
    return sorted(found, key=lambda one: (one.batch != 128, one.rate not in (1e-3, 3e-2)))


class Split(NamedTuple):
    X_train: np.ndarray
    X_test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray

    def accuracy(self, fitted: Fitted) -> float:
        return float(np.mean(fitted.predict(self.X_test) == self.y_test))


@dataclass(frozen=True)
class Entry:
    """A solver in its best setting: for each seed how many epochs it needs."""

    solver: Parsgd | PyTorch | ScikitLearn
    epochs: tuple[int, ...]
    seconds: float


def measure(options: Options) -> list[Reading]:
    rows = fashion_mnist(options)
    solvers = {"parsgd": Parsgd, "PyTorch": PyTorch, "scikit-learn": ScikitLearn}
    if not network_torch.is_installed():
        del solvers["PyTorch"]
    if rows is None:
        return [_absent(peer, "needs real data: --data FOLDER") for peer in TARGETS]
    split, goal = Split(*rows), 0.2 if options.quick else GOAL
    entries = {}
    for name, make in solvers.items():
        options.say(f"a race of {name}'s settings")
        entries[name] = race([make(training) for training in grid(name, options.quick)], split, goal, options)
    missing = [_absent(peer, f"{peer} is not installed") for peer in TARGETS if peer not in solvers]
    if entries["parsgd"] is None:
        return [*missing, *(_absent(peer, "parsgd did not get there in any setting") for peer in TARGETS)]
    return [*together(entries, split, options), *missing]


def _absent(peer: str, note: str) -> Reading:
    return Reading("time_to_accuracy", PROBLEM, "parsgd", peer=peer, target=TARGETS[peer], note=note)


def arrival(solver, split: Split, goal: float, seed: int, limit_s: float = np.inf) -> tuple[int, float] | None:
    """The first epoch after which the goal is reached, and the seconds until then; None if it takes too long."""
    for epoch, fitted in enumerate(solver.passes(split.X_train, split.y_train, seed), 1):
        if split.accuracy(fitted) >= goal:
            return epoch, fitted.seconds
        if fitted.seconds > limit_s or epoch >= MOST_EPOCHS:
            return None
    return None


def race(solvers: Sequence, split: Split, goal: float, options: Options) -> Entry | None:
    """The solver that is there first; None if nobody is."""
    # an untimed epoch first: what is compiled or read from disk at first use belongs to nobody
    next(iter(solvers[0].passes(split.X_train, split.y_train, 0)))
    limit_s, there = np.inf, []
    for solver in solvers:
        found = arrival(solver, split, goal, SEEDS[0], limit_s)
        options.say(f"{solver.training}: {'no' if found is None else f'{found[0]} epochs, {found[1]:.2f} s'}")
        if found is not None:
            there.append((found[1], solver))
            limit_s = min(limit_s, PATIENCE * found[1])
    entries, ranked = [], [solver for _, solver in sorted(there, key=lambda one: one[0])]
    for rank, solver in enumerate(ranked):
        if rank >= FINALISTS and entries:
            break
        entry = enter(solver, split, goal)
        options.say(f"{solver.training}: {'not with every seed' if entry is None else f'{entry.seconds:.2f} s'}")
        entries += [] if entry is None else [entry]
    if not entries:
        return None
    best = min(entries, key=lambda entry: entry.seconds)
    return replace(best, solver=fastest_form(best.solver, split))


def enter(solver, split: Split, goal: float) -> Entry | None:
    """All seeds of one solver; None if one of them does not get there."""
    found = [arrival(solver, split, goal, seed) for seed in SEEDS]
    if None in found:
        return None
    epochs, seconds = zip(*found, strict=True)
    return Entry(solver, epochs, float(np.median(seconds)))


def forms(solver) -> list:
    """The same training with other threads, and what else changes the time and not the steps."""
    if isinstance(solver, PyTorch):
        return [replace(solver, threads=threads, fused=fused) for threads, fused in product((1, 2), (True, False))]
    if isinstance(solver, ScikitLearn):
        return [replace(solver, threads=threads) for threads in (1, 2)]
    return [solver]


def fastest_form(solver, split: Split):
    """By the best of two single epochs each."""

    def seconds(form) -> float:
        return min(form.fit(split.X_train, split.y_train, 1).seconds for _ in range(2))

    others = forms(solver)
    return others[0] if len(others) == 1 else min(others, key=seconds)


def together(entries: dict[str, Entry | None], split: Split, options: Options) -> list[Reading]:
    """The winners in turns; turn `i` has seed `i mod 3`, so that a ratio is of runs with equal seeds."""
    reached: dict[str, list[float]] = {}
    winners = {name: entry for name, entry in entries.items() if entry is not None}
    ours = winners["parsgd"]
    alone = "parsgd, 1 worker"
    everyone = {**winners, alone: replace(ours, solver=replace(ours.solver, n_jobs=1))}
    runs = {name: run_of(entry, split, reached.setdefault(name, [])) for name, entry in everyone.items()}
    spent = run_turns(runs, options.n_turns, warm_up=lambda name: None)

    def reading(name: str, **compared) -> Reading:
        entry = everyone[name]
        note = f"{'/'.join(map(str, entry.epochs))} epochs by seed; {number(100 * np.median(reached[name]))} % right"
        return Reading(
            "time_to_accuracy",
            PROBLEM,
            entry.solver.name,
            f"{entry.solver.training}; {entry.solver.speed}",
            "s",
            tuple(spent[name]),
            note=note,
            **compared,
        )

    found = [
        reading("parsgd", ratio=ratio(spent[peer], spent["parsgd"]), peer=peer, target=TARGETS[peer])
        for peer in TARGETS
        if peer in winners
    ]
    found.append(
        replace(
            reading("parsgd", ratio=ratio(spent[alone], spent["parsgd"]), peer=alone, target=1.9),
            problem="Fashion-MNIST, 784-256-128-10, equal epochs",
        )
    )
    failed = [
        _absent(name, f"{name} did not get there in {MOST_EPOCHS} epochs, in no setting that was tried")
        for name in TARGETS
        if name in entries and name not in winners
    ]
    return [*found, *failed, *(reading(name) for name in everyone if name != "parsgd")]


def run_of(entry: Entry, split: Split, reached: list[float]) -> Callable[[], float]:
    """Whole trainings, seed after seed; `reached` gets the accuracies."""

    def run() -> float:
        turn = len(reached) % len(SEEDS)
        fitted = entry.solver.fit(split.X_train, split.y_train, entry.epochs[turn], SEEDS[turn])
        reached.append(split.accuracy(fitted))
        return fitted.seconds

    return run


def describe(readings: list[Reading]) -> str:
    batches = "; ".join(f"{name} {', '.join(map(str, sizes))}" for name, sizes in BATCHES.items())
    rates = "; ".join(
        f"{'Adam' if optimiser == 'adam' else 'SGD with momentum 0.9'} {', '.join(f'{rate:g}' for rate in values)}"
        for (optimiser, _), values in RATES.items()
    )
    return "\n".join(
        [
            "60,000 training images, float32; scoring the 10,000 test images is not timed. For every library all"
            " settings below were run on one seed, and the three fastest on two more. The one with the smallest median"
            f" took part. Batches: {batches}. Rates: {rates}. A seed's time is that of a whole training with the number"
            " of epochs that this seed needs for the goal; medians over three seeds.\n",
            readings_table(readings),
            *(f"- {r.solver}, {r.setting}: {r.note}\n" for r in readings if r.values and r.peer in ("", "PyTorch")),
        ]
    )


def draw(readings: list[Reading], folder: Path) -> list[Path]:
    rows = [r for r in readings if r.values and r.peer in ("", "PyTorch")]
    if not rows:
        return []
    drawn, (axis,) = drawing.figure(8.0, 0.8 + 0.55 * len(rows))
    spreads = [(min(r.values), max(r.values)) for r in rows]
    colors = [drawing.OURS if r.solver == "parsgd" else drawing.THEIRS for r in rows]
    drawing.bars(axis, [f"{r.solver}, {r.setting}" for r in rows], [r.median for r in rows], spreads, colors)
    axis.set_xlabel("seconds to 88 % (medians, least and most)")
    return [drawing.keep(drawn, folder, "time-to-accuracy")]
