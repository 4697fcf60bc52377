"""Vowpal Wabbit on a cache file: rows are shuffled and converted once, and passes over the cache are timed.

It reads the cache in a thread and learns in another.  Rows have a column of ones in place of its own constant, whose
weight would be shared with one of the columns.  There is no penalty: with one, it is several times slower.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.special import expit
from sklearn.datasets import dump_svmlight_file

from benchmarks.problems import Problem

NAME = "Vowpal Wabbit"
PACKAGE = "vowpalwabbit"
SPEEDS = ({"way": "--sgd"},)
LOSSES = {"log_loss": "logistic", "hinge": "hinge"}


def grid(problem: Problem) -> list[dict]:
    """Learning rates of its own default (adaptive, normalised, invariant) and of plain SGD."""
    own = [{"way": "adaptive", "rate": rate} for rate in (0.05, 0.2, 0.5, 1.0, 2.0)]
    return own + [{"way": "--sgd", "rate": rate} for rate in (0.1, 0.5, 2.0, 10.0, 50.0)]


class Fitted:
    """Weights, taken out of a workspace that is then closed."""

    def __init__(self, workspace, n_features: int):
        weights = np.array([workspace.get_weight(i) for i in range(n_features + 1)])
        self.coef, self.intercept = weights[:-1], weights[-1]
        workspace.finish()

    def predict_proba(self, X) -> np.ndarray:
        p = expit(X @ self.coef + self.intercept)
        return np.column_stack([1 - p, p])


class Run:
    """The last workspace stays open until the weights are wanted, which is not timed."""

    def __init__(self, arguments: str, n_features: int):
        self.arguments, self.n_features, self.workspace = arguments, n_features, None

    def __call__(self) -> Run:
        from vowpalwabbit import Workspace

        if self.workspace is not None:
            self.workspace.finish()
        self.workspace = Workspace(self.arguments)
        return self

    def predict_proba(self, X) -> np.ndarray:
        fitted, self.workspace = Fitted(self.workspace, self.n_features), None
        return fitted.predict_proba(X)


def prepare(
    problem: Problem,
    n_epochs: int,
    loss: str = "log_loss",
    seed: int = 0,
    way: str = "--sgd",
    rate: float | None = None,
) -> Run:
    """`rate` None is its own choice: 10 with `--sgd`, else 0.5."""
    if problem.n_classes != 2:
        raise ValueError("Vowpal Wabbit is set up for two classes")
    n_features = problem.X.shape[1]
    arguments = [
        "--cache_file",
        str(cache_file(problem, seed)),
        "--passes",
        str(n_epochs),
        "--loss_function",
        LOSSES[loss],
        "-b",
        str(bits(n_features)),
        "--noconstant",
        "--holdout_off",
        "--no_stdin",
        "--quiet",
    ]
    arguments += ["--sgd"] * (way == "--sgd") + ([] if rate is None else ["-l", f"{rate:g}"])
    return Run(" ".join(arguments), n_features)


def bits(n_features: int) -> int:
    """A place for every column and for the ones."""
    return max(18, n_features.bit_length())


@cache
def folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="parsgd-bench-vw-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def cache_file(problem: Problem, seed: int) -> Path:
    """The rows of a problem in an order of their own, as Vowpal Wabbit reads them fastest."""
    from vowpalwabbit import Workspace

    place = folder() / f"{problem.name}-{seed}"
    order = np.random.default_rng(seed).permutation(problem.n_rows)
    dump_svmlight_file(sparse.csr_matrix(problem.X[order]), 2 * problem.y[order] - 1, f"{place}.svm")
    with open(f"{place}.svm") as rows, open(f"{place}.txt", "w") as out:
        for row in rows:
            label, _, columns = row.rstrip().partition(" ")
            out.write(f"{label} | {columns} {problem.X.shape[1]}:1\n")
    arguments = ["-d", f"{place}.txt", "--cache_file", f"{place}.cache", "-b", str(bits(problem.X.shape[1]))]
    Workspace(" ".join([*arguments, "--noconstant", "--loss_function", "logistic", "--quiet"])).finish()
    for ending in ("svm", "txt"):
        Path(f"{place}.{ending}").unlink()
    return Path(f"{place}.cache")
