"""Test scores of networks by how often workers average, and with moments that are merged or reset, at equal passes.

Usage: python studies/networks.py DATA_FOLDER [--only covtype-adam ...] [--page-only]
       python studies/networks.py --quick --only covtype-adam --stored FILE.json --out FILE.md

The readings are in studies/readings/networks.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import datasets
from stored_study import Stored, StoredStudy

from benchmarks.markdown import NOTHING, table
from benchmarks.time_to_goal import tasks
from parsgd import LocalSGD, MLPClassifier, MLPRegressor, SimuParallel
from parsgd.algorithms.common.worker_loop import run
from parsgd.errors import DivergedError

STUDY = StoredStudy("networks", one_core=True)
REGRESSION = "california_housing"
# Layers, passes, and number of seeds.
DATA = {
    "fashion_mnist": ((256, 128), 5, 3),
    "covtype": ((256, 128), 5, 3),
    REGRESSION: ((64, 32), 50, 10),
}
BATCH = 64
ADAM, MOMENTUM, SGD = "adam", "momentum", "sgd"
# Data, solver and its settings: those of one worker, which all rows have.
SETS = {
    "fashion_mnist-adam": ("fashion_mnist", {"solver": "adam", "learning_rate_init": 0.001}),
    "fashion_mnist-momentum": ("fashion_mnist", {"solver": "sgd", "momentum": 0.9, "learning_rate_init": 0.02}),
    "covtype-adam": ("covtype", {"solver": "adam", "learning_rate_init": 0.002}),
    "california_housing-adam": (REGRESSION, {"solver": "adam", "learning_rate_init": 0.001}),
    "california_housing-momentum": (REGRESSION, {"solver": "sgd", "momentum": 0.9, "learning_rate_init": 0.003}),
    "california_housing-sgd": (REGRESSION, {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05}),
}


@dataclass(frozen=True)
class Resetting(LocalSGD):
    """Local SGD whose workers start every round with empty moments."""

    def run(self, model, shard, task, progress):
        state = task.state.copy()
        state[model.n_parameters :] = 0.0
        report = run(model, shard, replace(task, state=state, schedule_step=1.0), progress)
        return replace(report, schedule_step=task.schedule_step + report.steps)


@dataclass(frozen=True)
class Way:
    """A row of the tables: workers, averages per pass, moments, and the algorithm."""

    workers: int
    averages: str
    moments: str
    algorithm: Any

    @property
    def name(self) -> str:
        return f"{self.workers}, {self.averages}, {self.moments}"


MERGED, RESET = "merged", "reset"
WAYS = (
    Way(1, NOTHING, NOTHING, LocalSGD()),
    Way(2, "1", MERGED, LocalSGD(sync_every=1.0)),
    Way(2, "1", RESET, Resetting(sync_every=1.0)),
    Way(2, "10", MERGED, LocalSGD(sync_every=0.1)),
    Way(2, "10", RESET, Resetting(sync_every=0.1)),
    Way(2, "50", MERGED, LocalSGD(sync_every=0.02)),
    Way(2, "10, adaptive", MERGED, LocalSGD(sync_every=0.1, outer_optimizer="adaptive")),
    Way(2, "one at the end", NOTHING, SimuParallel()),
    Way(8, "10", MERGED, LocalSGD(sync_every=0.1)),
)
COMMENT = "<!-- figures: python studies/networks.py DATA_FOLDER -->"
PAGE = """# Results: networks

{comment}

This page compares how often the workers of a network average, and moments that are merged with moments that are reset.
All rows make the same number of passes. `python studies/networks.py DATA_FOLDER` writes this page from the readings in
`studies/readings/networks.json`, in about {minutes} minutes of one core.

**All rows share the settings of one worker**, which were chosen by hand and not tuned. This page is therefore no
measure of the benefit of workers. The fair comparison, in which one worker and all algorithms have the same tuning, is
[all algorithms](family.md). Speed is in [benchmarks](../benchmarks.md).

- **Rows**: each worker has its share of the rows and batches of {batch}. `averages` are those per pass, and `one at the
  end` is SimuParallelSGD. `adaptive` has the adaptive outer step. With `reset`, every round starts with empty moments
  and the first step of their schedule. Without momentum there are no moments, and `reset` has no effect.
- **Scores**: means and standard deviations over the seeds, on held-out rows: a fifth, or the data's own test set. RMSE
  is in standard deviations of the target. The training loss is that of the last pass. There is no early stopping.
- **Steps**: two workers make half as many steps each as one worker, and eight workers an eighth.
- **Limits**: fits on Fashion-MNIST and Covertype have few passes and seeds, to save time. On California housing the
  rate of momentum was 0.01 at first. At that rate a fit of one worker diverged with one of ten seeds, so it is 0.003.

{about}

## Summary

{comment}

Test scores. The columns with two numbers have the workers, and then the averages per pass.

{summary}
{sections}"""
SECTION = """## {data}, {shape}, {solver}

{comment}

{passes} passes over {n_rows:,} rows, {n_seeds} seeds; {settings}.

{table}
"""


def data_of(name: str, folder: Path | None) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Rows and targets for training and for testing; without a folder a few generated images."""
    if folder is not None:
        return datasets.covtype(folder, classes=True) if name == "covtype" else getattr(datasets, name)(folder)
    task = tasks.load("fashion_mnist", None)
    y, y_test = (part / 9.0 if name == REGRESSION else part for part in (task.y, task.y_test))
    return task.X, task.X_test, y, y_test


