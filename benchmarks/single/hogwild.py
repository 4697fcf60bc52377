"""Hogwild on two threads against one worker, and against averages: examples a second, and the loss it ends at.

Usage: python benchmarks/single/hogwild.py [--quick] [--patience SECONDS] [--pickles FILE ...] [--save]

Problems range from features that are all alike, where threads rarely meet, to dense rows, where every step writes to
every weight and Hogwild is the wrong choice.  The contestants take turns; figures are medians over turns, ratios are of
neighbouring runs.  On Linux a turn during which other processes had more than a tenth of a core is made again, until
the patience for a problem is used up; then all turns count, and the table says so.  A pickle holds ``X_train, X_test,
y_train, y_test``; its labels are made binary, the most frequent class against the others.  ``--quick`` runs small
sizes, to see that everything runs.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import time
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from scipy import sparse

from benchmarks import stored_tables
from benchmarks.markdown import table
from parsgd import SGDClassifier

EPOCHS, ALPHA = 5, 1e-4
SETTINGS = {"loss": "log_loss", "alpha": ALPHA, "max_iter": EPOCHS, "tol": None, "random_state": 0}
CONTESTANTS = {
    "1 worker": {"n_jobs": 1},
    "hogwild, 2 workers": {"n_jobs": 2, "algorithm": "hogwild"},
    "averages, 2 workers": {"n_jobs": 2},
}


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
    """Standard normal rows; labels by a linear rule."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_features)).astype(np.float32)
    return X, (X @ rng.standard_normal(n_features) > 0).astype(int)


def objective(model, X, y) -> float:
    """Mean logistic loss and penalty."""
    signs = np.where(y == model.classes_[1], 1.0, -1.0)
    losses = np.logaddexp(0.0, -signs * model.decision_function(X))
    return float(losses.mean() + 0.5 * ALPHA * (model.coef_.astype(float) ** 2).sum())


def run(name, X, y, X_test, y_test):
    """Seconds of a fit, its objective and its test accuracy."""
    model = SGDClassifier(**SETTINGS, **CONTESTANTS[name])
    began = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - began, objective(model, X, y), model.score(X_test, y_test)


def seconds_of_others() -> float:
    """Processor seconds that everybody but this process has had so far; 0 where the system does not say."""
    try:
        busy = [int(part) for part in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0.0
    # all but idle and waiting
    return (sum(busy) - busy[3] - busy[4]) / os.sysconf("SC_CLK_TCK") - time.process_time()


def quiet_by(deadline) -> None:
    """Wait until others have had less than a tenth of a core for a second, or until the deadline."""
    while time.perf_counter() < deadline:
        taken = seconds_of_others()
        time.sleep(1.0)
        if seconds_of_others() - taken <= 0.1:
            return


def turn(*problem):
    """What each contestant makes of the problem, and the cores that others had meanwhile."""
    taken, began = seconds_of_others(), time.perf_counter()
    made = [run(name, *problem) for name in CONTESTANTS]
    return np.array(made), (seconds_of_others() - taken) / (time.perf_counter() - began)


def turns(problem, repeats, patience):
    """``(turns, contestants, 3)``: so many undisturbed ones, or all; and a remark."""
    turn(*problem)
    quiet, every, deadline = [], [], time.perf_counter() + patience
    while len(quiet) < repeats and (len(every) < repeats or time.perf_counter() < deadline):
        made, others = turn(*problem)
        every.append(made)
        if others <= 0.1:
            quiet.append(made)
        else:
            quiet_by(deadline)
    if len(quiet) >= max(1, repeats // 3):
        return np.array(quiet), f"{len(quiet)} turns"
    return np.array(every), f"{len(every)} turns, DISTURBED by other processes"


def compare(title, X, y, effort, X_test=None, y_test=None) -> list[list[str]]:
    """Return a table row for each contestant: rows per second against one worker, and the change of the objective."""
    X_test, y_test = (X, y) if X_test is None else (X_test, y_test)
    made, remark = turns((X, y, X_test, y_test), *effort)
    base = made[:, 0]
    print(f"{title}; {remark}", file=sys.stderr, flush=True)
    rows = []
    for number, name in enumerate(CONTESTANTS):
        seconds, loss, score = made[:, number].T
        low, middle, high = np.percentile(base[:, 0] / seconds, [25, 50, 75])
        speed = f"{1e-6 * EPOCHS * len(y) / np.median(seconds):.2f}"
        change = 100 * (loss / base[:, 1] - 1)
        objective = f"{np.median(change):+.2f} % ({change.min():+.2f} to {change.max():+.2f})"
        ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        rows.append([title, name, speed, ratio, objective, f"{np.median(score):.4f}"])
    return rows


def pickled(path: Path):
    """Binary problem of a pickle, in float32."""
    X, X_test, y, y_test = pickle.loads(path.read_bytes())
    classes, counts = np.unique(y, return_counts=True)
    X, X_test = (x.astype(np.float32) if hasattr(x, "indptr") else np.asarray(x, np.float32) for x in (X, X_test))
    return X, X_test, *(np.asarray(labels) == classes[counts.argmax()] for labels in (y, y_test))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for quiet, for each problem")
    parser.add_argument("--pickles", type=Path, nargs="*", default=[])
    stored_tables.add_option(parser, "hogwild")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    shrink, effort = (50, (2, 0.0)) if arguments.quick else (1, (11, arguments.patience))
    print(f"log loss, float32, {EPOCHS} passes, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    X, y = sparse_problem(200_000 // shrink, 47_000, 75, uniform=True)
    rows = compare("CSR, 200k x 47k, 75 a row, all features alike", X, y, effort)
    X, y = sparse_problem(200_000 // shrink, 47_000, 75)
    rows += compare("CSR, 200k x 47k, 75 a row, features as frequent as words", X, y, effort)
    X, y = sparse_problem(200_000 // shrink, 2_000_000, 75)
    rows += compare("CSR, 200k x 2M, 75 a row, features as frequent as words", X, y, effort)
    X, y = dense_problem(580_000 // shrink, 54)
    rows += compare("dense, 580k x 54: where not to use it", X, y, effort)
    for path in arguments.pickles:
        X, X_test, y, y_test = pickled(path)
        kind = f"CSR, {X.nnz / X.shape[0]:.0f} a row" if hasattr(X, "indptr") else "dense"
        rows += compare(f"{path.stem}: {kind}, {X.shape[0]} x {X.shape[1]}", X, y, effort, X_test, y_test)
    header = ["data", "algorithm", "million rows/s", "against one worker", "objective", "score"]
    stored_tables.show(table(header, rows, words=(0, 1)), arguments.save, __file__)


if __name__ == "__main__":
    main()
