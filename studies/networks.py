"""Do parallel networks learn as serial ones do?  At equal epochs, on real data, good and bad rows alike.

Usage: python studies/networks.py DATA_FOLDER [--seeds 3] [--out docs/results/networks.md]
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import joblib
import numpy as np
import sklearn
from sklearn import neural_network

import parsgd
from parsgd import LocalSGD, MLPClassifier, MLPRegressor
from parsgd.algorithms.common.worker_loop import run
from parsgd.errors import DivergedError

# what is fitted: layers, epochs, batch, rates where they are not the default, and by which solvers; the same for all
# ways
PROBLEMS = {
    "fashion_mnist": ((256, 128), 15, 64, {"momentum": 0.02}, ("adam", "momentum")),
    "covtype": ((256, 128), 15, 64, {"adam": 0.002}, ("adam",)),
    "california_housing": ((64, 32), 50, 64, {"momentum": 0.01, "sgd": 0.05}, ("adam", "momentum", "sgd")),
}
SOLVERS = {
    "adam": {"solver": "adam"},
    "momentum": {"solver": "sgd"},
    "sgd": {"solver": "sgd", "momentum": 0.0},
}


@dataclass(frozen=True)
class Forgetting(LocalSGD):
    """Local SGD whose workers begin every round with empty moments: what is lost by resetting instead of merging."""

    def run(self, model, shard, task, progress):
        state = task.state.copy()
        state[model.n_parameters :] = 0.0
        report = run(model, shard, replace(task, state=state, schedule_step=1.0), progress)
        return replace(report, schedule_step=task.schedule_step + report.steps)


WAYS = {
    "parsgd, 1 worker": {"n_jobs": 1},
    "2 workers, `auto`": {"n_jobs": 2},
    "local, 1 average a pass": {"n_jobs": 2, "algorithm": LocalSGD(sync_every=1.0)},
    "the same, moments reset": {"n_jobs": 2, "algorithm": Forgetting(sync_every=1.0)},
    "local, 10 averages a pass": {"n_jobs": 2, "algorithm": LocalSGD(sync_every=0.1)},
    "the same, moments reset ": {"n_jobs": 2, "algorithm": Forgetting(sync_every=0.1)},
    "local, 50 averages a pass": {"n_jobs": 2, "algorithm": LocalSGD(sync_every=0.02)},
    "minibatch, exact": {"n_jobs": 2, "algorithm": "minibatch"},
    "SimuParallelSGD": {"n_jobs": 2, "algorithm": "simuparallel"},
    "8 workers, 10 averages a pass": {"n_jobs": 8, "algorithm": LocalSGD(sync_every=0.1)},
}
# What is left out: steps so short or passes so long that it would take the time of all the rest.
LEFT_OUT = {
    ("fashion_mnist", "momentum"): {"minibatch, exact", "8 workers, 10 averages a pass"},
    ("covtype", "adam"): {"minibatch, exact", "local, 50 averages a pass", "8 workers, 10 averages a pass"},
}
HEADER = """# Results: networks

<!-- figures: python studies/networks.py DATA_FOLDER -->

This page compares parallel training of networks with one worker and with scikit-learn. `studies/networks.py` writes it.
All solvers make the same number of passes, with `tol=0` and without early stopping. Scores are means and standard
deviations over {seeds} seeds on held-out rows: a fifth, or the data's own test set. scikit-learn is fitted with one
seed. Seconds are the median fit without compilation; compare their ratios only, because the machine is small and
shared, and eight workers share its cores. Each worker has its own batches; with `minibatch` all workers share them.
Python {python}, scikit-learn {sklearn}, parsgd {parsgd}, {cores} cores.
"""
READING = """
## Observations

<!-- figures: python studies/networks.py DATA_FOLDER -->
<!-- figures: python benchmarks/single/matrix_form.py -->

- With Adam two workers score as one does on Fashion-MNIST and on Covertype, at 1.7 to 2.1 times its speed. Their
  training loss is higher, because each of them makes half of the steps. On California housing a worker makes 129 steps
  per pass. Two workers lose about 0.003 of RMSE there, with momentum 0.007, and with plain SGD 0.014; `n_jobs=None`
  uses one worker.
- **Moments are merged, not reset.** With ten averages per pass resetting reduces accuracy in every row but one, up to a
  point on Covertype. A moment needs some hundred steps to form. With one average per pass merging has the lower
  training loss throughout. The test scores are equal within the spread, except on Fashion-MNIST with Adam, on which
  resetting scores 0.4 points higher.