def solver_of(settings: dict[str, Any]) -> str:
    return ADAM if settings["solver"] == "adam" else MOMENTUM if settings["momentum"] else SGD


def measure(name: str, folder: Path | None, quick: bool) -> dict[str, Any]:
    """The test scores and training losses of every row, None for a fit that diverges."""
    data_name, settings = SETS[name]
    layers, passes, n_seeds = ((8,), 2, 1) if quick else DATA[data_name]
    X, X_test, y, y_test = data_of(data_name, folder)
    n_outputs = 1 if data_name == REGRESSION else len(np.unique(y))

    def fit(way: Way, seed: int) -> tuple[float | None, float | None]:
        common = {"batch_size": BATCH, "max_iter": passes, "tol": 0.0, "n_iter_no_change": 10**6, "random_state": seed}
        workers = {"n_jobs": way.workers, "algorithm": way.algorithm, "engine": "serial"}
        estimator = MLPRegressor if data_name == REGRESSION else MLPClassifier
        model = estimator(hidden_layer_sizes=layers, **settings, **common, **workers)
        try:
            model.fit(X, y)
        except DivergedError:
            return None, None
        loss = float(model.loss_curve_[-1])
        if data_name == REGRESSION:
            return float(np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2))), loss
        return float(model.score(X_test, y_test)), loss

    rows = []
    for way in WAYS:
        scores, losses = zip(*(fit(way, seed) for seed in range(n_seeds)), strict=True)
        rows.append({"name": way.name, "scores": scores, "losses": losses})
        print(f"  {way.name}: {score_of(rows[-1])}, {loss_of(rows[-1])}", flush=True)
    shape = "-".join(map(str, (X.shape[1], *layers, n_outputs)))
    return {"data": data_name, "shape": shape, "passes": passes, "n_rows": len(y), "settings": settings, "rows": rows}


def score_of(row: dict[str, Any]) -> str:
    """Mean and standard deviation of the test scores."""
    scores = [score for score in row["scores"] if score is not None]
    if len(scores) < len(row["scores"]):
        return f"diverged with {len(row['scores']) - len(scores)} of {len(row['scores'])} seeds"
    return f"{np.mean(scores):.4f}" + (f" ± {np.std(scores, ddof=1):.4f}" if len(scores) > 1 else "")


def loss_of(row: dict[str, Any]) -> str:
    """The mean training loss; a dash if a fit diverged."""
    return NOTHING if None in row["losses"] else f"{np.mean(row['losses']):.4f}"


def score_name(entry: dict[str, Any]) -> str:
    return "RMSE" if entry["data"] == REGRESSION else "accuracy"


def table_of(entry: dict[str, Any]) -> str:
    """A line for each row of a data set and solver."""
    rows = {row["name"]: row for row in entry["rows"]}
    lines = [
        [str(way.workers), way.averages, way.moments, score_of(rows[way.name]), loss_of(rows[way.name])]
        for way in WAYS
        if way.name in rows
    ]
    return table(["workers", "averages", "moments", f"test {score_name(entry)}", "training loss"], lines, words=(1, 2))


def summary(found: list[dict[str, Any]]) -> str:
    """The mean test scores, a line for each data set and solver."""
    lines = []
    for entry in found:
        scores = {row["name"]: row["scores"] for row in entry["rows"]}
        means = [NOTHING if None in scores[way.name] else f"{np.mean(scores[way.name]):.4f}" for way in WAYS]
        lines.append([entry["data"], solver_of(entry["settings"]), score_name(entry), *means])
    titles = [
        "1 worker" if way.workers == 1 else f"{way.workers}, {way.averages}" + ", reset" * (way.moments == RESET)
        for way in WAYS
    ]
    return table(["data", "solver", "score", *titles], lines, words=(0, 1, 2))


def page(stored: Stored, observations: str = "") -> str:
    """The page from the stored readings."""
    found = [stored[name] for name in SETS if name in stored]
    sections = [
        SECTION.format(
            data=entry["data"],
            shape=entry["shape"],
            solver=solver_of(entry["settings"]),
            comment=COMMENT,
            passes=entry["passes"],
            n_rows=entry["n_rows"],
            n_seeds=len(entry["rows"][0]["scores"]),
            settings=", ".join(f"`{key}={value!r}`" for key, value in entry["settings"].items()),
            table=table_of(entry),
        )
        for entry in found
    ]
    text = PAGE.format(
        comment=COMMENT,
        minutes=math.ceil(sum(entry["about"]["seconds"] for entry in found) / 60.0),
        batch=BATCH,
        about="\n".join(sorted({entry["about"]["text"] for entry in found})),
        summary=summary(found),
        sections="\n".join(sections),
    )
    return text + observations


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets and solvers, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, SETS, "DATASET-SOLVER", "2,000 generated rows, one seed, small layers")
    given = STUDY.parse(parser, arguments)

    def measure_set(name: str, _: Stored) -> dict[str, Any]:
        with threadpool_limits(1, user_api="blas"):
            return measure(name, given.folder, given.quick)

    STUDY.write(given, STUDY.measure(given, measure_set), page)


if __name__ == "__main__":
    main()
