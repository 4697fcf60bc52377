"""``learning_rate="auto"`` without any setting, against the best of 48 settings of plain SGD on each of 12 data sets.

Usage: python benchmarks/no_tuning.py DATA_FOLDER [--seeds 3] [--quick] [--save]

Test losses after three passes over at most 60,000 rows, as they come from the file: log loss, softmax or half the
squared error, with the default penalty.  The 48 settings are 12 rates, the schedules "constant" and "invscaling", and
the features as they are or scaled (StandardScaler; MaxAbsScaler for sparse rows).  If the best rate is the smallest or
the largest one, further rates are tried until it is not.  The best setting is chosen by its test loss, which favors it.
Losses are means over seeds.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "studies"))

import datasets
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import logsumexp
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_svmlight_file
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

from benchmarks import stored_tables
from benchmarks.markdown import number, table
from parsgd import SGDClassifier, SGDRegressor
from parsgd.errors import DivergedError

MOST_ROWS, MOST_TEST_ROWS, PASSES, POWER_T = 60_000, 20_000, 3, 0.25
# rates in units of 1 / (1 + the mean squared length of a row)
POWERS = range(12)
SCHEDULES = ("constant", "invscaling")


@dataclass(frozen=True)
class Problem:
    """A data set; ``loss`` is log_loss, softmax or squared_error."""

    name: str
    loss: str
    X: Any
    X_test: Any
    y: np.ndarray
    y_test: np.ndarray


def problem(name: str, loss: str, split: datasets.Split) -> Problem:
    X, X_test, y, y_test = split
    return Problem(name, loss, X[:MOST_ROWS], X_test[:MOST_TEST_ROWS], y[:MOST_ROWS], y_test[:MOST_TEST_ROWS])


def bundled() -> Iterator[Problem]:
    """Yield the data sets of scikit-learn, unscaled."""
    for name, loss, load in (("digits", "softmax", load_digits), ("breast cancer", "log_loss", load_breast_cancer)):
        X, y = load(return_X_y=True)
        yield problem(name, loss, datasets.split(X, y))
    X, y = load_diabetes(return_X_y=True, scaled=False)
    yield problem("diabetes", "squared_error", datasets.split(X, y, stratify=False))


def problems(folder: Path) -> Iterator[Problem]:
    """Yield all data sets, numbers as they are in the files."""
    yield problem("enron_spam", "log_loss", datasets.enron_spam(folder))
    yield problem("adult", "log_loss", datasets.adult(folder))
    X, y = load_svmlight_file(str(folder / "news20.svm.bz2"), dtype=np.float32)
    yield problem("news20", "softmax", datasets.split(datasets.narrow(X), np.unique(y, return_inverse=True)[1]))
    frame = pd.read_parquet(folder / "covtype.parquet")
    y = frame.pop("Cover_Type").to_numpy().astype(int)
    categories = [name for name in frame if frame[name].nunique() <= 60]
    X = np.hstack([frame.drop(columns=categories).to_numpy(np.float32), one_hot(frame[categories]).toarray()])
    yield problem("covtype, class 2", "log_loss", datasets.split(X, (y == 2).astype(int)))
    yield problem("covtype", "softmax", datasets.split(X, y - 1))
    frame = pd.read_parquet(folder / "nycflights13.parquet").dropna(subset=["arr_delay"])
    numbers = frame[["dep_delay", "distance", "air_time"]].fillna(0.0).to_numpy(np.float32)
    ones = one_hot(frame[["carrier", "flight", "tailnum", "origin", "dest", "month", "day", "hour"]])
    X = datasets.narrow(sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(numbers), ones]), dtype=np.float32))
    delay = frame["arr_delay"].to_numpy(float)
    yield problem("nycflights, late", "log_loss", datasets.split(X, (delay > 15).astype(int)))
    yield problem("nycflights, delay", "squared_error", datasets.split(X, delay, stratify=False))
    frame = pd.read_csv(folder / "california_housing.csv.xz")
    y = frame.pop("median_house_value").to_numpy(float)
    ones = one_hot(frame.select_dtypes(exclude="number")).toarray()
    numbers = frame.select_dtypes(include="number")
    X = np.hstack([numbers.fillna(numbers.median()).to_numpy(np.float32), ones])
    yield problem("california_housing", "squared_error", datasets.split(X, y, stratify=False))
    X, X_test, y, y_test = datasets.fashion_mnist(folder)
    yield problem("fashion_mnist", "softmax", (255.0 * X, 255.0 * X_test, y, y_test))
    yield from bundled()


def one_hot(frame: pd.DataFrame) -> Any:
    return OneHotEncoder(dtype=np.float32).fit_transform(frame.astype(str))


def test_loss(one: Problem, X: Any, X_test: Any, **settings: Any) -> float:
    """Return the test loss of a fit; infinity if it diverged."""
    kind = SGDRegressor if one.loss == "squared_error" else SGDClassifier
    try:
        model = kind(one.loss, max_iter=PASSES, tol=None, n_jobs=1, **settings).fit(X, one.y)
    except DivergedError:
        return np.inf
    if one.loss == "squared_error":
        return 0.5 * float(np.square(model.predict(X_test).astype(float) - one.y_test).mean())
    scores = model.decision_function(X_test).astype(float)
    if one.loss == "log_loss":
        return float(np.logaddexp(0.0, np.where(one.y_test == model.classes_[1], -scores, scores)).mean())
    numbers = np.searchsorted(model.classes_, one.y_test)
    return float((logsumexp(scores, axis=1) - scores[np.arange(len(numbers)), numbers]).mean())


def rate(power: int) -> float:
    return 0.003 * 3.0**power


def best_of_grid(one: Problem, seeds: range) -> tuple[float, str]:
    """Return the least mean test loss of the 48 settings and those beyond an edge of the rates, and the setting."""
    found = []
    scaler = MaxAbsScaler() if sparse.issparse(one.X) else StandardScaler()
    for name in ("as it is", "scaled"):
        X, X_test = (
            (one.X, one.X_test) if name == "as it is" else (scaler.fit_transform(one.X), scaler.transform(one.X_test))
        )
        values = X.data if sparse.issparse(X) else X
        unit = 1.0 / (1.0 + float(np.square(values, dtype=float).sum()) / X.shape[0])
        for schedule in SCHEDULES:
            losses: dict[int, float] = {}
            todo: list[int] = list(POWERS)
            while todo:
                for power in todo:
                    settings = {"learning_rate": schedule, "eta0": unit * rate(power), "power_t": POWER_T}
                    losses[power] = float(
                        np.mean([test_loss(one, X, X_test, random_state=seed, **settings) for seed in seeds])
                    )
                best = min(losses, key=losses.__getitem__)
                todo = [power for power in (best - 1, best + 1) if power not in losses]
            found.append((losses[best], f"{schedule}, eta0={number(unit * rate(best))}, {name}"))
    return min(pair for pair in found if np.isfinite(pair[0]))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the real data; not needed with --quick")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the data sets of scikit-learn, one seed; no measurement")
    stored_tables.add_option(parser, "no_tuning")
    given = parser.parse_args(arguments)
    if given.folder is None and not given.quick:
        parser.error("a folder of real data is needed, except with --quick")
    warnings.simplefilter("ignore")
    seeds, rows, ratios = range(1 if given.quick else given.seeds), [], []
    with np.errstate(all="ignore"):
        for one in bundled() if given.quick else problems(given.folder):
            best, setting = best_of_grid(one, seeds)
            losses = [test_loss(one, one.X, one.X_test, random_state=seed, learning_rate="auto") for seed in seeds]
            ratios.append(float(np.mean(losses)) / best)
            shape = f"{one.X.shape[0]:,} x {one.X.shape[1]:,}"
            rows.append(
                [one.name, shape, number(float(np.mean(losses)), 4), number(best, 4), f"{ratios[-1]:.3f}", setting]
            )
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["data", "rows x columns", "auto", "best of 48", "auto / best", "best setting"]
    within, better = sum(ratio <= 1.03 for ratio in ratios), sum(ratio < 1.0 for ratio in ratios)
    text = f"Within 3 % of the best setting: {within} of {len(ratios)}. Better: {better} of {len(ratios)}.\n"
    libraries = ("parsgd", "numpy", "scikit-learn")
    stored_tables.show(f"{table(header, rows, words=(0, 1, 5))}\n{text}", given.save, __file__, libraries)


if __name__ == "__main__":
    main()
