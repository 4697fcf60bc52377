"""Speed of linear SGD against scikit-learn's own class: same data, same epochs, same run, compilation apart.

Usage: python benchmarks/linear.py [--data FOLDER] [--quick]

For each problem the peers take turns, so that a noisy neighbour hits all of them; figures are medians of the ratios of
neighbouring runs.  ``--quick`` runs small sizes, to see that everything runs.  Without ``--data`` the news20 rows are
made of generated data of the same shape.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn import linear_model

from parsgd import SGDClassifier, SimuParallel

EPOCHS = 5


def sparse_problem(n_rows: int, n_features: int, per_row: int, n_classes: int = 2, uniform: bool = False):
    """Rows of unit length whose features are as unevenly frequent as words, or all alike; labels by a linear rule."""
    rng = np.random.default_rng(0)
    popularity = np.ones(n_features) if uniform else 1.0 / np.arange(1, n_features + 1) ** 0.9
    cumulative = np.cumsum(popularity) / popularity.sum()
    drawn = rng.permutation(n_features)[np.searchsorted(cumulative, rng.random(n_rows * per_row))]
    pointers = np.arange(0, n_rows * per_row + 1, per_row, dtype=np.int32)
    X = sparse.csr_matrix(
        (rng.random(n_rows * per_row, dtype=np.float32), drawn.astype(np.int32), pointers), shape=(n_rows, n_features)
    )
    X.sum_duplicates()
    X.data /= np.repeat(np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel()), np.diff(X.indptr)).astype(np.float32)
    scores = X @ rng.standard_normal((n_features, n_classes - (n_classes == 2)))
    return X, (scores[:, 0] > 0).astype(int) if n_classes == 2 else scores.argmax(axis=1)


def dense_problem(n_rows: int, n_features: int):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_features)).astype(np.float32)
    return X, (X @ rng.standard_normal(n_features) > 0).astype(int)


def news20(folder: Path | None):
    if folder is None:
        return sparse_problem(15_935, 62_061, 85, 20)
    from sklearn.datasets import load_svmlight_file
    from sklearn.preprocessing import normalize

    X, y = load_svmlight_file(str(folder / "news20.svm.bz2"), dtype=np.float32)
    X = normalize(X)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X, np.unique(y, return_inverse=True)[1]


def seconds(make, X, y) -> float:
    model = make()
    began = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - began


def compare(title: str, X, y, targets: dict[str, float], repeats: int, **settings) -> None:
    """Print the ratios of scikit-learn's time to ours, medians over turns."""
    settings = {"max_iter": EPOCHS, "tol": None, "random_state": 0, **settings}
    makers = {
        "scikit-learn": lambda: linear_model.SGDClassifier(**settings),
        "1 worker": lambda: SGDClassifier(n_jobs=1, **settings),
        "2 workers": lambda: SGDClassifier(n_jobs=2, **settings),
        "2 workers, one average": lambda: SGDClassifier(n_jobs=2, algorithm=SimuParallel(), **settings),
    }
    for make in makers.values():
        make().set_params(max_iter=1).fit(X, y)
    times = {name: [] for name in makers}
    for _ in range(repeats):
        for name, make in makers.items():
            times[name].append(seconds(make, X, y))
    base = np.array(times["scikit-learn"])
    epoch = 1e3 / settings["max_iter"]
    print(f"\n{title}\n  scikit-learn {np.median(base) * epoch:.1f} ms an epoch")
    for name in list(makers)[1:]:
        ratios = base / np.array(times[name])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        wanted = f", wanted {targets[name]:g}" if name in targets else ""
        print(
            f"  {name:24} {np.median(times[name]) * epoch:6.1f} ms an epoch, {middle:5.2f} x scikit-learn"
            f" (quartiles {low:.2f} to {high:.2f}{wanted})",
            flush=True,
        )


def small_fit(repeats: int) -> None:
    """What a fit of 1,000 rows by 20 columns costs, where nothing is to be gained."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 20))
    y = (X @ rng.standard_normal(20) > 0).astype(int)
    ours, theirs = SGDClassifier(random_state=0), linear_model.SGDClassifier(random_state=0)
    ours.fit(X, y), theirs.fit(X, y)
    both = np.array([(seconds(lambda: theirs, X, y), seconds(lambda: ours, X, y)) for _ in range(10 * repeats)])
    middle = 1e3 * np.median(both, axis=0)
    extra = 1e3 * np.median(both[:, 1] - both[:, 0])
    print(f"\n1,000 x 20, defaults: scikit-learn {middle[0]:.2f} ms, parsgd {middle[1]:.2f} ms")
    print(f"  difference {extra:+.2f} ms (wanted <= +2)")


def peak_memory(X, y) -> None:
    """Memory that a float32 CSR fit by two workers allocates beyond the data."""
    SGDClassifier(loss="log_loss", n_jobs=2, max_iter=1, tol=None).fit(X, y)
    tracemalloc.start()
    SGDClassifier(loss="log_loss", n_jobs=2, max_iter=2, tol=None, random_state=0).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    data = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    # the driver's state and one for each of two workers
    models = 3 * 4 * X.shape[1]
    print(
        f"\nmemory of a float32 CSR fit, 2 workers: data {data / 1e6:.1f} MB, allocated on top {peak / 1e6:.2f} MB,"
        f" of which model vectors {models / 1e6:.2f} MB;"
        f"\n  together {100 * ((data + peak) / (data + models) - 1):+.1f} % of data + model vectors (wanted <= +10 %)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    shrink, repeats = (50, 2) if arguments.quick else (1, 9)
    X, y = sparse_problem(200_000 // shrink, 47_000, 75)
    one, two = {"1 worker": 2.0, "2 workers": 4.0}, {"1 worker": 3.5, "2 workers": 6.0}
    title = "CSR binary, 200k x 47k, 75 a row, features as frequent as words, log loss"
    compare(title, X, y, one, repeats, loss="log_loss")
    compare("the same, hinge", X, y, one, repeats)
    peak_memory(X, y)
    X, y = sparse_problem(200_000 // shrink, 47_000, 75, uniform=True)
    compare("the same shape, all features alike, log loss", X, y, one, repeats, loss="log_loss")
    X, y = dense_problem(580_000 // shrink, 54)
    compare("dense binary, 580k x 54, log loss", X, y, two, repeats, loss="log_loss")
    compare("the same, hinge", X, y, two, repeats)
    compare("the same, float64, log loss", X.astype(float), y, two, repeats, loss="log_loss")
    X, y = news20(arguments.data)
    many = {"1 worker": 6.0, "2 workers": 10.0}
    compare("news20, 20 classes, log loss", X, y, many, repeats, loss="log_loss")
    compare("the same, hinge", X, y, many, repeats)
    compare("the same, hinge, 20 epochs", X, y, many, repeats, max_iter=20)
    small_fit(repeats)


if __name__ == "__main__":
    main()
