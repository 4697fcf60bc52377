"""Compilation of kernels in advance, for container images, read-only installations and fast first requests."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from parsgd.errors import choose
from parsgd.estimators.linear.sgd_classifier import SGDClassifier
from parsgd.estimators.linear.sgd_regressor import SGDRegressor
from parsgd.estimators.network.mlp_classifier import MLPClassifier
from parsgd.estimators.network.mlp_regressor import MLPRegressor
from parsgd.utils import first_use

# Kernels are compiled for 3, 4 to 7, 8, and 9 to 16 classes.
_CLASSES = (3, 5, 8, 10)
_ROWS, _FEATURES = 60, 4


def _linear(kind: type, *class_counts: int, **settings: Any) -> list[tuple[Any, int]]:
    return [
        (kind(max_iter=1, tol=None, random_state=0, **settings, **extra), n_classes)
        for n_classes in class_counts
        for extra in ({}, {"average": True}, {"learning_rate": "adagrad"})
    ]


def _networks() -> list[tuple[Any, int]]:
    return [
        (kind(hidden_layer_sizes=(4,), solver=solver, max_iter=1, random_state=0), n_classes)
        for solver in ("adam", "sgd")
        for kind, n_classes in ((MLPClassifier, 3), (MLPClassifier, 2), (MLPRegressor, 0))
    ]


# Functions that return estimators with numbers of classes, 0 for a regression.
KINDS: dict[str, Callable[[], list[tuple[Any, int]]]] = {
    "binary": lambda: _linear(SGDClassifier, 2),
    "multiclass": lambda: _linear(SGDClassifier, *_CLASSES, loss="hinge"),
    "softmax": lambda: _linear(SGDClassifier, *_CLASSES, loss="softmax"),
    "regression": lambda: _linear(SGDRegressor, 0),
    "network": _networks,
}


def compile_kernels(
    kinds: Iterable[str] | None = None,
    *,
    dtypes: Iterable[str] = ("float64", "float32"),
    sparse: bool = True,
    progress: Callable[[str], Any] | None = None,
) -> str | None:
    """Compile the kernels of common fits by small fits, so that later processes read them from the cache.

    Parameters
    ----------
    kinds : iterable of {"binary", "multiclass", "softmax", "regression", "network"}, optional
        Kinds of fits to compile for.  Default: all.  Classifiers are compiled for up to 16 classes.
    dtypes : iterable of {"float64", "float32"}
        Data types of the rows.
    sparse : bool, default=True
        Compile for CSR rows as well.
    progress : callable, optional
        Function called with a line of text before each kind, dtype and layout.

    Returns
    -------
    str or None
        Folder of the compiled kernels, or None if no cache folder is writable.

    Examples
    --------
    >>> from parsgd import compile_kernels
    >>> folder = compile_kernels(["binary"], dtypes=["float64"], sparse=False)
    """
    chosen = list(KINDS) if kinds is None else [choose(kind, KINDS, "kinds", "compile_kernels") for kind in kinds]
    chosen_dtypes = [choose(dtype, ("float64", "float32"), "dtypes", "compile_kernels") for dtype in dtypes]
    for kind, dtype, layout in itertools.product(chosen, chosen_dtypes, ("dense", "CSR") if sparse else ("dense",)):
        if progress is not None:
            progress(f"{kind}, {dtype}, {layout}")
        for estimator, n_classes in KINDS[kind]():
            X, y = _problem(n_classes, dtype)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = X if layout == "dense" else csr_array(X)
                estimator.set_params(n_jobs=1).fit(rows, y)
                if _includes_rounds(estimator, n_classes):
                    # rounds of several workers have kernels of their own
                    estimator.set_params(n_jobs=2, algorithm="local").fit(rows, y)
    return first_use.kernels("lowlevel.compiling").cache_folder()


def _includes_rounds(estimator: Any, n_classes: int) -> bool:
    """Return True if the rounds of several workers are compiled as well; those of all fits would double the time."""
    unusual = getattr(estimator, "average", False) or estimator.learning_rate == "adagrad" or n_classes > _CLASSES[0]
    return not unusual and getattr(estimator, "solver", "adam") == "adam"


def _problem(n_classes: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and targets: labels of ``n_classes`` classes, or floats for 0."""
    X = np.random.default_rng(0).uniform(-1.0, 1.0, (_ROWS, _FEATURES)).astype(dtype)
    return X, np.arange(_ROWS) % n_classes if n_classes else X[:, 0]
