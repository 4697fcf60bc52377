"""Small fits and predictions beside scikit-learn's, in one run: alone, and beside a Python thread that never pauses.

Prints a row per kind of work: median seconds of both libraries and their ratio.  The two take turns, so the ratio holds
on a machine whose speed drifts::

    python benchmarks/small_work.py [--repeat 300] [--busy-repeat 15] [--only fit]
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import sparse
from sklearn.linear_model import SGDClassifier as TheirSGD
from sklearn.linear_model import SGDRegressor as TheirRegressor
from sklearn.neural_network import MLPClassifier as TheirMLP

from parsgd import MLPClassifier, SGDClassifier, SGDRegressor


def rows(n: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardized rows and labels of two classes, both among the first two rows."""
    X = np.random.default_rng(0).standard_normal((n, n_features))
    y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(int)
    y[:2] = [0, 1][: len(y[:2])]
    return X, y


def sparse_rows(n: int, n_features: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Rows in CSR form with 20 values each, and the labels of :func:`rows`."""
    return sparse.random(n, n_features, 20 / n_features, format="csr", random_state=0), rows(n, 2)[1]


def partial_fit(n: int, ours: type, theirs: type, make=rows, n_features: int = 20, **settings) -> tuple[Callable, ...]:
    """Calls of ``partial_fit`` on ``n`` rows, on a model that has seen some."""
    X, y = make(n, n_features)
    calls = []
    for kind in (ours, theirs):
        classes = {} if "Regressor" in kind.__name__ else {"classes": [0, 1]}
        model = kind(random_state=0, **settings).partial_fit(*make(100, n_features), **classes)
        calls.append(lambda model=model: model.partial_fit(X, y))
    return tuple(calls)


def fit(n: int, ours: type, theirs: type, make=rows, n_features: int = 10, **settings) -> tuple[Callable, ...]:
    """Whole fits of five epochs on ``n`` rows."""
    X, y = make(n, n_features)
    settings = {"max_iter": 5, "tol": None if "SGD" in ours.__name__ else 0.0, "random_state": 0, **settings}
    return tuple(lambda kind=kind: kind(**settings).fit(X, y) for kind in (ours, theirs))


def predict(ours: type, theirs: type, make=rows, n_features: int = 20, **settings) -> tuple[Callable, ...]:
    """Predictions of one row."""
    X, y = make(200, n_features)
    models = [kind(max_iter=5, random_state=0, **settings).fit(X, y) for kind in (ours, theirs)]
    return tuple(lambda model=model: model.predict(X[:1]) for model in models)


HIDDEN = {"hidden_layer_sizes": (16,)}
SGD, MLP = (SGDClassifier, TheirSGD), (MLPClassifier, TheirMLP)
CSR = {"make": sparse_rows, "n_features": 1000}
WORK = {
    **{f"SGD partial_fit, {n} x 20": lambda n=n: partial_fit(n, *SGD) for n in (1, 10, 100)},
    "SGD partial_fit, 10 x 1000 CSR": lambda: partial_fit(10, *SGD, **CSR),
    "SGDRegressor partial_fit, 10 x 20": lambda: partial_fit(10, SGDRegressor, TheirRegressor),
    "MLP partial_fit, 10 x 20": lambda: partial_fit(10, *MLP, **HIDDEN),
    **{f"SGD fit, {n} x 10, 5 epochs": lambda n=n: fit(n, *SGD) for n in (50, 500)},
    "SGD fit, 50 x 1000 CSR": lambda: fit(50, *SGD, **CSR),
    **{f"MLP fit, {n} x 10, 5 epochs": lambda n=n: fit(n, *MLP, **HIDDEN) for n in (50, 500)},
    "SGDRegressor fit, 50 x 10, 5 epochs": lambda: fit(50, SGDRegressor, TheirRegressor),
    "SGD predict, 1 x 20": lambda: predict(*SGD),
    "SGD predict, 1 x 1000 CSR": lambda: predict(*SGD, **CSR),
    "MLP predict, 1 x 20": lambda: predict(*MLP, **HIDDEN),
}


def seconds(calls: tuple[Callable, ...], repeat: int) -> list[float]:
    """The median seconds of each call; they take turns."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(repeat + 3):
        for call, times in zip(calls, taken, strict=True):
            began = time.perf_counter()
            call()
            if turn >= 3:  # the first ones fill caches
                times.append(time.perf_counter() - began)
    return list(map(statistics.median, taken))


def beside_a_busy_thread(calls: tuple[Callable, ...], repeat: int) -> list[float]:
    """:func:`seconds` while another thread of this process computes in Python without pause."""
    done = threading.Event()

    def compute() -> None:
        total = 0
        while not done.is_set():
            total += sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        return seconds(calls, repeat)
    finally:
        done.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=300)
    parser.add_argument("--busy-repeat", type=int, default=15)
    parser.add_argument("--only", default="", help="part of the names of the work to time")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    header = f"{'ours us':>9} {'theirs us':>9} {'ratio':>6}"
    print(f"{'work':<36} {header}   beside a busy thread: {header}")
    for name, make in WORK.items():
        if options.only not in name:
            continue
        calls = make()
        ours, theirs = (1e6 * one for one in seconds(calls, options.repeat))
        busy, their_busy = (1e6 * one for one in beside_a_busy_thread(calls, options.busy_repeat))
        print(
            f"{name:<36} {ours:9.0f} {theirs:9.0f} {ours / theirs:6.2f}   {'':21} {busy:9.0f} {their_busy:9.0f}"
            f" {busy / their_busy:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
