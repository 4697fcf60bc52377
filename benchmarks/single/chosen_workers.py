"""``algorithm="auto"`` with ``n_jobs=2`` beside one worker: predicted and measured times of fits of five passes.

Prints a row per size and kind of data: the workers chosen, the predicted and the measured time of one worker in
milliseconds, the predicted and the measured quotient (over 1: the choice is faster), and both training losses. The fits
take turns. ``--load`` starts as many processes that compute without pause as there are cores::

    python benchmarks/single/chosen_workers.py [--repeat 5] [--load] [--only sparse] [--save]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from scipy import sparse

from benchmarks import stored_tables
from benchmarks.markdown import table
from parsgd import MLPClassifier, SGDClassifier, SGDRegressor
from parsgd.estimators.auto_select import predict_seconds
from parsgd.estimators.cost_estimates import ProblemSize
from parsgd.estimators.linear.linear_size import LinearSize
from parsgd.estimators.network.network_size import NetworkSize

PASSES = 5
SIZES = (100, 1_000, 10_000, 100_000)


def dense_rows(n: int, n_features: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, n_features), dtype=np.float32)


def sparse_rows(n: int, n_features: int = 20_000, n_values: int = 50) -> sparse.csr_matrix:
    """Rows whose features have very unequal frequencies, as words have."""
    random = np.random.default_rng(0)
    features = (random.random((n, n_values)) ** 3 * n_features).astype(np.int32)
    ends = np.arange(0, n * n_values + 1, n_values, dtype=np.int32)
    rows = sparse.csr_matrix(
        (random.random(n * n_values, dtype=np.float32), features.ravel(), ends), shape=(n, n_features)
    )
    rows.sum_duplicates()
    return rows


def labels(X, n_classes: int) -> np.ndarray:
    """Labels of a linear rule with noise; numbers if ``n_classes`` is 0."""
    random = np.random.default_rng(1)
    scores = X @ random.standard_normal((X.shape[1], max(n_classes, 1)))
    scores += 0.5 * np.abs(scores).mean() * random.standard_normal(scores.shape)
    if n_classes == 0:
        return scores[:, 0]
    return scores.argmax(axis=1) if n_classes > 2 else (scores[:, 0] > np.median(scores[:, 0])).astype(int)


def linear(
    n: int, X, n_classes: int, loss: str = "log_loss", adagrad: bool = False
) -> tuple[Callable, object, np.ndarray, ProblemSize]:
    """A fit of a linear model, its data and its size."""
    n_outputs = n_classes if n_classes > 2 else 1
    one_against_all = n_outputs > 1 and loss != "softmax"
    size = LinearSize(n, X.size, X.shape[1], n_outputs, sparse.issparse(X), one_against_all, adagrad)
    kind = SGDRegressor if n_classes == 0 else SGDClassifier
    settings = {} if n_classes == 0 else {"loss": loss}
    settings |= {"learning_rate": "adagrad", "eta0": 0.3} if adagrad else {}
    return lambda **given: kind(max_iter=PASSES, tol=None, **settings, **given), X, labels(X, n_classes), size


def network(
    n: int, X: np.ndarray, hidden: tuple[int, ...], batch: int
) -> tuple[Callable, object, np.ndarray, ProblemSize]:
    """A fit of a network with Adam, its data and its size."""
    batch = min(batch, n)
    size = NetworkSize(n, X.size, (X.shape[1], *hidden, 10), batch, n_slots=2)

    def make(**given):
        return MLPClassifier(hidden, batch_size=batch, max_iter=PASSES, tol=0.0, n_iter_no_change=PASSES + 1, **given)

    return make, X, labels(X, 10), size


def cells() -> Iterator[tuple[str, tuple[Callable, object, np.ndarray, ProblemSize]]]:
    """Name, fit, data and size of every cell."""
    for n in SIZES:
        yield f"dense {n} x 54, 2 classes", linear(n, dense_rows(n, 54), 2)
        yield f"dense {n} x 54, regression", linear(n, dense_rows(n, 54), 0)
        yield f"dense {n} x 54, 10 classes", linear(n, dense_rows(n, 54), 10)
        yield f"sparse {n} x 20,000, 2 classes", linear(n, sparse_rows(n), 2)
        yield f"sparse {n} x 20,000, softmax of 5", linear(n, sparse_rows(n), 5, "softmax")
    for n in SIZES[1:]:
        n = min(n, 30_000)
        yield f"network {n} x 100-32-10, batch 32", network(n, dense_rows(n, 100), (32,), 32)
        yield f"network {n} x 100-100-10, batch 200", network(n, dense_rows(n, 100), (100,), 200)
    yield "dense 100,000 x 54, AdaGrad", linear(100_000, dense_rows(100_000, 54), 2, adagrad=True)
    words = sparse_rows(24_000, 262_144, 118)
    yield "sparse 24,000 x 262,144", linear(24_000, words, 2)
    yield "sparse 24,000 x 262,144, AdaGrad", linear(24_000, words, 2, adagrad=True)
    words = sparse_rows(12_000, 60_000, 80)
    yield "sparse 12,000 x 60,000, 20 classes, AdaGrad", linear(12_000, words, 20, adagrad=True)
    yield "dense 10,000,000 x 10, 2 classes", linear(10_000_000, dense_rows(10_000_000, 10), 2)
    yield "dense 1,000,000 x 20, 2 classes", linear(1_000_000, dense_rows(1_000_000, 20), 2)
    yield "dense 300,000 x 54, 7 classes", linear(300_000, dense_rows(300_000, 54), 7)


def measure(make: Callable, X, y: np.ndarray, repeat: int) -> dict[int, tuple[float, float, int]]:
    """Median seconds, median loss and workers, by ``n_jobs``; the first fits compile."""
    taken: dict[int, list[tuple[float, float, int]]] = {1: [], 2: []}
    for turn in range(repeat + 1):
        for n_jobs, fits in taken.items():
            model = make(random_state=turn, n_jobs=n_jobs)
            began = time.perf_counter()
            model.fit(X, y)
            entry = model.history_[-1]
            fits.append((time.perf_counter() - began, entry["loss"], len(entry["workers"])))
    return {
        n_jobs: (
            statistics.median(fit[0] for fit in fits[1:]),
            statistics.median(fit[1] for fit in fits[1:]),
            fits[-1][2],
        )
        for n_jobs, fits in taken.items()
    }


def compute_forever() -> None:
    total = 0
    while True:
        total += sum(range(1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--load", action="store_true", help="both cores are busy with other work")
    parser.add_argument("--only", default="", help="part of the names of the cells to run")
    stored_tables.add_option(parser, "chosen_workers")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    others = [multiprocessing.Process(target=compute_forever, daemon=True) for _ in range(os.cpu_count() or 1)]
    for other in others if options.load else ():
        other.start()
    rows = []
    for name, (make, X, y, size) in cells():
        if options.only not in name:
            continue
        found = measure(make, X, y, options.repeat)
        (alone, loss_alone, _), (chosen, loss_chosen, n_workers) = found[1], found[2]
        predicted = [PASSES * predict_seconds(size, n) for n in (1, n_workers)]
        quotients = [f"{predicted[0] / predicted[1]:.2f}", f"{alone / chosen:.2f}"]
        losses = [f"{loss_alone:.3g}", f"{loss_chosen:.3g}"]
        rows.append([name, str(n_workers), f"{1e3 * predicted[0]:.3g}", f"{1e3 * alone:.3g}", *quotients, *losses])
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["data", "workers", "one worker, ms: predicted", "measured", "quotient: predicted", "measured"]
    stored_tables.show(table([*header, "loss: one", "auto"], rows), options.save, __file__)


if __name__ == "__main__":
    main()
