"""Mini-batches in compiled code: two workers against one, and against rounds that return to Python.

Usage: python benchmarks/single/batches.py [--repeats N] [--quick] [--save]

Fits of three passes with ``algorithm="minibatch"`` on generated rows, in milliseconds: medians of interleaved fits with
their quartiles.  ``SGD`` is one worker that steps on the same batches without messages.  ``serial`` makes the rounds of
two workers one after the other.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from benchmarks import stored_tables
from benchmarks.markdown import table
from parsgd import MiniBatch, MLPClassifier, SGDClassifier

LINEAR = {"linear, 100,000 x 54, batches of 32": 32, "batches of 256": 256, "batches of 2,048": 2048}
NETWORKS = {
    "network 784-30-10, 20,000 rows, batches of 10": (784, (30,), 10),
    "network 54-64-32-10, batches of 64": (54, (64, 32), 64),
    "network 784-256-10, batches of 32": (784, (256,), 32),
    "network 784-256-10, batches of 256": (784, (256,), 256),
}


def make_fits(name: str, n_rows: int | None):
    """Return the fits to compare by name, and their rows and labels."""
    random = np.random.default_rng(0)
    settings = {"max_iter": 3, "random_state": 0}
    ways = {"SGD": ("local", "serial", 1), "two, serial": ("", "serial", 2), "two": ("", "threads", 2)}
    if name in LINEAR:
        size = LINEAR[name]
        X = random.standard_normal((n_rows or 100_000, 54))
        y = X[:, 0] + random.standard_normal(len(X)) > 0

        def make(algorithm, engine, n_jobs):
            batches = {"batch_size": size} if algorithm else {}
            chosen = algorithm or MiniBatch(size)
            return SGDClassifier(algorithm=chosen, engine=engine, n_jobs=n_jobs, tol=None, **batches, **settings)

    else:
        n_features, hidden, size = NETWORKS[name]
        X = random.standard_normal((n_rows or 20_000, n_features)).astype(np.float32)
        y = random.integers(0, 10, len(X))

        def make(algorithm, engine, n_jobs):
            chosen = {"algorithm": algorithm or "minibatch", "engine": engine, "n_jobs": n_jobs}
            return MLPClassifier(hidden, batch_size=size, tol=0.0, n_iter_no_change=100, **chosen, **settings)

    return {way: make(*parts) for way, parts in ways.items()}, X, y


def measure(fits, X, y, repeats: int) -> dict[str, np.ndarray]:
    """Return the milliseconds of interleaved fits."""
    found = {way: [] for way in fits}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for fit in fits.values():
            fit.fit(X[:500], y[:500])
        for _ in range(repeats):
            for way, fit in fits.items():
                began = time.perf_counter()
                fit.fit(X, y)
                found[way].append(1e3 * (time.perf_counter() - began))
    return {way: np.array(values) for way, values in found.items()}


def show(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="2,000 rows and two repeats")
    stored_tables.add_option(parser, "batches")
    given = parser.parse_args(arguments)
    lines = []
    for name in (*LINEAR, *NETWORKS):
        fits, X, y = make_fits(name, 2000 if given.quick else None)
        found = measure(fits, X, y, 2 if given.quick else given.repeats)
        medians = {way: float(np.median(values)) for way, values in found.items()}
        ratios = [f"{medians[way] / medians['two']:.2f}" for way in ("two, serial", "SGD")]
        lines.append([name, *map(show, found.values()), *ratios])
    header = ["three passes, ms", *found, "two, serial / two", "SGD / two"]
    stored_tables.show(table(header, lines), given.save, __file__)


if __name__ == "__main__":
    main()
