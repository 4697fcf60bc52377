"""Demonstration: one classifier trained in four ways, then speed compared with scikit-learn, a network and a plan.

Part 1 trains on scikit-learn's handwritten digits (1797 images) and shows each worker's steps and merge weight.  Part 2
measures seconds per pass on a generated problem of 200,000 rows, and part 3 those of a network on the digits.  Part 4
plans the number of workers.  The demonstration takes about a minute.  Run ``scripts/demo``, or ``python
examples/demo.py`` in an environment with parsgd and rich.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier as ScikitLearnSGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as ScikitLearnMLPClassifier
from sklearn.preprocessing import scale

from parsgd import LocalSGD, MLPClassifier, SGDClassifier, SimuParallel, WeightedAverage, plan
from parsgd.testing.faults import slow_down

PASSES = 100
SLOWDOWN = 4.0
REPEATS = 5

console = Console()


@dataclass
class Run:
    """A fitted model and the seconds its fit took."""

    model: Any
    seconds: float


def fitted(make, x, y, repeats: int = REPEATS) -> Run:
    """Fit ``repeats`` models and return the one with the median time."""
    runs = []
    for _ in range(repeats):
        model = make()
        began = time.perf_counter()
        model.fit(x, y)
        runs.append(Run(model, time.perf_counter() - began))
    return sorted(runs, key=lambda run: run.seconds)[repeats // 2]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def say(*sentences: str) -> None:
    console.print(" ".join(sentences), highlight=False)
    console.print()


# -- part 1: steps and weights of each worker ---------------------------------------------------------------------


def classifier(**settings: Any) -> SGDClassifier:
    """Return a logistic regression, one class against the rest, without a stopping rule."""
    return SGDClassifier(loss="log_loss", tol=None, random_state=0, **settings)


def shares(model: SGDClassifier) -> list[tuple[int, int, float]]:
    """Return ``(worker, steps, mean weight)`` of each worker over all rounds of a fit."""
    steps: dict[int, list[int]] = {}
    weights: dict[int, list[float]] = {}
    for entry in model.history_:
        for report in entry["workers"]:
            steps.setdefault(report["worker"], []).append(report["steps"])
            weights.setdefault(report["worker"], []).append(report["weight"])
    return [(worker, sum(steps[worker]), statistics.fmean(weights[worker])) for worker in sorted(steps)]


def add_row(table: Table, title: str, run: Run, accuracy: float, slowed: bool) -> None:
    rows = shares(run.model)
    table.add_row(
        title,
        "\n".join(f"{worker} (slow)" if slowed and worker == 0 else f"{worker}" for worker, _, _ in rows),
        "\n".join(f"{steps:,}" for _, steps, _ in rows),
        "\n".join(f"{weight:.2f}" for _, _, weight in rows),
        f"{accuracy:.3f}",
        f"{run.seconds:.3f}",
        end_section=True,
    )


def show_workers(n_workers: int) -> None:
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, stratify=y, random_state=0)
    console.rule("1. Steps and weights of each worker: handwritten digits")
    say(
        f"{len(y_train)} training images, {len(y_test)} test images, 64 pixels, 10 classes. A step is one image.",
        f"{n_workers} workers on {cores()} cores; a worker marked slow takes {SLOWDOWN:.0f} times as long, as on"
        " a busy or older machine.",
    )
    began = time.perf_counter()
    classifier(n_jobs=1, max_iter=1).fit(x_train, y_train)
    say(
        f"The first fit took {time.perf_counter() - began:.1f} s: it compiles the code, or reads it from the"
        " cache. The times below exclude this."
    )

    slow = slow_down({0: SLOWDOWN}, engine="threads")
    serial = fitted(lambda: classifier(n_jobs=1, max_iter=PASSES), x_train, y_train)
    equal = fitted(
        lambda: classifier(n_jobs=n_workers, max_iter=PASSES, algorithm=SimuParallel(), engine="threads"),
        x_train,
        y_train,
    )
    waiting = fitted(
        lambda: classifier(n_jobs=n_workers, max_iter=PASSES, algorithm=SimuParallel(), engine=slow), x_train, y_train
    )
    deadline = equal.seconds
    weighted = fitted(
        lambda: classifier(
            n_jobs=n_workers, max_iter=100 * PASSES, algorithm=WeightedAverage(seconds=deadline), engine=slow
        ),
        x_train,
        y_train,
    )
    local = fitted(
        lambda: classifier(n_jobs=n_workers, max_iter=PASSES, algorithm=LocalSGD(seconds=deadline / 10), engine=slow),
        x_train,
        y_train,
    )

    n_rounds = len(local.model.history_)
    table = Table()
    table.add_column("method")
    table.add_column("worker")
    for heading in ("steps", "weight", "accuracy", "seconds"):
        table.add_column(heading, justify="right")
    for title, run, slowed in (
        (f"serial SGD\n{PASSES} passes", serial, False),
        (f"SimuParallelSGD\n{PASSES} passes each, averaged", equal, False),
        ("SimuParallelSGD\nthe same, one worker slow", waiting, True),
        (f"WP-SGD\nends after {deadline:.3f} s", weighted, True),
        (f"local SGD\n{n_rounds} rounds of {deadline / 10:.4f} s", local, True),
    ):
        add_row(table, title, run, run.model.score(x_test, y_test), slowed)
    console.print(table)
    say(
        "Every worker runs SGD on its shard of the images, and the workers' models are averaged. The weight is the"
        " merge weight of the worker (for local SGD: the mean over its rounds).",
    )
    say(
        "With SimuParallelSGD every worker makes the same number of steps, so all wait for the slow one:"
        f" {waiting.seconds:.3f} s instead of {equal.seconds:.3f} s. WP-SGD stops all workers after {deadline:.3f} s,"
        " and a worker with fewer steps has a smaller weight. Local SGD does the same, but averages"
        f" {n_rounds} times, and all continue from the average. It ends when the workers have together made"
        f" {PASSES} passes or a little more.",
    )
    alone = classifier(max_iter=1).fit(x_train, y_train)
    say(
        f"The accuracies differ by a few images only, one image being {1 / len(y_test):.3f}.",
        "These data are too few for several workers: a pass takes one worker"
        f" {1e3 * serial.seconds / PASSES:.1f} ms. By default (n_jobs=None) parsgd chooses {alone.algorithm_}.",
    )


# -- part 2: speed ------------------------------------------------------------------------------------------------


def measure_speed(n_rows: int = 200_000, n_features: int = 50, passes: int = 10) -> None:
    console.rule("2. Speed: a generated problem")
    x, y = make_classification(
        n_rows + n_rows // 4, n_features, n_informative=20, n_redundant=10, flip_y=0.05, random_state=0
    )
    x = scale(x).astype(np.float32)
    x_test, y_test = x[n_rows:], y[n_rows:]
    x, y = x[:n_rows], y[:n_rows]
    say(
        f"{n_rows:,} rows, {n_features} features, two classes, float32, dense; logistic regression, {passes} passes."
        " The figure is the least of 3 fits after a small one that compiles: seconds of a whole fit divided by its"
        " passes.",
    )
    settings = {"loss": "log_loss", "max_iter": passes, "tol": None, "random_state": 0}
    makers = {
        "scikit-learn": lambda: ScikitLearnSGDClassifier(**settings),
        "parsgd, 1 worker": lambda: SGDClassifier(n_jobs=1, **settings),
        "parsgd, 2 workers, 10 averages a pass": lambda: SGDClassifier(n_jobs=2, algorithm=LocalSGD(0.1), **settings),
        "parsgd, 2 workers, one average": lambda: SGDClassifier(n_jobs=2, algorithm=SimuParallel(), **settings),
        "parsgd, its own choice": lambda: SGDClassifier(**settings),
    }
    models, seconds = race(makers, x, y, x_test, y_test, passes)
    fastest = min(spent for name, spent in seconds.items() if "2 workers" in name)
    speedup = seconds["parsgd, 1 worker"] / fastest
    say(
        "Speed is scikit-learn's time divided by that of the line.",
        f"By default parsgd chooses {models['parsgd, its own choice'].algorithm_}.",
        f"With the faster of the two settings two workers were {speedup:.1f} times as fast as one; 2 would be ideal."
        " The reasons: threads take a few milliseconds to start and end, checking the data is not parallel, and the"
        " cores may be busy.",
    )


def race(makers, x, y, x_test, y_test, passes: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit all estimators and print the table; return the models and the least seconds per pass."""
    table = Table()
    table.add_column("library")
    for heading in ("seconds per pass", "speed", "accuracy"):
        table.add_column(heading, justify="right")
    models, seconds = {}, {}
    for name, make in makers.items():
        make().fit(x[:1000], y[:1000])
        models[name], seconds[name] = best(make, x, y, passes)
        speed = f"{seconds['scikit-learn'] / seconds[name]:.1f}"
        table.add_row(name, f"{seconds[name]:.4f}", speed, f"{models[name].score(x_test, y_test):.3f}")
    console.print(table)
    return models, seconds