- One average at the end (SimuParallelSGD) does not suit networks: it is 2 points worse on Fashion-MNIST and 15 on
  Covertype. With momentum on California housing a single worker diverges and the average of two does not.
- `minibatch` is one worker's run to rounding, which in float32 grows over thousands of steps. With steps of a fraction
  of a millisecond its messages take longer than they save. It suits large layers and large batches: 1.1 times one
  worker's speed on 1000-900-10 in `benchmarks/single/matrix_form.py`.
- Eight workers with ten averages per pass are behind, because each makes an eighth of the steps. They would need more
  averages or a longer outer step.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--ways", nargs="*", type=int, help="numbers of the rows to make, from 0 on")
    parser.add_argument("--without-scikit-learn", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs/results/networks.md"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    versions = {"python": platform.python_version(), "sklearn": sklearn.__version__, "parsgd": parsgd.__version__}
    text = HEADER.format(seeds=arguments.seeds, cores=joblib.cpu_count(), **versions)
    ways = [way for k, way in enumerate(WAYS) if arguments.ways is None or k in arguments.ways]
    for name in arguments.only:
        for solver in PROBLEMS[name][4]:
            text += study(name, solver, arguments, ways)
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(text + READING)


def study(name: str, solver: str, arguments: argparse.Namespace, ways: list[str]) -> str:
    layers, epochs, batch, rates, _ = PROBLEMS[name]
    chosen = {"batch_size": batch, **SOLVERS[solver]}
    if solver in rates:
        chosen["learning_rate_init"] = rates[solver]
    reader = getattr(datasets, name)
    data = reader(arguments.folder, classes=True) if name == "covtype" else reader(arguments.folder)
    settings = {
        **chosen,
        "hidden_layer_sizes": layers,
        "max_iter": epochs,
        "tol": 0.0,
        "n_iter_no_change": 10**6,
    }
    regression = name == "california_housing"
    score = "RMSE" if regression else "accuracy"
    shape = "-".join(map(str, (data[0].shape[1], *layers, 1 if regression else len(np.unique(data[2])))))
    given = ", ".join(f"`{key}={value!r}`" for key, value in chosen.items())
    text = f"\n## {name}, {shape}, {solver}\n\n{epochs} passes over {data[0].shape[0]:,} rows; {given}.\n\n"
    text += f"| | test {score} | training loss of the last pass | seconds |\n|---|---|---|---|\n"
    print(text, end="", flush=True)
    ours = MLPRegressor if regression else MLPClassifier
    if not arguments.without_scikit_learn and solver == "adam":
        theirs = neural_network.MLPRegressor if regression else neural_network.MLPClassifier
        text += row("scikit-learn", [fitted(theirs(**settings, random_state=0), data, regression)])
    fitted(ours(**{**settings, "max_iter": 1}), [part[:2000] for part in data], regression)
    for way in ways:
        if way in LEFT_OUT.get((name, solver), ()):
            continue
        models = [ours(**settings, **WAYS[way], random_state=seed) for seed in range(arguments.seeds)]
        text += row(way, [fitted(model, data, regression) for model in models])
    return text


def fitted(model, data, regression) -> tuple[float, float, float]:
    X, X_test, y, y_test = data
    began = time.perf_counter()
    try:
        model.fit(X, y)
    except DivergedError:
        return np.nan, np.nan, np.nan
    seconds = time.perf_counter() - began
    if regression:
        return float(np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2))), model.loss_curve_[-1], seconds
    return model.score(X_test, y_test), model.loss_curve_[-1], seconds


def row(way: str, results: list[tuple[float, float, float]]) -> str:
    finished = [result for result in results if np.isfinite(result).all()]
    if len(finished) < len(results):
        text = f"| {way} | diverged with {len(results) - len(finished)} of {len(results)} seeds | | |\n"
        print(text, end="", flush=True)
        return text
    scores, losses, seconds = np.array(results).T
    spread = f" ± {scores.std(ddof=1):.4f}" if len(scores) > 1 else ""
    text = f"| {way} | {scores.mean():.4f}{spread} | {losses.mean():.4f} | {np.median(seconds):.1f} |\n"
    print(text, end="", flush=True)
    return text


if __name__ == "__main__":
    main()
