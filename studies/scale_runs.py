"""Rows with a known optimum, and the fits of studies/scale.py, those of a size in a process of their own.

    python -m studies.scale_runs arrays ROWS --workers 2
    python -m studies.scale_runs files ROWS --workers 2 --folder FOLDER

prints seconds, memory and excess losses as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from scipy.special import expit

from benchmarks.apart import peak_bytes
from benchmarks.measuring import timed
from benchmarks.steady import LEAST_S, QUICK_S, Steady
from parsgd import SGDClassifier, SGDRegressor, open_dataset

N_COLUMNS, TARGET = 10, "y"
# Rows per file, and per generator of random numbers.
CHUNK = 100_000
LOGISTIC, SQUARES = "logistic", "squares"
# Three fits up to so many rows, one of more.
TURNS, MANY_ROWS = 3, 10_000_000
# From this size on, a pass is long enough for the clock, and is the mean of so many passes in a fit.
LARGE, MANY = 1_000_000, 4
# Rates that fall with the root of the steps, and the mean of all steps, which attains the best possible excess.
RATES = {"learning_rate": "invscaling", "power_t": 0.5, "average": True, "tol": None}
ETA0 = {LOGISTIC: 0.5, SQUARES: 0.1}
COVTYPE_ETA0, COVTYPE_ALPHA = 0.03, 1e-6
NODES = 120


# -- rows ------------------------------------------------------------------------------------------------------------


def optimum() -> np.ndarray:
    """The weights with the least expected loss, shape (n_columns,), of length 2; the intercept is 0."""
    drawn = np.random.default_rng(0).standard_normal(N_COLUMNS)
    return 2.0 * drawn / np.linalg.norm(drawn)


def fill(X: np.ndarray, y: np.ndarray, number: int) -> None:
    """Draw chunk `number`: normal columns, and targets of the model with the weights of the optimum.

    Integer targets are classes with the probabilities of logistic regression; others have normal noise of variance 1.
    """
    rng = np.random.default_rng((1, number))
    rng.standard_normal(out=X, dtype=np.float32)
    scores = X @ optimum().astype(np.float32)
    if y.dtype.kind == "i":
        y[:] = rng.random(len(y), dtype=np.float32) < expit(scores)
    else:
        y[:] = scores + rng.standard_normal(len(y), dtype=np.float32)


def rows_in_memory(n_rows: int, loss: str, chunk: int = CHUNK) -> tuple[np.ndarray, np.ndarray]:
    """The first rows, float32 `(n_rows, n_columns)`, and their targets; the same ones for every number of rows."""
    X = np.empty((n_rows, N_COLUMNS), dtype=np.float32)
    y = np.empty(n_rows, dtype=np.int8 if loss == LOGISTIC else np.float32)
    parts = [slice(first, first + chunk) for first in range(0, n_rows, chunk)]
    with ThreadPoolExecutor(2) as pool:
        # list: raises the error of a thread
        list(pool.map(lambda number: fill(X[parts[number]], y[parts[number]], number), range(len(parts))))
    return X, y


def write_rows(folder: Path, n_rows: int, chunk: int = CHUNK) -> None:
    """Write the rows of `rows_in_memory` as uncompressed Parquet files of a chunk each, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(number: int) -> None:
        path = folder / f"part-{number:05}.parquet"
        if not path.exists():
            X, y = np.empty((chunk, N_COLUMNS), dtype=np.float32), np.empty(chunk, dtype=np.int8)
            fill(X, y, number)
            write_part(path, X, y)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(n_rows // chunk)))


def write_part(path: Path, X: np.ndarray, y: np.ndarray, plain: bool = True) -> None:
    """Write a Parquet file with columns `x0`, `x1`, ... and `y`; `plain`: neither compressed nor with dictionaries."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({**{f"x{k}": np.ascontiguousarray(column) for k, column in enumerate(X.T)}, TARGET: y})
    pq.write_table(table, path, **({"compression": "none", "use_dictionary": False} if plain else {}))


def replicate(path: Path, n_copies: int) -> None:
    """Add hard links to a file beside it, up to `n_copies` files in all, which take no space."""
    for number in range(1, n_copies):
        link = path.with_name(f"part-{number:05}.parquet")
        if not link.exists():
            link.hardlink_to(path)


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


# -- excess losses ---------------------------------------------------------------------------------------------------


def excess_log_loss(coef: np.ndarray, intercept: float) -> float:
    """The expected log loss above that of the optimum, exact but for rounding errors.

    The decisions of the optimum and of the model are two normal variables: an integral over a plane, here by the
    Gauss-Hermite rule.  The classes have the probabilities of the optimum, so the excess is a Bregman divergence.
    """
    best = optimum()
    length = float(np.linalg.norm(best))
    along = float(coef @ best) / length
    across = float(np.linalg.norm(coef - along * best / length))
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    u, v = length * nodes[:, None], along * nodes[:, None] + across * nodes + intercept
    divergence = np.logaddexp(0.0, v) - np.logaddexp(0.0, u) - expit(u) * (v - u)
    return float(weights @ divergence @ weights)


def excess_squared_error(coef: np.ndarray, intercept: float) -> float:
    """The expected squared error above that of the optimum: the columns are independent with variance 1."""
    return float(np.square(coef - optimum()).sum() + intercept**2)


def objective(X: np.ndarray, y: np.ndarray, coef: np.ndarray, intercept: float) -> float:
    """The mean log loss of training rows plus the penalty."""
    signs = np.where(y == 1, 1.0, -1.0)
    losses = np.logaddexp(0.0, -signs * (X.astype(float) @ coef + intercept))
    return float(losses.mean() + 0.5 * COVTYPE_ALPHA * coef @ coef)


def least_objective(X: np.ndarray, y: np.ndarray) -> float:
    """The least objective, by Newton's method."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0 / (COVTYPE_ALPHA * len(y)), solver="newton-cholesky", tol=1e-9, max_iter=200)
    model.fit(X.astype(float), y)
    return objective(X, y, model.coef_[0], float(model.intercept_[0]))


def exact_excess(way: str, loss: str, n_rows: int) -> float:
    """The expected excess of the exact minimizer of the training loss, for many rows; NaN for covtype.

    It is the number of parameters over twice the rows for maximum likelihood, and twice that for the squared error.
    """
    if way == "covtype":
        return float("nan")
    return (N_COLUMNS + 1) / n_rows / (2.0 if loss == LOGISTIC else 1.0)


# -- fits ------------------------------------------------------------------------------------------------------------


def model_of(way: str, loss: str, n_epochs: int, workers: int, seed: int) -> SGDClassifier | SGDRegressor:
    common = {**RATES, "eta0": ETA0[loss], "alpha": 0.0, "max_iter": n_epochs, "n_jobs": workers, "random_state": seed}
    if way == "covtype":
        common |= {"eta0": COVTYPE_ETA0, "alpha": COVTYPE_ALPHA}
    return SGDClassifier("log_loss", **common) if loss == LOGISTIC else SGDRegressor(**common)


def resident_bytes() -> int:
    """The memory that this process has at present; 0 where the system does not show it."""
    status = Path("/proc/self/status")
    return 1024 * int(re.search(r"VmRSS:\s*(\d+) kB", status.read_text()).group(1)) if status.exists() else 0


def forget_peak() -> int:
    """Let the peak start at the memory that this process has at present, which is returned."""
    # other systems have no such file, and keep the peak of the imports and of the first fits
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return resident_bytes()


def warm_up(way: str, loss: str, workers: int, quick: bool) -> None:
    """Fit as many rows as two workers need to take part, because the first fit compiles."""
    model_of(way, loss, 1, workers, 0).fit(*rows_in_memory(2_000 if quick else 500_000, loss))


def in_arrays(n_rows: int, loss: str, workers: int, chunk: int, quick: bool) -> dict:
    """Fits of one pass, each with its excess, and the seconds of one more pass."""
    warm_up("arrays", loss, workers, quick)
    before = forget_peak()
    X, y = rows_in_memory(n_rows, loss, chunk)
    excess = excess_log_loss if loss == LOGISTIC else excess_squared_error
    n_turns = turns_of(n_rows)
    found = fits(lambda model: model.fit(X, y), partial(model_of, "arrays", loss, 1, workers), excess, n_turns)

    if n_rows >= LARGE:
        found["pass_s"] = [mean_pass(model_of("arrays", loss, MANY, workers, s).fit(X, y)) for s in range(n_turns)]
    else:
        steady = Steady.of(
            lambda n_epochs: timed(lambda: model_of("arrays", loss, n_epochs, workers, 0).fit(X, y)),
            least_s=QUICK_S if quick else LEAST_S,
        )
        found["pass_s"] = [steady() for _ in range(TURNS)]
    return {**found, "data_bytes": X.nbytes + y.nbytes, "growth_bytes": peak_bytes() - before}


def mean_pass(model: SGDClassifier | SGDRegressor) -> float:
    """The seconds of a pass, from the history of a fit of some passes: without checks of the rows."""
    last = model.history_[-1]
    return (last["seconds"] + last["merge_seconds"]) / last["epoch"]


def in_files(n_rows: int, workers: int, chunk: int, quick: bool, folder: Path, way: str) -> dict:
    """Fits of one pass from files, each from opening them, with the excess."""
    paths = sorted(folder.glob("*.parquet"))[: n_rows // chunk]
    excess: Callable[..., float] = excess_log_loss
    if way == "covtype":
        kept = np.load(folder / "rows.npz")
        X, y, least = kept["X"], kept["y"], float(kept["least"])
        excess = lambda coef, intercept: objective(X, y, coef, intercept) - least  # noqa: E731
    warm_up("arrays", LOGISTIC, workers, quick)
    # opening files imports pyarrow
    make = partial(model_of, way, LOGISTIC, 1, workers)
    make(0).fit(open_dataset(paths[:1], target=TARGET))
    before, done = forget_peak(), []

    def fit(model: SGDClassifier) -> None:
        done.append(open_dataset(paths, target=TARGET))
        model.fit(done[-1])

    found = fits(fit, make, excess, turns_of(n_rows))
    growth = peak_bytes() - before
    if done[-1].n_rows != n_rows:
        raise ValueError(f"{done[-1].n_rows:,} rows in the files, expected {n_rows:,}")
    return {**found, "pass_s": found["fit_s"], "data_bytes": 0, "growth_bytes": growth}


def turns_of(n_rows: int) -> int:
    return TURNS if n_rows <= MANY_ROWS else 1


def fits(fit: Callable, make: Callable[[int], object], excess: Callable, n_turns: int) -> dict:
    """Seconds and excess losses of fits, a seed each, and the number of workers that they had."""
    seconds, losses, n_workers = [], [], 1
    for seed in range(n_turns):
        model = make(seed)
        seconds.append(timed(partial(fit, model)))
        losses.append(excess(np.ravel(model.coef_).astype(float), float(np.ravel(model.intercept_)[0])))
        n_workers = model.algorithm_.n_workers
    return {"fit_s": seconds, "excess": losses, "n_workers": n_workers}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=("arrays", "files", "covtype"))
    parser.add_argument("rows", type=int)
    parser.add_argument("--loss", choices=(LOGISTIC, SQUARES), default=LOGISTIC)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=CHUNK)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args(arguments)
    if given.way == "arrays":
        found = in_arrays(given.rows, given.loss, given.workers, given.chunk, given.quick)
    else:
        found = in_files(given.rows, given.workers, given.chunk, given.quick, given.folder, given.way)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