def best(make, x, y, passes: int, repeats: int = 3) -> tuple[Any, float]:
    """Return the last model fitted and the least seconds per pass."""
    least = np.inf
    for _ in range(repeats):
        model = make()
        began = time.perf_counter()
        model.fit(x, y)
        least = min(least, (time.perf_counter() - began) / passes)
    return model, least


# -- part 3: networks ---------------------------------------------------------------------------------------------


def train_network(passes: int = 20) -> None:
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split((x / 16).astype(np.float32), y, stratify=y, random_state=0)
    console.rule("3. A network in matrix form: handwritten digits")
    say(
        f"Layers 64-100-50-10, batches of 32, Adam, float32, {passes} passes. A batch is one matrix product per layer,"
        " inside one compiled pass.",
    )
    settings = {
        "hidden_layer_sizes": (100, 50),
        "batch_size": 32,
        "max_iter": passes,
        "tol": 0.0,
        "n_iter_no_change": passes,
        "random_state": 0,
    }
    makers = {
        "scikit-learn": lambda: ScikitLearnMLPClassifier(**settings),
        "parsgd, 1 worker": lambda: MLPClassifier(n_jobs=1, **settings),
        "parsgd, 2 workers": lambda: MLPClassifier(n_jobs=2, algorithm=LocalSGD(0.1), **settings),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is intended
        race(makers, x_train, y_train, x_test, y_test, passes)
    say(
        "Each of two workers sees half of the images between two averages, which reduces accuracy on so few. By default"
        " parsgd uses one worker here."
    )


# -- part 4: the number of workers --------------------------------------------------------------------------------


def plan_workers(n_rows: int = 30_000, n_features: int = 30) -> None:
    console.rule("4. A plan: the number of workers")
    say(
        f"{n_rows:,} generated rows, {n_features} features, logistic regression. The planner runs short fits, with"
        " eight workers on a simulated cluster. It predicts when each setting reaches the loss of one worker after five"
        " passes.",
    )
    x, y = make_classification(n_rows, n_features, n_informative=15, flip_y=0.1, random_state=0)
    estimator = SGDClassifier(loss="log_loss", max_iter=5, tol=None, random_state=0)
    print(plan(estimator, scale(x).astype(np.float32), y, n_workers=(1, 2, 8), latency_s=1e-4))


if __name__ == "__main__":
    show_workers(n_workers=4 if cores() >= 4 else 2)
    measure_speed()
    train_network()
    plan_workers()
